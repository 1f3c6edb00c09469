"""Where the undreamed pictures come from: noise, a photo, or a folder of photos."""

import glob
import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.media.ffmpeg import Frame, Size
from pipeline.media.images import fit_size, picture_size, read_picture, resize

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}


class Source(Protocol):
    """Numbered pictures of known size, read in any order."""

    @property
    def sizes(self) -> Sequence[Size]:
        """(width, height) of every frame, pixels."""
        ...

    @property
    def fps(self) -> Fraction:
        """Frames a second, exact."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Of the frames, for people; a single name for a whole clip."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when the pictures do."""
        ...

    def read(self, frame: int) -> Frame:
        """Undreamed frame, uint8 RGB [H, W, 3]."""
        ...


class NoiseSource:
    """Seeded noise around grey, another picture for every frame.

    Args:
        size: (width, height).
        frames: how many.
        fps: frames a second.
        seed: of the noise.
        color: `soft` for clouds of all scales, `white` for independent pixels.
        deviation: standard deviation, of the [0, 1] image.
    """

    def __init__(
        self,
        *,
        size: Size,
        frames: int,
        fps: Fraction,
        seed: int,
        color: Literal["soft", "white"] = "soft",
        deviation: float = 0.16,
    ) -> None:
        self.sizes = [size] * frames
        self.fps = fps
        self.names = ["noise"]
        self.fingerprint = f"noise:{color}:{deviation}:{seed}"
        self._seed = seed
        self._noise = soft_noise if color == "soft" else white_noise
        self._deviation = deviation

    def read(self, frame: int) -> Frame:
        """Noise of one frame."""
        generator = np.random.default_rng([self._seed, frame])
        noise = self._noise(self.sizes[frame], generator)
        noise *= self._deviation / noise.std()
        return ((0.5 + noise).clip(0, 1) * 255 + 0.5).astype(np.uint8)


class PictureSource:
    """A photo as frame 0 of a clip, or photos as frames of their own.

    Args:
        paths: picture files, one per frame; a single one serves all frames.
        frames: how many.
        fps: frames a second.
        size: (width, height) to fit within, aspect kept; None keeps each picture's own.
        max_pixels: larger pictures are refused.

    Raises:
        InputError: a file that is no picture, or is too large.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        frames: int,
        fps: Fraction,
        size: Size | None = None,
        max_pixels: int,
    ) -> None:
        own = [picture_size(path, max_pixels=max_pixels) for path in paths]
        fitted = [s if size is None else fit_size(s, size) for s in own]
        self.sizes = fitted * frames if len(paths) == 1 else fitted
        self.fps = fps
        self.names = [path.stem for path in paths]
        self.fingerprint = _digest(paths)
        self._paths = list(paths)
        self._max_pixels = max_pixels

    def read(self, frame: int) -> Frame:
        """The photo of one frame, at its size."""
        path = self._paths[frame if len(self._paths) > 1 else 0]
        return resize(read_picture(path, max_pixels=self._max_pixels), self.sizes[frame])


def find_pictures(pattern: str) -> list[Path]:
    """Pictures of a folder or a glob, in name order.

    Raises:
        InputError: nothing there.
    """
    folder = Path(pattern)
    if folder.is_dir():
        found = [p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES]
        where = f"the folder {pattern}"
    elif folder.is_file():
        return [folder]
    else:
        found = [Path(p) for p in glob.glob(pattern, recursive=True) if Path(p).is_file()]
        where = f"{pattern}"
    if not found:
        raise InputError(f"no pictures in {where}; accepted: {', '.join(sorted(_SUFFIXES))}")
    # By parts, since each system has its own order of paths.
    return sorted(found, key=lambda path: path.parts)


def _digest(paths: Sequence[Path]) -> str:
    """sha256 over the contents of files, in order."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def white_noise(size: Size, generator: np.random.Generator) -> NDArray[np.float32]:
    """Independent Gaussian pixels, float32 [H, W, 3]."""
    width, height = size
    return generator.standard_normal((height, width, 3), dtype=np.float32)


def soft_noise(size: Size, generator: np.random.Generator) -> NDArray[np.float32]:
    """Noise of all scales: sum over k = 0..6 of 2^(0.7 k) times white noise at 1 / 2^k size.

    Its spectrum falls off like that of photographs, which a network finds more in than in white
    noise.

    Args:
        size: (width, height).
        generator: of random numbers.

    Returns:
        float32 [H, W, 3], around 0.
    """
    width, height = size
    total = np.zeros((height, width, 3), np.float32)
    for k in range(7):
        coarse = white_noise((max(1, width >> k), max(1, height >> k)), generator)
        total += 2 ** (0.7 * k) * cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return total
