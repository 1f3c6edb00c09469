import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import EncodeError, InputError
from pipeline.media import ffmpeg
from pipeline.media.encode import check_encoder, encode_mp4, encode_webm
from pipeline.media.probe import probe
from pipeline.media.raw_frames import read_frames
from pipeline.media.sound import Sound
from pipeline.media.timing import timing


def moving(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """A grey ramp with a bright column that moves: every frame differs."""
    ramp = np.linspace(40, 200, size[0]).astype(np.uint8)[None, :, None].repeat(size[1], 0)
    frames = [ramp.repeat(3, 2) for _ in range(count)]
    for index, frame in enumerate(frames):
        frame[:, index * 3 % size[0]] = 255
    return frames


def decoded(path: Path, size: tuple[int, int]) -> list[np.ndarray]:
    return list(read_frames(ffmpeg.file_input(path), size=size, error=InputError, doing="x"))


def times(path: Path) -> list[Fraction]:
    """Presentation time of every video packet, exactly as the file has it."""
    arguments = [*ffmpeg.file_input(path), "-map", "0:v", "-c", "copy", "-f", "framecrc", "pipe:1"]
    text = ffmpeg.run(["-copyts", *arguments], error=InputError, doing="x").decode()
    match = re.search(r"#tb 0: (\d+)/(\d+)", text)
    assert match is not None
    tick = Fraction(int(match[1]), int(match[2]))
    return sorted(int(line.split(",")[2]) * tick for line in text.splitlines() if line[0] != "#")


@pytest.mark.parametrize(
    ("size", "count", "fps"),
    [
        ((64, 48), 1, Fraction(24)),
        ((64, 48), 3, Fraction(1)),
        ((64, 48), 61, Fraction(60)),
        ((64, 48), 45, Fraction(30000, 1001)),
        ((64, 48), 13, Fraction(25, 2)),
        ((33, 17), 5, Fraction(24000, 1001)),
        ((1, 1), 2, Fraction(24)),
    ],
)
def test_any_size_length_and_rate(tmp_path: Path, size, count: int, fps: Fraction) -> None:
    path = tmp_path / "out" / "clip.mp4"
    facts = encode_mp4(iter(moving(count, size)), path, size=size, fps=fps)

    assert facts.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert (facts.frames, facts.fps, facts.encoder, facts.sound) == (count, fps, "libx264", "none")
    assert facts.bytes == path.stat().st_size
    assert times(path) == [index / fps for index in range(count)]
    assert len(decoded(path, facts.size)) == count
    if count > 1:
        assert probe(path).fps == fps
    assert [file.name for file in path.parent.iterdir()] == ["clip.mp4"]


def test_an_odd_side_repeats_its_last_row_and_column(tmp_path: Path) -> None:
    frames = [np.full((17, 33, 3), (200, 30, 90), np.uint8)] * 3
    facts = encode_mp4(frames, tmp_path / "odd.mp4", size=(33, 17), fps=Fraction(24))
    for frame in decoded(facts.path, facts.size):
        assert np.abs(frame.astype(int) - (200, 30, 90)).max() <= 2


def test_colours_are_bt709_converted_and_tagged(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
    bars = np.repeat(np.array([colours], np.uint8), 16, 1).repeat(32, 0)
    path = tmp_path / "bars.mp4"
    encode_mp4([bars] * 3, path, size=(96, 32), fps=Fraction(24), crf=4)

    show = [*ffmpeg.file_input(path), "-vf", "showinfo", "-f", "null", "-"]
    lines: list[str] = []
    ffmpeg.run(show, error=InputError, doing="x", on_line=lines.append, level="info")
    tags = "color_range:tv color_space:bt709 color_primaries:bt709 color_trc:bt709"
    assert any(tags in line for line in lines)
    assert any("fmt:yuv420p" in line for line in lines)
    frame = decoded(path, (96, 32))[1].astype(int)
    for index, colour in enumerate(colours):
        assert np.abs(frame[4:-4, index * 16 + 6 : index * 16 + 10] - colour).max() <= 3
    # Read with the matrix of BT.601 the same file is visibly off: the two are told apart.
    wrong = ["-vf", "setparams=colorspace=smpte170m"]
    other = read_frames(
        [*ffmpeg.file_input(path), *wrong], size=(96, 32), error=InputError, doing="x"
    )
    assert np.abs(next(other)[16, 24].astype(int) - frame[16, 24]).max() > 15
    other.close()


def test_players_can_start_before_the_whole_file_is_there(tmp_path: Path) -> None:
    encode_mp4(moving(9, (64, 48)), tmp_path / "a.mp4", size=(64, 48), fps=Fraction(24))
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


@pytest.mark.parametrize("times", [0, 2_000, 50_000])
@pytest.mark.parametrize("encode", [encode_mp4, encode_webm])
def test_the_comment_survives_whatever_its_length(tmp_path: Path, encode, times) -> None:
    comment = 'name: été\nlayers: {a: 1.0}  # "x"; y=\\z\\\n;\n' + "k: v\n" * times
    path = tmp_path / "a.video"
    encode(moving(1, (16, 16)), path, size=(16, 16), fps=Fraction(1), comment=comment)
    assert comment.encode() in path.read_bytes()


def test_a_long_comment_is_beside_the_sound(tmp_path: Path, clip) -> None:
    source, path = clip("flashes_late_sound.mp4"), tmp_path / "a.mp4"
    sound = Sound(source, Fraction(0), Fraction(1))
    comment = "k: v\n" * 3000
    frames = moving(25, (16, 16))
    facts = encode_mp4(frames, path, size=(16, 16), fps=Fraction(25), comment=comment, sound=sound)
    assert facts.sound == "aac"
    assert comment.encode() in path.read_bytes()


def test_no_command_is_longer_than_windows_takes(tmp_path: Path, monkeypatch) -> None:
    commands = []
    popen = subprocess.Popen

    def remember(command, **options):
        commands.append(subprocess.list2cmdline(command))
        return popen(command, **options)

    monkeypatch.setattr(subprocess, "Popen", remember)
    for comment in ('"' * 8_000, '"' * 9_000):
        path = tmp_path / "a.mp4"
        encode_mp4(moving(1, (16, 16)), path, size=(16, 16), fps=Fraction(1), comment=comment)
        assert comment.encode() in path.read_bytes()
    assert max(map(len, commands)) < 32_767


@pytest.mark.parametrize(
    ("size", "count", "fps"),
    [((33, 17), 5, Fraction(24000, 1001)), ((64, 48), 61, Fraction(60)), ((16, 16), 1, 1)],
)
def test_webm_keeps_frames_rate_colours_and_comment(tmp_path: Path, size, count, fps) -> None:
    path = tmp_path / "a.webm"
    frames = moving(count, size)
    facts = encode_webm(frames, path, size=size, fps=Fraction(fps), crf=10, comment="name: été")
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert (facts.frames, facts.size, facts.encoder) == (count, even, "libvpx-vp9")
    shown = decoded(path, even)
    assert len(shown) == count
    assert np.abs(shown[0][: size[1], : size[0]].astype(int) - frames[0]).mean() < 6
    found = probe(path)
    assert (found.matrix, found.primaries, found.levels) == ("bt709", "bt709", "tv")
    assert count == 1 or timing(found).fps == fps
    assert "name: été".encode() in path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["a.webm"]
    with pytest.raises(EncodeError, match="no frames"):
        encode_webm([], path, size=size, fps=Fraction(fps))
    assert len(decoded(path, even)) == count


def test_no_frames_is_an_error_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="no frames"):
        encode_mp4([], tmp_path / "a.mp4", size=(16, 16), fps=Fraction(24))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ZeroDivisionError, EncodeError])
def test_a_failure_between_frames_leaves_the_old_file(tmp_path: Path, failure) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def frames():
        yield from moving(5, (64, 48))
        raise failure

    with pytest.raises(failure):
        encode_mp4(frames(), path, size=(64, 48), fps=Fraction(24))
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_killed_in_the_middle_nothing_has_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    render = f"""
import os
from fractions import Fraction
from pathlib import Path
import numpy as np
from pipeline.media.encode import encode_mp4

def frames():
    for _ in range(40):
        yield np.zeros((64, 64, 3), np.uint8)
    os._exit(9)

encode_mp4(frames(), Path({str(path)!r}), size=(64, 64), fps=Fraction(24))
"""
    assert subprocess.run([sys.executable, "-c", render], check=False).returncode == 9
    assert not path.exists()
    encode_mp4(moving(3, (64, 64)), path, size=(64, 64), fps=Fraction(24))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    frames = [*moving(2, (33, 17)), *moving(1, (34, 18))]
    # 34x18 is what the encoder works on, but not what was announced.
    with pytest.raises(EncodeError, match=r"frame 2 .*\(18, 34, 3\), expected .*\(17, 33, 3\)"):
        encode_mp4(frames, tmp_path / "a.mp4", size=(33, 17), fps=Fraction(24))
    assert list(tmp_path.iterdir()) == []


def test_ffmpegs_last_words_are_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match=r"(?s)could not write .*a\.mp4: ffmpeg failed.*turtle"):
        encode_mp4(
            moving(2, (16, 16)),
            tmp_path / "a.mp4",
            size=(16, 16),
            fps=Fraction(24),
            preset="turtle",
        )
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_encoder_gets_the_list() -> None:
    with pytest.raises(EncodeError, match="use one of libx264"):
        check_encoder("h265")


@pytest.mark.parametrize("name", ["libopenh264", "h264_nvenc"])
def test_an_encoder_is_tried_not_believed(tmp_path: Path, name: str) -> None:
    path, frames, size = tmp_path / "a.mp4", moving(5, (320, 240)), (320, 240)
    listed = ["-f", "lavfi", "-i", "color=s=320x240:d=1", "-c:v", name, "-f", "null", "-"]
    try:
        ffmpeg.run(listed, error=EncodeError, doing="x")
    except EncodeError:
        with pytest.raises(EncodeError, match=f"{name} does not work on this machine"):
            encode_mp4(frames, path, size=size, fps=Fraction(24), encoder=name)
        assert not path.exists()
    else:
        facts = encode_mp4(frames, path, size=size, fps=Fraction(24), encoder=name)
        assert (facts.encoder, facts.frames) == (name, 5)


def test_crf_is_passed_on(tmp_path: Path) -> None:
    frames = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8) for i in range(4)]
    sizes = [
        encode_mp4(frames, tmp_path / "a.mp4", size=(64, 48), fps=Fraction(24), crf=crf).bytes
        for crf in (10, 30)
    ]
    assert sizes[0] > 2 * sizes[1]
