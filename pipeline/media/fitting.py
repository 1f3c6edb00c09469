"""A stretch of frames encoded no larger than allowed, by predicting from a sample."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

from pipeline.errors import EncodeError
from pipeline.media.ffmpeg import Frame, Size

_MARGIN = 0.95  # of max_mb: what a sample predicts is off by a few per cent
_GROUPS, _GROUP = 3, 4  # a sample is three stretches of four consecutive frames


class Frames(Protocol):
    """Frames by number: what a list, an array and a frame store have in common."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...


class Quality(Protocol):
    """How a clip is shown."""

    @property
    def step(self) -> int:
        """Every which frame is shown."""
        ...

    @property
    def weight(self) -> float:
        """What the bytes of a frame go with, roughly."""
        ...


Q = TypeVar("Q", bound=Quality)

# Writes the chosen frames to a file and tells how many bytes each image in it takes.
Write = Callable[[Sequence[int], Q, Path], list[int]]


@dataclass(frozen=True)
class Clip:
    """The stretch to show: `count` frames at `fps` from `first` on; `doing` begins messages."""

    frames: Frames
    first: int
    count: int
    fps: Fraction
    doing: str

    @property
    def size(self) -> Size:
        """(width, height) of the frames."""
        height, width = self.frames[self.first].shape[:2]
        return width, height

    def chosen(self, step: int) -> range:
        """Numbers of every `step`-th frame."""
        return range(self.first, self.first + self.count, step)


def stretch(frames: Frames, path: Path, fps: Fraction, start: float, seconds: float | None) -> Clip:
    """Choose what to show.

    Args:
        frames: uint8 RGB (height, width, 3) by number, all of one size.
        path: the file to be, for messages.
        fps: rate of `frames`.
        start: where to begin, in seconds.
        seconds: how long at most; None is to the end.

    Raises:
        EncodeError: there is nothing in that stretch.
    """
    doing = f"could not write {path}"
    first = round(start * fps)
    count = len(frames) - first
    if seconds is not None:
        count = min(count, max(1, round(seconds * fps)))
    if first < 0 or count < 1:
        raise EncodeError(
            f"{doing}: there is nothing from {start:g} s on, the clip has {len(frames)} frames "
            f"({float(len(frames) / fps):.2f} s)"
        )
    return Clip(frames, first, count, fps, doing)


def scaled(size: Size, width: int) -> Size:
    """(width, height) of the same shape."""
    return width, max(1, round(size[1] * width / size[0]))


def write_within(
    clip: Clip, ladder: Sequence[Q], write: "Write[Q]", path: Path, max_mb: float | None
) -> tuple[Q, list[int]]:
    """Write a clip at the best quality that fits.

    A sample of consecutive frames is encoded, and the ladder stepped down until the prediction
    fits. If the file is larger than predicted, the prediction is corrected by it and the file
    encoded once more, never a third time.

    Args:
        clip: what to show.
        ladder: qualities, from what was asked to the least worth having, each smaller.
        write: encodes some of the frames.
        path: the file.
        max_mb: the most megabytes (10^6 bytes); None for any.

    Returns:
        The quality, and the bytes of each image.

    Raises:
        EncodeError: `max_mb` cannot be met, or `write` failed.
    """
    limit = math.inf if max_mb is None else max_mb * 1e6
    quality = ladder[0] if max_mb is None else _first_fitting(clip, ladder, write, limit * _MARGIN)
    images = write(clip.chosen(quality.step), quality, path)
    if path.stat().st_size > limit:  # the sample was not typical; now the whole is known
        share = limit * _MARGIN / path.stat().st_size
        fits = (q for q in ladder if q.weight / q.step <= share * quality.weight / quality.step)
        quality = next(fits, ladder[-1])
        images = write(clip.chosen(quality.step), quality, path)
    length = path.stat().st_size
    if length > limit:
        raise EncodeError(
            f"{clip.doing}: {length / 1e6:.3g} MB after two attempts, max_mb is {max_mb}: "
            "choose fewer seconds or a larger max_mb"
        )
    return quality, images


def _first_fitting(clip: Clip, ladder: Sequence[Q], write: "Write[Q]", budget: float) -> Q:
    """Find the best quality whose sample fits, by bisection: sizes fall along the ladder."""
    fitting: Q | None = None
    low, high = 0, len(ladder) - 1
    middle = 0  # what was asked mostly fits
    while low <= high:
        if _predict(clip, ladder[middle], write) <= budget:
            fitting, high = ladder[middle], middle - 1
        else:
            low = middle + 1
        middle = (low + high) // 2
    if fitting is None:
        raise EncodeError(
            f"{clip.doing}: {float(clip.count / clip.fps):.1f} s do not fit into max_mb however "
            "small and coarse: choose fewer seconds or a larger max_mb"
        )
    return fitting


def _predict(clip: Clip, quality: Q, write: "Write[Q]") -> float:
    """Predict the bytes of the file from a few stretches of it."""
    numbers = clip.chosen(quality.step)
    total = len(numbers)
    if total <= _GROUPS * _GROUP:
        sample = list(numbers)
    else:
        begins = [(total - _GROUP) * group // (_GROUPS - 1) for group in range(_GROUPS)]
        sample = [numbers[begin + offset] for begin in begins for offset in range(_GROUP)]
    with tempfile.TemporaryDirectory(prefix="fitting-") as folder:
        images = write(sample, quality, Path(folder) / "sample")
    # The first image of a stretch follows one it has nothing to do with: not typical.
    typical = [length for index, length in enumerate(images) if index % _GROUP] or [0]
    return images[0] + (total - 1) * sum(typical) / len(typical)
