import errno
import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import EncodeError, InputError
from pipeline.media import ffmpeg
from pipeline.media.raw_frames import read_frames, write_frames

LAVFI = ["-f", "lavfi", "-i"]


def black(count: int, size: tuple[int, int] = (16, 8)):
    return (np.zeros((size[1], size[0], 3), np.uint8) for _ in range(count))


def test_run_returns_what_was_written_to_stdout() -> None:
    out = ffmpeg.run(
        [*LAVFI, "color=white:s=2x2:d=1:r=1", "-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"],
        error=EncodeError,
        doing="x",
    )
    assert len(out) == 4


def test_a_failure_carries_the_last_lines_and_the_class_asked_for() -> None:
    for kind in (EncodeError, InputError):
        with pytest.raises(
            kind, match=r"(?s)could not look: ffmpeg failed with code.*No such file"
        ):
            ffmpeg.run(["-i", "file:/nowhere.mp4"], error=kind, doing="could not look")


def test_explain_drops_addresses_repetitions_and_echoes() -> None:
    lines = [
        "[vost#0:0/x @ 0x55a] [enc:x @ 0x55b] No capable devices found",
        "[enc:x @ 0x55c] No capable devices found",
        "[vf#0:0 @ 0x1] Task finished with error code: -1",
        "Conversion failed!",
    ]
    assert ffmpeg.explain(1, lines) == "ffmpeg failed with code 1\n  No capable devices found"
    assert "signal 9" in ffmpeg.explain(-9, [])
    assert "failed with code 0xc0000005" in ffmpeg.explain(3221225477, [])


def test_ten_thousand_lines_on_stderr_do_not_block_a_writer() -> None:
    lines: list[str] = []
    arguments = [*ffmpeg.frames_input((16, 8), Fraction(25)), "-vf", "showinfo", "-f", "null", "-"]
    with ffmpeg.process(
        arguments, error=EncodeError, doing="x", stdin=True, on_line=lines.append, level="info"
    ) as running:
        for frame in black(3000):
            running.stdin.write(frame.tobytes())
    assert sum(" pts_time:" in line for line in lines) == 3000


def test_frames_go_through_unchanged() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (5, 7, 3), np.uint8) for _ in range(9)]
    raw = ffmpeg.frames_input((7, 5), Fraction(30000, 1001))
    path = Path(os.devnull)
    count = write_frames(frames, [*raw, "-f", "null", str(path)], size=(7, 5), doing="x")
    assert count == 9


def test_read_frames_yields_arrays_of_their_own() -> None:
    source = [*LAVFI, "testsrc=s=33x17:r=10:d=1"]
    frames = list(read_frames(source, size=(33, 17), error=InputError, doing="x"))
    assert len(frames) == 10
    assert all(frame.shape == (17, 33, 3) and frame.flags.writeable for frame in frames)
    assert not np.array_equal(frames[0], frames[-1])


def test_closing_a_reader_early_ends_ffmpeg() -> None:
    before = threading.active_count()
    endless = read_frames([*LAVFI, "testsrc=s=64x64"], size=(64, 64), error=InputError, doing="x")
    next(endless)
    endless.close()
    assert threading.active_count() == before


def test_half_a_frame_is_an_error() -> None:
    source = [*LAVFI, "color=s=4x4:d=1:r=1"]
    with pytest.raises(InputError, match="middle of a frame"):
        list(read_frames(source, size=(5, 5), error=InputError, doing="x"))


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    arguments = [*ffmpeg.frames_input((16, 8), Fraction(1)), "-f", "null", "-"]
    frames = [*black(2), *black(1, (17, 8))]
    with pytest.raises(
        EncodeError, match=r"frame 2 is uint8 \(8, 17, 3\), expected .*\(8, 16, 3\)"
    ):
        write_frames(frames, arguments, size=(16, 8), doing="x")


def test_an_exception_in_the_frames_ends_ffmpeg_and_passes() -> None:
    def frames():
        yield from black(3)
        raise KeyboardInterrupt

    arguments = [*ffmpeg.frames_input((16, 8), Fraction(1)), "-f", "null", "-"]
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        write_frames(frames(), arguments, size=(16, 8), doing="x")
    assert threading.active_count() == before


def test_an_ffmpeg_that_stops_reading_is_explained_not_a_broken_pipe() -> None:
    arguments = [*ffmpeg.frames_input((16, 8), Fraction(1)), "-c:v", "nonsense", "-f", "null", "-"]
    with pytest.raises(EncodeError, match="nonsense"):
        write_frames(black(100_000), arguments, size=(16, 8), doing="x")


def test_memory_does_not_grow_with_the_frames() -> None:
    import resource

    size = (640, 360)
    arguments = [*ffmpeg.frames_input(size, Fraction(25)), "-f", "null", "-"]
    write_frames(black(5, size), arguments, size=size, doing="x")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_frames(black(300, size), arguments, size=size, doing="x")  # 207 MB in all
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000 * (1024 if sys.platform == "darwin" else 1)


def test_names_cannot_be_options_patterns_or_protocols(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-y.avi", "concat:a|b.avi", "%03d.avi", "http:x.avi"):
        make = [*LAVFI, "testsrc=s=32x16:r=5:d=1", "-c:v", "ffv1", f"file:{name}"]
        ffmpeg.run(make, error=EncodeError, doing="x")
        assert ffmpeg.count_frames(Path(name)) == 5


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    real = tmp_path / "real.avi"
    ffmpeg.run([*LAVFI, "testsrc=s=32x16:d=1", str(real)], error=EncodeError, doing="x")
    lists = {
        "concat.mp4": f"ffconcat version 1.0\nfile '{real}'\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{real}\n#EXT-X-ENDLIST\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(EncodeError, match=r"whitelist|Invalid data"):
            ffmpeg.count_frames(tmp_path / name)


def test_a_pipe_that_windows_calls_invalid_is_left_to_the_exit_code(monkeypatch) -> None:
    class Pipe:
        def __init__(self, pipe):
            self.close = pipe.close

        def write(self, _):
            raise OSError(errno.EINVAL, "Invalid argument")

    popen = subprocess.Popen

    def closed(*args, **options):
        process = popen(*args, **options)
        process.stdin = Pipe(process.stdin)
        return process

    monkeypatch.setattr(subprocess, "Popen", closed)
    arguments = [*ffmpeg.frames_input((16, 8), Fraction(1)), "-f", "no-such-format", "-"]
    with pytest.raises(EncodeError, match="no-such-format"):
        write_frames(black(9), arguments, size=(16, 8), doing="x")


@pytest.mark.unix
def test_a_killed_ffmpeg_is_reported(monkeypatch) -> None:
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def remember(*args, **options):
        started.append(popen(*args, **options))
        return started[-1]

    def frames():
        yield from black(1)
        started[-1].kill()
        started[-1].wait()
        yield from black(1000)

    monkeypatch.setattr(subprocess, "Popen", remember)
    arguments = [*ffmpeg.frames_input((16, 8), Fraction(1)), "-f", "null", "-"]
    with pytest.raises(EncodeError, match="ended by signal 9"):
        write_frames(frames(), arguments, size=(16, 8), doing="x")


def test_fractions_are_written_exactly() -> None:
    assert ffmpeg.rational(Fraction(30000, 1001)) == "30000/1001"
    assert ffmpeg.rational(Fraction(24)) == "24/1"
