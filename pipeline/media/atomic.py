"""Files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import EncodeError


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
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def output(path: Path) -> Iterator[Path]:
    """Like `partial`, for what a user asked for: a full disk or a bad folder is an EncodeError."""
    try:
        with partial(path) as unfinished:
            yield unfinished
    except OSError as error:
        raise EncodeError(f"could not write {path}: {error}") from error
