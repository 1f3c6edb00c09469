import subprocess
import sys
import threading

import clips
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media.ingest import ingest
from pipeline.media.working_copy import WorkingCopy


def test_any_order_gives_the_same_frames(ingested) -> None:
    facts, folder = ingested("dropped.mp4")  # 30000/1001 on Matroska's clock of milliseconds
    with WorkingCopy(folder, facts) as copy:
        straight = list(copy.read_range(0, 60))
        order = np.random.default_rng(0).permutation(60)[:25]
        assert all(np.array_equal(copy.read(int(i)), straight[i]) for i in order)
        assert all(np.array_equal(copy[i], straight[i]) for i in (59, 58, 0, 59))


@pytest.mark.parametrize("rate", ["240", "1", "120000/1001"])
def test_seeking_is_exact_at_every_rate(tmp_path, rate: str) -> None:
    clips.run(*clips.counter(250, rate), *clips.X264, str(tmp_path / "clip.mp4"))
    facts = ingest(tmp_path / "clip.mp4", tmp_path)
    with WorkingCopy(tmp_path, facts) as copy:
        for frame in (249, 0, 100, 200, 50, 51, 52, 66, 249):
            assert clips.number(copy.read(frame)) == frame


def test_reading_in_order_opens_the_file_once(ingested, monkeypatch) -> None:
    facts, folder = ingested("plain.mp4")
    opened = count_readers(monkeypatch)
    with WorkingCopy(folder, facts) as copy:
        for frame in [*range(30), *range(33, 50, 3)]:
            copy.read(frame)
    assert opened == [0]


def test_several_places_are_kept_open(ingested, monkeypatch) -> None:
    facts, folder = ingested("plain.mp4")
    opened = count_readers(monkeypatch)
    with WorkingCopy(folder, facts, readers=3) as copy:
        for offset in range(5):
            for shot in (0, 20, 40):
                assert clips.number(copy.read(shot + offset)) == shot + offset
        assert opened == [0, 20, 40]
        copy.read(55)  # too far from all of them: the oldest makes room
        assert len(copy._open) == 3
    assert running() == 0


def running() -> int:
    return sum(thread.name == "ffmpeg" for thread in threading.enumerate())


def count_readers(monkeypatch) -> list[int]:
    from pipeline.media import working_copy

    opened: list[int] = []

    class Counted(working_copy._Reader):
        def __init__(self, path, facts, first) -> None:
            opened.append(first)
            super().__init__(path, facts, first)

    monkeypatch.setattr(working_copy, "_Reader", Counted)
    return opened


def test_a_program_may_end_with_a_copy_that_is_open(tmp_path) -> None:
    """One that its ffmpeg is far from having read."""
    clips.run(*clips.counter(2000, "25"), *clips.X264, str(tmp_path / "clip.mp4"))
    script = """if True:
        import sys
        from pathlib import Path
        from pipeline.media.ingest import ingest
        from pipeline.media.working_copy import WorkingCopy

        folder = Path(sys.argv[1])
        copy = WorkingCopy(folder, ingest(folder / "clip.mp4", folder))
        copy.read(0)
    """
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, stderr=subprocess.PIPE, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")


def test_frames_that_are_not_there(ingested, tmp_path) -> None:
    facts, folder = ingested("odd.mkv")
    with WorkingCopy(folder, facts) as copy:
        assert len(copy) == 6
        for frame in (-1, 6):
            with pytest.raises(IndexError):
                copy.read(frame)
    with pytest.raises(InputError, match="could not read"):
        WorkingCopy(tmp_path, facts).read(0)
    whole = (folder / "source.mkv").read_bytes()
    (tmp_path / "source.mkv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"source\.mkv is damaged: it ends before frame 5"):
        WorkingCopy(tmp_path, facts).read(5)
