"""The lock on a render's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import ResumeError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other render out of a folder; the lock of a process that died is free.

    Args:
        folder: of the render; it is made if it is not there.

    Raises:
        ResumeError: another render is running there, or the folder cannot be locked or written to.
    """
    # Without a fallback: a lock that is nothing but a file outlives the process that died.
    lock = FileLock(folder / ".lock", timeout=0, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise ResumeError(
            f"{folder} is in use by another render; wait for it, or choose another `name`"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise ResumeError(
            f"{folder} cannot be locked, so another render could write there as well ({error}); "
            "some network drives have no locks: start from a folder that you may write to, on a "
            "local disk"
        ) from error
    try:
        yield
    finally:
        lock.release()
