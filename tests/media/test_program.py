import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import EncodeError, InputError
from pipeline.media import encode, ffmpeg
from pipeline.media.encode import check_encoder, describe_ffmpeg, encode_mp4, try_encoder
from pipeline.media.ingest import ingest
from pipeline.media.program import Program, binary, program, require

# What `ffmpeg -version` says of itself, by who built it.
pytestmark = pytest.mark.unix  # a shell script takes ffmpeg's place

VERSIONS = {
    "debian": ("ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026", "57. 28.100"),
    "static": ("ffmpeg version 7.0.2-static https://johnvansickle.com/ffmpeg/", "59.  8.100"),
    "tagged": ("ffmpeg version n9.0.2-17-g2a571b6068-20260930 Copyright (c) 2000", "61.  1.102"),
    "snapshot": ("ffmpeg version N-118000-gabc0123456 Copyright (c) 2000-2024", "59. 53.100"),
    "old": ("ffmpeg version n4.4 Copyright (c) 2000-2021 the FFmpeg developers", "56. 70.100"),
    "nearly": ("ffmpeg version 5.0.1 Copyright (c) 2000-2022 the FFmpeg developers", "57. 17.100"),
    "old_snapshot": ("ffmpeg version N-47683-g0e8eb07980-static", "56. 24.101"),
}


@pytest.fixture
def pretend(tmp_path: Path, use_ffmpeg):
    """Put a shell script in ffmpeg's place."""

    def put(script: str) -> Path:
        fake = tmp_path / "fake ffmpeg"
        fake.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        fake.chmod(0o755)
        use_ffmpeg(fake)
        return fake

    return put


def told(version: str, library: str) -> str:
    lines = f"{version}\nbuilt with gcc 12\nlibavutil      {library} / {library}\nlibavcodec 1. 2.3"
    return f"cat <<'.'\n{lines}\n."


def without(*encoders: str) -> str:
    """A script that is the real ffmpeg, but for the names of some encoders in its list."""
    hidden = " | ".join(["cat", *(f"grep -v ' {name} '" for name in encoders)])
    real = binary()
    return f'case "$*" in *-encoders*) "{real}" "$@" | {hidden};; *) exec "{real}" "$@";; esac'


@pytest.mark.parametrize("name", ["debian", "static", "tagged", "snapshot"])
def test_5_1_and_later_are_taken_whatever_they_call_themselves(pretend, name: str) -> None:
    fake = pretend(told(*VERSIONS[name]))
    assert program() == Program(str(fake), VERSIONS[name][0].split()[2])


@pytest.mark.parametrize("name", ["old", "nearly", "old_snapshot"])
def test_an_older_one_is_refused_in_one_line(pretend, tmp_path: Path, name: str) -> None:
    fake = pretend(told(*VERSIONS[name]))
    with pytest.raises(EncodeError) as caught:
        encode_mp4([np.zeros((8, 8, 3), np.uint8)], tmp_path / "a.mp4", size=(8, 8), fps=24)
    version = VERSIONS[name][0].split()[2]
    assert str(caught.value).startswith(f"{fake} is ffmpeg {version}, which is too old: name a")
    assert "of version 5.1 or later in IMAGEIO_FFMPEG_EXE" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [fake]


def test_what_is_no_ffmpeg_is_named(pretend) -> None:
    pretend("echo hello")
    with pytest.raises(EncodeError, match="fake ffmpeg is not an ffmpeg program: name a complete"):
        program()
    pretend("").unlink()
    with pytest.raises(EncodeError, match=r"fake ffmpeg cannot be run as ffmpeg \(No such file"):
        program()


@pytest.mark.parametrize("encoder", ["libx264", "libvpx-vp9", "libwebp_anim"])
def test_a_missing_encoder_is_said_in_one_line(pretend, encoder: str) -> None:
    pretend(without(encoder))
    with pytest.raises(EncodeError, match=f"built without the encoder {encoder}: write") as caught:
        try_encoder(encoder, instead="write a gif")
    assert str(program()) in str(caught.value)
    assert "write a gif, or name a complete ffmpeg" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_libx264_no_other_is_offered_that_is_the_same(pretend) -> None:
    pretend(without("libx264"))
    with pytest.raises(EncodeError, match="without the encoder libx264: name a complete"):
        check_encoder("libx264")


def test_a_video_cannot_be_read_without_the_encoder_of_the_copy(pretend, clip, tmp_path) -> None:
    video = clip("plain.mp4")
    pretend(without("utvideo"))
    with pytest.raises(EncodeError, match=r"plain\.mp4: .*without the encoder utvideo"):
        ingest(video, tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_an_encoder_that_is_listed_may_still_not_work(pretend) -> None:
    listed = f"if [ $2 = -version ]; then {told(*VERSIONS['static'])}\nexit; fi\n"
    pretend(listed + "echo ' V....D h264_nvenc  NVENC'; echo 'No capable devices' >&2; exit 1")
    with pytest.raises(EncodeError, match=r"h264_nvenc does not .*\(use libx264\).*\n.*No capable"):
        check_encoder("h264_nvenc")


def test_parts_are_read_from_the_lists(pretend) -> None:
    encoders = "Encoders:\n V..... = Video\n ------\n V....D libx264   libx264 H.264 (codec h264)\n"
    pretend(f"{told(*VERSIONS['debian'])}\ncat <<'.'\n{encoders}\n.")
    require("encoder", "libx264", doing="x")
    for name in ("=", "Video", "h264", "------"):
        with pytest.raises(InputError, match=f"^x: .*without the encoder {name}: use y, or name"):
            require("encoder", name, doing="x", instead="use y", error=InputError)


def test_a_static_build_finds_no_character_sets_to_load(pretend) -> None:
    pretend(f'{told(*VERSIONS["static"])}\nif [ $2 = -nostdin ]; then echo "<$GCONV_PATH>"; fi')
    assert ffmpeg.run([], error=EncodeError, doing="x").endswith(b"<%b>\n" % os.devnull.encode())


def test_filters_are_known_too() -> None:
    require("filter", "showinfo", doing="x")
    with pytest.raises(EncodeError, match="without the filter showinf:"):
        require("filter", "showinf", doing="x")


def test_the_line_for_a_bug_report(pretend) -> None:
    works = encode._WRITES
    script = without("libvpx-vp9")
    assert set(works) == {"mp4", "webm", "webp", "gif"}
    assert f"{program().version} ({binary()}): mp4" in describe_ffmpeg()
    pretend(script)
    line = describe_ffmpeg()
    assert "webm does not (libvpx-vp9)" in line
    assert ": mp4" in line
    assert "\n" not in line
