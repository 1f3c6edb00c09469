"""The lock on a render's folder: who is kept out, and what happens where there are no locks."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.config import config_from
from pipeline.errors import ResumeError
from pipeline.lock import locked
from pipeline.renderer import render


def test_a_second_render_is_kept_out_and_a_dead_ones_lock_is_free(tmp_path):
    hold = (
        "import sys, pathlib\nfrom pipeline.lock import locked\n"
        f"with locked(pathlib.Path({str(tmp_path)!r})):\n"
        " print('held', flush=True)\n sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ResumeError, match="in use by another render"), locked(tmp_path):
            pass
        other.kill()
        other.wait()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOLCK, "No locks available"),
        OSError(errno.ENOSYS, "Function not implemented"),
        NotImplementedError("this drive has no locks"),
    ],
    ids=lambda failure: str(failure)[:20],
)
def test_a_drive_without_locks_is_one_clear_line(tmp_path, monkeypatch, failure):
    """No mere file in its place: that of a process that died would lock the folder for ever."""

    def refuse(self):
        raise failure

    monkeypatch.setattr(FileLock, "_acquire", refuse)
    config = config_from({"name": "x", "source": {"kind": "noise", "size": [64, 64], "frames": 1}})
    with pytest.raises(ResumeError, match=r"cannot be locked.*on a local disk") as caught:
        render(config, root=tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x/manifest.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="flock is not what is used there")
def test_a_missing_flock_is_not_replaced_by_a_mere_file(tmp_path, monkeypatch):
    import fcntl

    def missing(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(ResumeError, match="cannot be locked"), locked(tmp_path):
        pass


def test_a_file_in_the_folders_place_is_one_clear_line(tmp_path):
    Path(tmp_path, "x").write_bytes(b"")
    with pytest.raises(ResumeError, match="cannot be locked"), locked(tmp_path / "x"):
        pass


def test_nobody_locks_a_folder_twice(tmp_path):
    with locked(tmp_path), pytest.raises(ResumeError, match="in use"), locked(tmp_path):
        pass


def test_an_error_frees_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass
