"""Still pictures in and out: any picture a user may have becomes uint8 RGB, upright and opaque."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.errors import EncodeError, InputError
from pipeline.media.atomic import output
from pipeline.media.ffmpeg import Frame, Size
from pipeline.media.files import check_readable

MAX_PIXELS = 50_000_000  # 150 MB as RGB; a dream of it would need a hundred times that

_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")
_TIFF = (b"II*\0", b"MM\0*")
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Read a picture as it is meant to be seen.

    The EXIF orientation is applied, transparency is laid over white, 16 bits are scaled (not
    clipped) to 8, grey, palettes and CMYK are converted; of an animation it is the first frame.

    Args:
        path: a PNG, JPEG, WebP, TIFF, GIF, BMP or whatever else Pillow reads.
        max_pixels: the most pixels (width times height) accepted, checked before decoding.

    Returns:
        uint8 RGB, (height, width, 3).

    Raises:
        InputError: missing, a directory, empty, not a picture, damaged, of a kind that has no
            certain scale (floating point, 32 bits), or larger than `max_pixels`.
    """
    with _opened(path, max_pixels) as picture:
        facts = picture.metadata(index=0, exclude_applied=False)
        mode = facts["mode"]
        if mode == "F":
            raise _no_scale(path)
        if mode in _SIXTEEN_BIT:
            grey = picture.read(index=0, rotate=True)
            if grey.min() < 0 or grey.max() > 65535:
                raise _no_scale(path)
            scaled = np.rint(grey / 257).astype(np.uint8)
            return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_GRAY2RGB), np.uint8)
        if mode in _TRANSPARENT or "transparency" in facts:
            return _over_white(picture.read(index=0, mode="RGBA", rotate=True))
        return np.ascontiguousarray(picture.read(index=0, mode="RGB", rotate=True))


def picture_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> Size:
    """Return (width, height) as `read_picture` would give it, without decoding (except PNG).

    Raises:
        InputError: as `read_picture`, except for damage further inside the file.
    """
    with _opened(path, max_pixels) as picture:
        facts = picture.metadata(index=0, exclude_applied=False)
        width, height = facts["shape"]
        with path.open("rb") as file:
            if file.read(4) in _TIFF:  # Pillow's size of a TIFF may be turned already
                width, height = facts["ImageWidth"], facts["ImageLength"]
        return (height, width) if facts.get("Orientation") in _SIDEWAYS else (width, height)


def _no_scale(path: Path) -> InputError:
    return InputError(
        f"{path} holds floating-point or 32-bit values, whose range is not known: "
        "save it with 8 or 16 bits a channel"
    )


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Any]:
    """Open a picture with imageio's Pillow plugin; whatever goes wrong becomes one line."""
    check_readable(path)
    limit = f"the limit is max_pixels = {max_pixels} (width times height)"
    try:
        with warnings.catch_warnings():
            # Ours is the limit that is named in the message; Pillow warns of its own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # A file object, not a name: imageio takes some names for addresses or archives.
            with path.open("rb") as file, iio.imopen(file, "r", plugin="pillow") as picture:
                # Not from the metadata: they decode a PNG, whose EXIF may follow its pixels.
                height, width = picture.properties(index=0).shape[:2]
                if width * height > max_pixels:
                    raise InputError(f"{path} has {width}x{height} pixels: {limit}")
                yield picture
    except InputError:
        raise
    except Exception as error:
        # Pillow's decoders raise almost anything (SyntaxError, struct.error ...) for broken files,
        # and imageio wraps what happens while a file is opened.
        cause = error.__cause__ or error
        if isinstance(cause, Image.DecompressionBombError):
            raise InputError(f"{path} has more pixels than Pillow decodes: {limit}") from error
        if "can not handle" in str(error):
            raise InputError(f"{path} is not a picture that can be read") from error
        raise InputError(f"{path} is a damaged picture: {cause}") from error


def _over_white(rgba: NDArray[np.uint8]) -> Frame:
    """Lay (height, width, 4) over white; exact at alpha 0 and 255."""
    colour = rgba[..., :3].astype(np.uint32)
    alpha = rgba[..., 3:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def fit_size(size: Size, within: Size, *, multiple: int = 1) -> Size:
    """Return the largest (width, height) of the same shape inside `within`.

    Args:
        size: the size to scale, up or down.
        within: the box.
        multiple: both sides become multiples of this (2 for video), at least one multiple.

    Returns:
        The aspect ratio of `size`, up to rounding.
    """
    scale = min(within[0] / size[0], within[1] / size[1])
    width, height = (
        max(multiple, min(round(side * scale / multiple), box // multiple) * multiple)
        for side, box in zip(size, within, strict=True)
    )
    return width, height


def resize(picture: Frame, size: Size) -> Frame:
    """Resize to exactly `size` (width, height): by area when it shrinks, bicubic when it grows."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    shrinks = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def fit(picture: Frame, size: Size, *, multiple: int = 1) -> Frame:
    """Resize to the largest size of the same shape inside `size`; see `fit_size` and `resize`."""
    height, width = picture.shape[:2]
    return resize(picture, fit_size((width, height), size, multiple=multiple))


def write_png(
    picture: Frame, path: Path, *, text: Mapping[str, str] | None = None, compression: int = 3
) -> None:
    """Write a PNG that appears whole or not at all.

    Args:
        picture: uint8 RGB (height, width, 3), or grey (height, width).
        path: the file; replaced if it exists.
        text: tEXt chunks (iTXt where a value is not Latin-1).
        compression: zlib's level. On dreamed 640x360 frames on one core level 1 takes 18 ms, 3
            takes 24, 6 takes 52, for 3 % less size between first and last.

    Raises:
        EncodeError: the disk is full or the folder cannot be written to.
    """
    chunks = PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    _write(picture, path, extension=".png", pnginfo=chunks, compress_level=compression)


def write_jpeg(picture: Frame, path: Path, *, comment: str = "", quality: int = 92) -> None:
    """Write a JPEG (4:4:4, since dreams live in their colours) whole or not at all.

    Args:
        picture: uint8 RGB (height, width, 3).
        path: the file; replaced if it exists.
        comment: text for the comment segment; what exceeds 65,000 bytes is cut off.
        quality: 1 to 95.

    Raises:
        EncodeError: the disk is full or the folder cannot be written to.
    """
    segment = comment.encode()[:65_000]
    _write(picture, path, extension=".jpg", quality=quality, subsampling=0, comment=segment)


def write_picture(picture: Frame, path: Path, *, config: str = "") -> None:
    """Write a PNG or a JPEG, whichever the name asks for, with the config it came from inside.

    Raises:
        EncodeError: another suffix, a full disk or a folder that cannot be written to.
    """
    match path.suffix.lower():
        case ".png":
            write_png(picture, path, text={"config": config} if config else None)
        case ".jpg" | ".jpeg":
            write_jpeg(picture, path, comment=config)
        case suffix:
            raise EncodeError(f"{path}: {suffix or 'no suffix'} is no picture: use .png or .jpg")


def _write(picture: Frame, path: Path, *, extension: str, **options: Any) -> None:
    with output(path) as unfinished:
        data = iio.imwrite("<bytes>", picture, plugin="pillow", extension=extension, **options)
        unfinished.write_bytes(data)
