"""Frames to GIF: a palette for every frame, exact timing, no larger than allowed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from pipeline.errors import EncodeError
from pipeline.media import ffmpeg
from pipeline.media.atomic import output
from pipeline.media.ffmpeg import Size
from pipeline.media.fitting import Clip, Frames, scaled, stretch, write_within
from pipeline.media.images import resize
from pipeline.media.program import require
from pipeline.media.raw_frames import write_frames

# Every frame of a dream changes everywhere, so a palette per frame beats one for all: SSIM .867
# against .811 at the same size, measured on dreamed clips.
_PALETTES = (
    "split[a][b];[a]{seen}palettegen=stats_mode=single:max_colors={colors}[p];"
    "[b][p]paletteuse=new=1:dither=sierra2_4a"
)
# Finding palettes takes most of the time. Every second pixel of every second row halves it, for
# .0007 of SSIM; rounded levels would be faster still, but show where colours are few.
_SPARSE = "scale=iw/2:ih/2:flags=neighbor,"
_ENOUGH = 1 << 16  # pixels

MAX_FPS = 12.5
_SHORTEST_DELAY = 2  # hundredths of a second: browsers play anything shorter at ten frames a second


@dataclass(frozen=True)
class GifFacts:
    """What was written: `fps` and `frames` as played, `bytes` the length of the file."""

    path: Path
    width: int
    height: int
    fps: Fraction
    frames: int
    bytes: int
    colours: int


@dataclass(frozen=True)
class GifFrame:
    """One image of a GIF file: how long it shows, in 1/100 s, and the bytes it takes."""

    delay: int
    bytes: int


@dataclass(frozen=True)
class _Quality:
    """Every `step`-th frame, at `size`, with `colours` colours each."""

    step: int
    size: Size
    colours: int

    @property
    def weight(self) -> float:
        """Pixels times colour bits."""
        return math.prod(self.size) * math.log2(self.colours)


def encode_gif(
    frames: Frames,
    path: Path,
    *,
    fps: Fraction,
    width: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    max_mb: float | None = None,
    colors: int = 256,
    max_fps: float = MAX_FPS,
) -> GifFacts:
    """Write a stretch of frames as a GIF that loops for ever.

    The rate is `fps` over the smallest integer that brings it to `max_fps` or less, so frames are
    left out evenly. GIF counts time in hundredths of a second: the delays are rounded cumulatively,
    so the whole lasts as long as the stretch to within 1/100 s.

    A GIF over `max_mb` is avoided by predicting: a sample of consecutive frames is encoded, and
    fps, width and colours are stepped down in turn until the prediction fits. If the file is larger
    than predicted, the prediction is corrected by it and the file encoded once more, never a third
    time.

    Args:
        frames: uint8 RGB (height, width, 3) by number, all of one size.
        path: the file; it appears only when complete.
        fps: rate of `frames`.
        width: of the GIF in pixels, never more than that of the frames; None keeps theirs.
        start: where the stretch begins, in seconds.
        seconds: how long it is at most; None is to the end.
        max_mb: the most megabytes (10^6 bytes); None for any.
        colors: in each frame's palette, 4 to 256.
        max_fps: see above; above 50 no browser keeps the pace.

    Returns:
        What was written, at the quality that fitted.

    Raises:
        EncodeError: nothing in that stretch, `max_mb` cannot be met, or ffmpeg failed.
    """
    require("encoder", "gif", doing=f"could not write {path}")
    clip = stretch(frames, path, fps, start, seconds)
    own = clip.size
    ladder = _ladder(own, min(width or own[0], own[0]), fps=fps, colors=colors, max_fps=max_fps)
    with output(path) as unfinished:
        quality, images = write_within(clip, ladder, partial(_write, clip), unfinished, max_mb)
        length = unfinished.stat().st_size
    played = fps / quality.step
    return GifFacts(path, *quality.size, played, len(images), length, quality.colours)


def _ladder(own: Size, width: int, *, fps: Fraction, colors: int, max_fps: float) -> list[_Quality]:
    """List qualities from what was asked to the least worth having, each smaller than the last.

    Rate first, since a GIF that is small and fast reads worse than one that is large and calm, then
    width, then colours, and again with lower floors.
    """
    step = max(1, math.ceil(fps / Fraction(max_fps)))
    rungs = [(step, width, colors)]
    for slowest, narrowest, fewest in ((8, 360, 256), (8, 300, 128), (6, 240, 64), (4, 160, 32)):
        while fps / (step + 1) >= slowest:
            step += 1
            rungs.append((step, width, colors))
        while width * 5 // 6 >= narrowest:
            width = width * 5 // 6
            rungs.append((step, width, colors))
        if colors > fewest:
            colors = fewest
            rungs.append((step, width, colors))
    return [_Quality(step, scaled(own, width), colors) for step, width, colors in rungs]


def _write(clip: Clip, chosen: Sequence[int], quality: _Quality, path: Path) -> list[int]:
    """Encode some frames and check what the file says about itself."""
    rate = clip.fps / quality.step
    # ffmpeg rounds each frame's time, not each delay, to 1/100 s: errors do not add up. Only how
    # long the last one shows has to be said.
    end = min((chosen[-1] - clip.first + quality.step), clip.count) / clip.fps
    until_last = _hundredths((chosen[-1] - clip.first) / clip.fps)
    last_delay = max(_SHORTEST_DELAY, _hundredths(end) - until_last)
    seen = _SPARSE if math.prod(quality.size) > _ENOUGH else ""
    arguments = [
        *ffmpeg.frames_input(quality.size, rate),
        *["-vf", _PALETTES.format(seen=seen, colors=quality.colours), "-loop", "0"],
        *["-final_delay", str(last_delay), "-f", "gif", f"file:{path}"],
    ]
    pictures = (resize(clip.frames[index], quality.size) for index in chosen)
    write_frames(pictures, arguments, size=quality.size, doing=clip.doing)
    images = read_gif(path)
    if len(images) != len(chosen):
        raise EncodeError(
            f"{clip.doing}: {len(chosen)} frames were given, {len(images)} are in the file"
        )
    return [image.bytes for image in images]


def _hundredths(seconds: Fraction) -> int:
    return math.floor(100 * seconds + Fraction(1, 2))


def read_gif(path: Path) -> list[GifFrame]:
    """List the images of a GIF file with their delays (GIF89a, sections 18 to 23).

    Raises:
        EncodeError: the file is not a complete GIF.
    """
    data = path.read_bytes()
    images: list[GifFrame] = []
    try:
        if data[:6] not in (b"GIF87a", b"GIF89a"):
            raise ValueError("no GIF signature")
        position = begin = 13 + _table(data[10])
        delay = 0
        while data[position] != 0x3B:  # trailer
            if data[position] == 0x21:  # extension
                if data[position + 1] == 0xF9:  # graphic control: belongs to the next image
                    delay = int.from_bytes(data[position + 4 : position + 6], "little")
                position = _after_blocks(data, position + 2)
            elif data[position] == 0x2C:  # image
                position = _after_blocks(data, position + 11 + _table(data[position + 9]))
                images.append(GifFrame(delay, position - begin))
                begin, delay = position, 0
            else:
                raise ValueError(f"unknown block {data[position]:#x}")
    except (IndexError, ValueError) as error:
        raise EncodeError(f"{path} is not a complete GIF: {error}") from error
    return images


def _table(flags: int) -> int:
    """Bytes of the colour table that a descriptor's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    """Skip a chain of data blocks, each led by its length, ended by an empty one."""
    while data[position]:
        position += 1 + data[position]
    return position + 1
