"""What can be said of an input file before it is opened."""

from pathlib import Path

from pipeline.errors import InputError


def check_readable(path: Path) -> None:
    """Refuse, in one line, what cannot be a picture or a video whatever it holds.

    Raises:
        InputError: missing, a directory, empty, or not ours to read.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        if path.is_dir():
            raise InputError(f"{path} is a directory, not a file")
        if not path.is_file():
            raise InputError(f"{path} is a pipe or a device, not a file")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes)")
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
