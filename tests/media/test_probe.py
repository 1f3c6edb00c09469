"""What is read out of ffmpeg's report, which FFmpeg 5 to 9 word differently."""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import clips
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.media.probe import Probe, SoundStream, _Report, probe
from pipeline.media.program import program

FILE = Path("a.mp4")
# The ends of reports on files that cannot be used, as FFmpeg 5.1.9, 7.0.2 and 9.0.2 word them.
SONG = """\
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:a.mp4':
[info]   Duration: 00:00:01.00, start: 0.000000, bitrate: 79 kb/s
[info]   Stream #0:0[0x1](und): Audio: aac (LC) (mp4a / 0x6134706D), 44100 Hz, mono, fltp (default)
"""
TEXT = "is not a video that can be read, or is damaged at its start"
REPORTS = {
    "5.1 damaged": (
        "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x562ed26f0b40] [error] moov atom not found\n"
        "[error] file:a.mp4: Invalid data found when processing input",
        f"{TEXT}: moov atom not found",
    ),
    "9.0 damaged": (
        "[in#0 @ 0x5622b4a68300] [error] moov atom not found\n"
        "[in#0 @ 0x5622b4a67fc0] [error] Error opening input: Invalid data found when processing\n"
        "[error] Error opening input file file:a.mp4.",
        f"{TEXT}: moov atom not found",
    ),
    "5.1 unknown": (
        "[error] file:a.mp4: Invalid data found when processing input",
        f"{TEXT}: Invalid data found when processing input",
    ),
    "7.0 unknown, on Windows": (
        "[in#0 @ 000001d2a7b1c0f0] [error] Error opening input: Invalid data found\n"
        "[error] Error opening input file file:a.mp4.",
        f"{TEXT}: Error opening input: Invalid data found",
    ),
    "5.1 song": (f"{SONG}[fatal] Stream map '0:V:0' matches no streams.", "no video stream (sound"),
    "9.0 song": (
        f"{SONG}[fatal] Stream map '' matches no streams.",
        "no video stream (sound only)",
    ),
    "5.1 playlist": (
        "[concat @ 0x5626c8cc4b40] [error] Format not on whitelist 'mov,matroska'\n"
        "[error] file:a.mp4: Invalid argument",
        "is a playlist",
    ),
    "7.0 playlist": (
        "[error] Not detecting m3u8/hls with non standard extension and non standard mime type\n"
        "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x1f06a0c0] [error] moov atom not found",
        "is a playlist",
    ),
}
SHOWN = {
    "5.1": "[Parsed_showinfo_0 @ 0x56] [info] n:   0 pts:   1480 pts_time:1.48    pos:    14401 "
    "fmt:yuv420p sar:3/2 s:128x32 i:T iskey:1 type:I checksum:603C004B plane_checksum:[F8] ",
    "9.0": "[Parsed_showinfo_0 @ 0x7f] [info] n:   0 pts:   1480 pts_time:1.48    duration:     40 "
    "duration_time:0.04    fmt:yuv420p cl:left sar:3/2 s:128x32 i:T iskey:1 type:I checksum:603C ",
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_reason_is_the_same_in_every_wording(name: str) -> None:
    lines, words = REPORTS[name]
    report = _Report()
    report.lines += lines.splitlines()
    reason = report.reason(FILE)
    assert reason is not None
    assert reason.startswith(f"{FILE} ")
    assert words in reason
    assert "\n" not in reason


def test_an_animated_webp_is_named_where_ffmpeg_does_not_know_it(tmp_path: Path) -> None:
    path, still = tmp_path / "a.webp", tmp_path / "still.webp"
    frames = [Image.new("RGB", (32, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(still, exif=b"Exif\0\0", lossless=True)
    report = _Report()  # of FFmpeg 7.0.2
    stream = "[info]   Stream #0:0: Video: webp, none, 25 fps, 25 tbr, 25 tbn"
    error = "[webp @ 0x41] [error] image data not found"
    report.lines += ["[info] Input #0, webp_pipe, from 'file:a.webp':", stream, error]
    reason = report.reason(path)
    assert reason is not None
    assert reason.startswith(f"{path} is an animated WebP, which FFmpeg reads from version 9 on")
    assert reason.endswith(f"{program()}: make a GIF or an MP4 of it")
    assert report.reason(still) is None
    if re.match(r"n?[5-8]\.", program().version):
        with pytest.raises(InputError, match=re.escape(reason)):
            probe(path)
    else:
        assert probe(path).fps == 10


@pytest.mark.parametrize("lines", ["", f"{SONG.replace('Audio', 'Video')}[error] out of memory"])
def test_what_is_not_known_is_left_to_ffmpegs_own_words(tmp_path: Path, lines: str) -> None:
    (tmp_path / FILE).write_bytes(bytes(100))
    report = _Report()
    report.lines += lines.splitlines()
    assert report.reason(tmp_path / FILE) is None


@pytest.mark.parametrize("version", SHOWN)
def test_a_frame_is_described_alike(version: str) -> None:
    report = _Report()
    config = "[Parsed_showinfo_0 @ 0x56] [info] config in time_base: 1/1000, frame_rate: 25/1"
    colour = "color_range:tv color_space:bt709 color_primaries:unknown color_trc:bt709"
    both = SONG + SONG.splitlines()[-1].replace("#0:0[0x1](und): Audio", "#0:1(eng): Video")
    mapping = "[info] Stream mapping:\n[info]   Stream #0:0 -> #0:0 (h264 (native))"
    told = f"[Parsed_showinfo_0 @ 0x56] [info] {colour}"
    output = "[info]   Stream #0:0(und): Video: wrapped_avframe, yuv420p"
    report.lines += "\n".join((both, mapping, config, SHOWN[version], told, output)).splitlines()
    assert report.probe(FILE) == Probe(
        path=FILE,
        stored=(128, 32),
        shape=Fraction(3, 2),
        fps=Fraction(25),
        transfer="bt709",
        matrix="bt709",
        primaries="unknown",
        levels="tv",
        fields="T",
        first=Fraction(37, 25),
        tick=Fraction(1, 1000),
        videos=1,
        sounds=(SoundStream("aac", "mono", 44100),),
        seconds=1.0,
    )


def test_metadata_is_not_taken_for_ffmpegs_words(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.mkv", tmp_path / "marked.mkv"
    sound = [*clips.counter(5), *clips.lavfi("sine=d=0.2"), *clips.X264, "-c:a", "flac"]
    clips.run(*sound, f"file:{plain}")
    stranger = {
        "comment": "x\n  Duration: 99:00:00.00, start\n  Stream #0:7: Audio: mp3, 8000 Hz, stereo",
        "Stream #0:8: Audio: mp3, 8000 Hz, mono": "x",
        "Stream #0:9: Video: h264, yuv420p": "x",
        "Stream mapping": "Stream mapping:",
        "title": "Stream #0:6: Subtitle: subrip (attached pic)",
    }
    words = [word for key, value in stranger.items() for word in ("-metadata", f"{key}={value}")]
    clips.run("-i", f"file:{plain}", "-c", "copy", *words, f"file:{marked}")
    assert b"99:00:00.00" in marked.read_bytes()
    found = probe(marked)
    assert replace(found, path=plain) == probe(plain)
    assert len(found.sounds) == found.videos == 1
