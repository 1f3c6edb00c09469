"""Frames through a pipe: into an ffmpeg that encodes, out of one that decodes."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import EncodeError, PipelineError
from pipeline.media.ffmpeg import Frame, Size, process


def write_frames(
    frames: Iterable[Frame],
    arguments: Sequence[str],
    *,
    size: Size,
    doing: str,
) -> int:
    """Feed frames to an ffmpeg that reads `frames_input(size, ...)`; one frame is held at a time.

    Args:
        frames: uint8 RGB (height, width, 3), each of `size`.
        arguments: the whole command, from the inputs to the output file.
        size: (width, height) of every frame.
        doing: begins the message of an error.

    Returns:
        How many frames were given.

    Raises:
        EncodeError: ffmpeg failed, or a frame has another size.
    """
    count = 0
    with process(arguments, error=EncodeError, doing=doing, stdin=True) as running:
        for frame in frames:
            check_frame(frame, count, size=size, doing=doing)
            running.write(np.ascontiguousarray(frame).data.cast("B"))
            count += 1
    return count


def check_frame(frame: Frame, number: int, *, size: Size, doing: str) -> None:
    """Raise EncodeError unless `frame` is uint8 RGB of `size` (width, height)."""
    expected = (size[1], size[0], 3)
    if frame.shape != expected or frame.dtype != np.uint8:
        raise EncodeError(
            f"{doing}: frame {number} is {frame.dtype} {frame.shape}, expected uint8 {expected}"
        )


@dataclass(frozen=True)
class RawFile:
    """Frames in a file of raw RGB, by number.

    The file is open only while a frame is read: mapped into memory, Windows could not delete it.

    Attributes:
        path: the file.
        size: (width, height) of every frame.
    """

    path: Path
    size: Size

    def __len__(self) -> int:
        return self.path.stat().st_size // self._length

    def __getitem__(self, frame: int, /) -> Frame:
        if not 0 <= frame < len(self):
            raise IndexError(frame)
        data = np.fromfile(self.path, np.uint8, self._length, offset=frame * self._length)
        return data.reshape(self.size[1], self.size[0], 3)

    @property
    def _length(self) -> int:
        return self.size[0] * self.size[1] * 3


def read_frames(
    arguments: Sequence[str],
    *,
    size: Size,
    error: type[PipelineError],
    doing: str,
    on_line: Callable[[str], None] | None = None,
    level: str = "error",
) -> Generator[Frame]:
    """Yield the raw RGB frames an ffmpeg writes to stdout, one in memory at a time.

    Closing the generator early ends ffmpeg without an error.

    Args:
        arguments: inputs and filters; the raw output is added here.
        size: (width, height) of the frames that come out.
        error: raised when ffmpeg fails.
        doing: begins the message of an error.
        on_line: see `Process`.
        level: see `Process`.

    Yields:
        uint8 (height, width, 3), RGB, each an array of its own.

    Raises:
        PipelineError: of class `error`: ffmpeg failed or stopped in the middle of a frame.
    """
    output = ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    with process(
        [*arguments, *output], error=error, doing=doing, stdout=True, on_line=on_line, level=level
    ) as running:
        while True:
            frame = np.empty((size[1], size[0], 3), np.uint8)
            got = running.stdout.readinto(frame.data.cast("B"))
            if got < frame.nbytes:
                break
            yield frame
    if got:
        raise error(f"{doing}: ffmpeg stopped in the middle of a frame")
