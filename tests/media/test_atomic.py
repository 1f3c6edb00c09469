"""Files that appear whole or not at all, where the system refuses to touch one that is open."""

from pathlib import Path

import pytest

from pipeline.errors import EncodeError
from pipeline.media import atomic


@pytest.fixture
def busy(monkeypatch):
    """Have the next `times` changes of a kind refused, as Windows does while a file is open."""
    monkeypatch.setattr(atomic, "_PATIENCE", 0.4)

    def refuse(method: str, times: int) -> None:
        change, left = getattr(Path, method), [times]

        def changed(self, *arguments, **options):
            left[0] -= 1
            if left[0] >= 0:
                raise PermissionError(13, "it is being used by another process", str(self))
            return change(self, *arguments, **options)

        monkeypatch.setattr(Path, method, changed)

    return refuse


def write(path, data):
    with atomic.output(path) as unfinished:
        unfinished.write_bytes(data)


def test_a_file_that_is_soon_let_go_of_is_replaced(tmp_path, busy):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    busy("replace", 2)
    busy("unlink", 1)
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_file_that_stays_open_is_one_clear_line_and_stays(tmp_path, busy):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    busy("replace", 10**6)
    with pytest.raises(EncodeError, match=r"could not write .*a\.mp4.*being used") as caught:
        write(path, b"new")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_why_it_failed_is_told_though_the_rest_cannot_be_removed(tmp_path, busy):
    def fail():
        with atomic.partial(tmp_path / "a.mp4") as unfinished:
            unfinished.write_bytes(b"half")
            busy("unlink", 10**6)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_removing_is_patient_and_does_not_mind_what_is_not_there(tmp_path, busy):
    path = tmp_path / "a"
    path.write_bytes(b"")
    busy("unlink", 2)
    atomic.remove(path)
    assert not path.exists()
    atomic.remove(path)
