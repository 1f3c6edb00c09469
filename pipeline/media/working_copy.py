"""Reading the working copy: frame by frame in order, or any frame, exactly."""

import threading
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import InputError
from pipeline.media import ffmpeg
from pipeline.media.facts import COPY, Facts
from pipeline.media.ffmpeg import Frame
from pipeline.media.raw_frames import read_frames

# Starting ffmpeg and seeking takes about 60 ms, reading a 640x360 frame on the way 3 ms.
_WORTH_SKIPPING = 12


class WorkingCopy:
    """The frames of `source.mkv` by number.

    Reading in order keeps one ffmpeg open and costs a few milliseconds a frame; any other frame
    is sought exactly. With `readers` above 1 that many places are kept open, for shots that are
    read side by side. At most one frame per reader is in memory. Safe to use from several threads.

    Args:
        folder: where `ingest` wrote.
        facts: what it returned.
        readers: how many places in the file to keep open.
    """

    def __init__(self, folder: Path, facts: Facts, *, readers: int = 1) -> None:
        self._path = folder / COPY
        self._facts = facts
        self._limit = readers
        self._open: list[_Reader] = []  # the least recently used first
        self._lock = threading.Lock()
        # Whoever forgets to close it, or ends with it: the ffmpegs end before the interpreter does.
        weakref.finalize(self, _end, self._open)

    def __len__(self) -> int:
        return self._facts.frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getitem__(self, frame: int, /) -> Frame:
        return self.read(frame)

    def read(self, frame: int) -> Frame:
        """Return one frame, uint8 RGB (height, width, 3).

        Raises:
            IndexError: there is no such frame.
            InputError: the copy is missing or damaged.
        """
        if not 0 <= frame < len(self):
            raise IndexError(f"frame {frame} of {len(self)}")
        with self._lock:
            reader = self._reader(frame)
            try:
                picture = reader.skip_to(frame)
            except BaseException:
                self._drop(reader)
                raise
            if reader.next == len(self):
                self._drop(reader)
            return picture

    def read_range(self, first: int, end: int) -> Iterator[Frame]:
        """Yield frames `first` to `end` - 1."""
        return (self.read(frame) for frame in range(first, end))

    def close(self) -> None:
        """End the ffmpegs; reading again starts new ones."""
        with self._lock:
            _end(self._open)

    def _reader(self, frame: int) -> "_Reader":
        """Find the open place just before `frame`, or open one; it becomes the most recent."""
        near = [r for r in self._open if 0 <= frame - r.next <= _WORTH_SKIPPING]
        if near:
            reader = max(near, key=lambda r: r.next)
            self._open.remove(reader)
        else:
            if len(self._open) >= self._limit:
                self._drop(self._open[0])
            reader = _Reader(self._path, self._facts, frame)
        self._open.append(reader)
        return reader

    def _drop(self, reader: "_Reader") -> None:
        self._open.remove(reader)
        reader.frames.close()


class _Reader:
    """An ffmpeg that reads on from one frame; `next` is the one it gives next."""

    def __init__(self, path: Path, facts: Facts, first: int) -> None:
        # Half a frame early: the copy's clock is rounded to 1 ms.
        seek = ("-ss", f"{float((first - 0.5) / facts.fps):.6f}") if first else ()
        self.frames: Generator[Frame] = read_frames(
            [*ffmpeg.file_input(path, *seek), "-map", "0:v:0", "-fps_mode", "passthrough"],
            size=facts.size,
            error=InputError,
            doing=f"could not read {path}",
        )
        self.next = first
        self._path = path

    def skip_to(self, frame: int) -> Frame:
        while True:
            try:
                picture = next(self.frames)
            except StopIteration:
                raise InputError(f"{self._path} is damaged: it ends before frame {frame}") from None
            self.next += 1
            if self.next > frame:
                return picture


def _end(readers: list[_Reader]) -> None:
    while readers:
        readers.pop().frames.close()
