"""Frames to an animated WebP: a GIF's use with true colours, at a fraction of its size."""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

from pipeline.errors import EncodeError
from pipeline.media import ffmpeg
from pipeline.media.atomic import output
from pipeline.media.encode import try_encoder
from pipeline.media.ffmpeg import Size
from pipeline.media.fitting import Clip, Frames, scaled, stretch, write_within
from pipeline.media.images import resize
from pipeline.media.raw_frames import write_frames

MAX_FPS = 30.0
_ROUNDING = 2  # milliseconds, of the last frame's time and of how long it shows
_HAS_XMP = 0x04  # of VP8X's flags
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description>{}</dc:description>'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@dataclass(frozen=True)
class WebpFacts:
    """What was written: `fps` as played, `images` in the file, `bytes` the length of the file."""

    path: Path
    size: Size
    fps: Fraction
    images: int
    bytes: int
    quality: int


@dataclass(frozen=True)
class WebpImage:
    """One image of a WebP file: how long it shows, in 1/1000 s, and the bytes it takes."""

    delay: int
    bytes: int


@dataclass(frozen=True)
class _Quality:
    """Every `step`-th frame, at `size`, in libwebp's `quality` of 0 to 100."""

    step: int
    size: Size
    quality: int

    @property
    def weight(self) -> float:
        """Pixels times what a quality costs: a dream of 75 takes twice the bytes of one of 30."""
        return math.prod(self.size) * (15 + self.quality)


def encode_webp(
    frames: Frames,
    path: Path,
    *,
    fps: Fraction,
    width: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    max_mb: float | None = None,
    quality: int = 75,
    max_fps: float = MAX_FPS,
    comment: str = "",
) -> WebpFacts:
    """Write a stretch of frames as an animated WebP that loops for ever.

    The rate is `fps` over the smallest integer that brings it to `max_fps` or less. WebP counts
    time in milliseconds, and the delays are rounded cumulatively. To meet `max_mb`, quality, fps
    and width are stepped down in turn, see `write_within`.

    Args:
        frames: uint8 RGB (height, width, 3) by number, all of one size.
        path: the file; it appears only when complete.
        fps: rate of `frames`.
        width: in pixels, never more than that of the frames; None keeps theirs.
        start: where the stretch begins, in seconds.
        seconds: how long it is at most; None is to the end.
        max_mb: the most megabytes (10^6 bytes); None for any.
        quality: 1 to 100; at 75 a dream's colours and edges are hard to tell from its PNG's.
        max_fps: see above.
        comment: kept as the description in the file's XMP.

    Returns:
        What was written, at the quality that fitted.

    Raises:
        EncodeError: nothing in that stretch, `max_mb` cannot be met, or ffmpeg failed.
    """
    try_encoder("libwebp_anim", instead="write a gif or a webm")
    clip = stretch(frames, path, fps, start, seconds)
    asked = min(width or clip.size[0], clip.size[0])
    ladder = _ladder(clip.size, asked, fps=fps, quality=quality, max_fps=max_fps)
    write = partial(_write, clip, comment)
    with output(path) as unfinished:
        chosen, images = write_within(clip, ladder, write, unfinished, max_mb)
        length = unfinished.stat().st_size
    played = fps / chosen.step
    return WebpFacts(path, chosen.size, played, len(images), length, chosen.quality)


def _ladder(
    own: Size, width: int, *, fps: Fraction, quality: int, max_fps: float
) -> list[_Quality]:
    """List qualities from what was asked to the least worth having, each smaller than the last."""
    step = max(1, math.ceil(fps / Fraction(max_fps)))
    rungs = [(step, width, quality)]
    for poorest, slowest, narrowest in ((60, 20, 480), (45, 12, 360), (30, 8, 240), (15, 5, 160)):
        if quality > poorest:
            quality = poorest
            rungs.append((step, width, quality))
        while fps / (step + 1) >= slowest:
            step += 1
            rungs.append((step, width, quality))
        while width * 5 // 6 >= narrowest:
            width = width * 5 // 6
            rungs.append((step, width, quality))
    return [_Quality(step, scaled(own, width), quality) for step, width, quality in rungs]


def _write(
    clip: Clip, comment: str, chosen: Sequence[int], quality: _Quality, path: Path
) -> list[int]:
    """Encode some frames and check what the file says about itself."""
    rate = clip.fps / quality.step
    arguments = [
        *ffmpeg.frames_input(quality.size, rate),
        *["-c:v", "libwebp_anim", "-quality", str(quality.quality), "-compression_level", "4"],
        *["-loop", "0", "-f", "webp", f"file:{path}"],
    ]
    pictures = (resize(clip.frames[index], quality.size) for index in chosen)
    write_frames(pictures, arguments, size=quality.size, doing=clip.doing)
    _describe(path, quality.size, comment)
    images = read_webp(path)
    # Frames that look alike become one image that shows longer: it is time that has to add up.
    shown, due = sum(image.delay for image in images), 1000 * len(chosen) / rate
    if len(chosen) > 1 and len(images) > 1 and abs(shown - due) > _ROUNDING:
        raise EncodeError(
            f"{clip.doing}: {float(due):.0f} ms of frames were given, {shown} are in the file"
        )
    return [image.bytes for image in images]


def read_webp(path: Path) -> list[WebpImage]:
    """List the images of a WebP file with their delays; a still has one, without a delay.

    Raises:
        EncodeError: the file is not a complete WebP with an image.
    """
    images = []
    for kind, body in _chunks(path):
        if kind == b"ANMF":  # frame: position and size in 12 bytes, duration in 3
            images.append(WebpImage(int.from_bytes(body[12:15], "little"), len(body) + 8))
        elif kind in (b"VP8 ", b"VP8L"):
            images.append(WebpImage(0, len(body) + 8))
    if not images:
        raise EncodeError(f"{path} is not a complete WebP: there is no image in it")
    return images


def _describe(path: Path, size: Size, comment: str) -> None:
    """Put a description behind the images; a still gets the extended header that it then needs."""
    chunks = list(_chunks(path))
    if chunks[0][0] != b"VP8X":
        sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
        chunks.insert(0, (b"VP8X", bytes(4) + sides))
    flags, *rest = chunks[0][1]
    chunks[0] = (b"VP8X", bytes([flags | _HAS_XMP, *rest]))
    chunks.append((b"XMP ", _XMP.format(escape(comment)).encode()))
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def _chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a RIFF file of kind WEBP (RFC 9649, section 2), in order."""
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise EncodeError(f"{path} is not a WebP file")
    position = 12
    while position < len(data):
        kind, length = data[position : position + 4], data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + int.from_bytes(length, "little")]
        if len(length) < 4 or len(body) < int.from_bytes(length, "little"):
            raise EncodeError(f"{path} is not a complete WebP: it ends inside a chunk")
        yield kind, body
        position += 8 + len(body) + len(body) % 2
