"""Files that appear whole or not at all."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import EncodeError

# Windows neither replaces nor deletes a file that is open: to a virus scanner, to an indexer, or to
# the ffmpeg of a killed run that is about to end. All of them are done with it soon.
_PATIENCE = 2.0 if sys.platform == "win32" else 0.0  # seconds


@contextmanager
def partial(path: Path) -> Iterator[Path]:
    """Give the name to write under until the file is known to be whole.

    `clip.mp4` is written as `clip.partial.mp4` (the suffix stays: encoders choose the container by
    it) and takes its real name when the block ends well. When the block raises, whatever the
    exception, the partial file is removed and a file already at `path` stays as it was.

    Args:
        path: the final name; missing parent folders are made.

    Yields:
        The path to write to, in the same folder, so that the rename is atomic.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.partial{path.suffix}")
    # What a killed run left may still be held by an encoder of its own: not the same file.
    remove(unfinished)
    try:
        yield unfinished
        _soon(lambda: unfinished.replace(path))
    finally:
        with suppress(OSError):  # why it is there at all says more; the next run removes it
            remove(unfinished)


def remove(path: Path) -> None:
    """Delete a file, if it is there."""
    _soon(lambda: path.unlink(missing_ok=True))


def _soon(change: Callable[[], object]) -> None:
    """Make a change to a file, now or as soon as the system lets us."""
    latest = time.monotonic() + _PATIENCE
    while True:
        try:
            change()
            return
        except PermissionError:
            if time.monotonic() >= latest:
                raise
        time.sleep(0.05)


@contextmanager
def output(path: Path) -> Iterator[Path]:
    """Like `partial`, for what a user asked for: a full disk or a bad folder is an EncodeError."""
    try:
        with partial(path) as unfinished:
            yield unfinished
    except OSError as error:
        raise EncodeError(f"could not write {path}: {error}") from error
