import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media import ffmpeg
from pipeline.media.encode import VideoFacts, encode_mp4, encode_webm
from pipeline.media.ingest import ingest
from pipeline.media.probe import probe
from pipeline.media.sound import Sound, sound_of
from pipeline.media.working_copy import WorkingCopy

FPS = Fraction(15000, 1001)
HALF_A_FRAME = 0.5 * 1001 / 30000  # of 29.97 fps; the clips have half that rate


def flashes(path: Path) -> list[float]:
    """When the picture turns from black to white, in seconds on the file's clock."""
    lines: list[str] = []
    show = ["-map", "0:V:0", "-vf", "showinfo", "-f", "null", "-"]
    ffmpeg.run(
        ["-copyts", *ffmpeg.file_input(path), *show],
        error=InputError,
        doing="x",
        on_line=lines.append,
        level="info",
    )
    matches = (re.search(r"pts_time:(\S+) .*mean:\[(\d+)", line) for line in lines)
    light = [(float(match[1]), int(match[2]) > 100) for match in matches if match]
    return [
        now
        for (_, was), (now, is_) in zip([(0, False), *light], light, strict=False)
        if is_ and not was
    ]


def beeps(path: Path) -> list[float]:
    """When a tone begins, likewise."""
    mono = "aresample=48000:async=1:first_pts=0,aformat=sample_fmts=flt:channel_layouts=mono"
    raw = ffmpeg.run(
        [
            "-copyts",
            *ffmpeg.file_input(path),
            "-map",
            "0:a:0",
            "-af",
            mono,
            "-f",
            "f32le",
            "pipe:1",
        ],
        error=InputError,
        doing="x",
    )
    loud = np.flatnonzero(np.abs(np.frombuffer(raw, np.float32)) > 0.25)
    begins = loud[np.diff(loud, prepend=-10_000) > 4800]
    return [begin / 48000 for begin in begins]


def offsets(path: Path) -> list[float]:
    """Beep minus flash at the second and at the last flash."""
    tones = beeps(path)
    return [
        min((tone - flash for tone in tones), key=abs) for flash in np.array(flashes(path))[[1, -1]]
    ]


def dreamed(name: str, ingested, clip, path: Path, **changes) -> VideoFacts:
    """The clip's own frames and sound, encoded as a render would."""
    facts, folder = ingested(name)
    sound = sound_of(facts, clip(name))
    assert sound is not None
    with WorkingCopy(folder, facts) as copy:
        return encode_mp4(
            copy.read_range(0, facts.frames),
            path,
            size=facts.size,
            fps=facts.fps,
            preset="ultrafast",
            sound=replace(sound, **changes),
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("flashes_aac.mp4", "copied"),
        ("flashes_late_sound.mp4", "copied"),
        ("flashes_late_picture.mkv", "aac"),  # .7 s of sound come before the picture: cut
        ("flashes_vorbis.mkv", "aac"),  # not for MP4
        ("flashes.ts", "copied"),  # its clock begins at 1.4 s
    ],
)
def test_sound_and_picture_stay_together_for_30_s(ingested, clip, tmp_path, name, kind) -> None:
    before = offsets(clip(name))
    facts = dreamed(name, ingested, clip, tmp_path / "a.mp4")
    assert (facts.sound, facts.frames, facts.fps) == (kind, 450, FPS)
    after = offsets(facts.path)
    assert np.abs(np.subtract(after, before)).max() < HALF_A_FRAME
    seconds = probe(facts.path).seconds
    assert seconds is not None
    assert abs(seconds - 450 / FPS) < 2 * HALF_A_FRAME


def test_cut_on_samples_is_as_exact_as_copied(ingested, clip, tmp_path: Path) -> None:
    name = "flashes_late_sound.mp4"
    facts = dreamed(name, ingested, clip, tmp_path / "a.mp4", copy=False)
    assert facts.sound == "aac"
    assert np.abs(np.subtract(offsets(facts.path), offsets(clip(name)))).max() < 0.002


def test_a_later_start_takes_the_sound_along(clip, tmp_path: Path) -> None:
    source = clip("flashes_aac.mp4")
    facts = ingest(source, tmp_path, start=13.3, frames=75)
    sound = sound_of(facts, source)
    assert sound is not None
    assert not sound.copy
    with WorkingCopy(tmp_path, facts) as copy:
        done = encode_mp4(
            copy.read_range(0, 75), tmp_path / "a.mp4", size=facts.size, fps=facts.fps, sound=sound
        )
    # The picture's flashes sit at whole seconds rounded up to frames, the beeps at whole seconds.
    wanted = [second - float(facts.clock) for second in range(14, 19)]
    assert len(beeps(done.path)) == 5
    assert np.abs(np.subtract(beeps(done.path), wanted)).max() < 0.003
    assert all(0 <= f - w <= 1 / FPS for f, w in zip(flashes(done.path), wanted, strict=True))


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("flashes_late_sound.mp4", "mono"),
        ("flashes_late_picture.mkv", "mono"),
        ("surround_ac3.mkv", "5.1"),
        ("surround.mp4", "5.1"),
        ("stereo_pcm.mov", "stereo"),
    ],
)
def test_webm_takes_any_sound_as_opus(ingested, clip, tmp_path, name, layout) -> None:
    facts, folder = ingested(name)
    with WorkingCopy(folder, facts) as copy:
        done = encode_webm(
            copy.read_range(0, facts.frames),
            tmp_path / "a.webm",
            size=facts.size,
            fps=facts.fps,
            speed=5,
            sound=sound_of(facts, clip(name)),
        )
    (track,) = probe(done.path).sounds
    assert (done.sound, track.codec, track.layout) == ("opus", "opus", layout)
    if name.startswith("flashes"):
        assert np.abs(np.subtract(offsets(done.path), offsets(clip(name)))).max() < 0.01


@pytest.mark.parametrize(
    ("name", "kind", "codec", "layout"),
    [
        ("mono.mp4", "copied", "aac", "mono"),
        ("surround.mp4", "copied", "aac", "5.1"),
        ("surround_ac3.mkv", "copied", "ac3", "5.1(side)"),
        ("stereo_pcm.mov", "aac", "aac", "stereo"),
    ],
)
def test_channels_are_kept(ingested, clip, tmp_path, name, kind, codec, layout) -> None:
    facts = dreamed(name, ingested, clip, tmp_path / "a.mp4")
    (track,) = probe(facts.path).sounds
    assert (facts.sound, track.codec, track.layout) == (kind, codec, layout)
    again = dreamed(name, ingested, clip, tmp_path / "b.mp4", copy=False)
    (track,) = probe(again.path).sounds
    assert (again.sound, track.codec, track.layout) == ("aac", "aac", layout.partition("(")[0])


def test_the_sound_ends_with_the_picture(clip, tmp_path: Path) -> None:
    source = clip("flashes_aac.mp4")
    facts = ingest(source, tmp_path, frames=30)
    sound = sound_of(facts, source)
    assert sound is not None
    for copy in (True, False):
        frames = [np.zeros((32, 32, 3), np.uint8)] * 30
        done = encode_mp4(
            frames,
            tmp_path / "a.mp4",
            size=(32, 32),
            fps=facts.fps,
            sound=replace(sound, copy=copy),
        )
        seconds = probe(done.path).seconds
        assert seconds is not None
        assert abs(seconds - 30 / FPS) < 0.02
        assert done.frames == 30


def test_no_sound_is_no_error(ingested, clip, tmp_path: Path) -> None:
    facts, _ = ingested("plain.mp4")
    assert sound_of(facts, clip("plain.mp4")) is None


def test_a_sound_that_is_gone_is_named(tmp_path: Path) -> None:
    sound = Sound(tmp_path / "gone.mp4", Fraction(0), Fraction(1))
    with pytest.raises(InputError, match=r"gone\.mp4: no such file"):
        encode_mp4([], tmp_path / "a.mp4", size=(32, 32), fps=Fraction(24), sound=sound)


def test_the_first_stream_that_has_something_is_taken(ingested, clip) -> None:
    facts, _ = ingested("many_streams.mkv")
    path = clip("many_streams.mkv")
    assert sound_of(facts, path) == Sound(path, facts.clock, facts.duration, stream=0, copy=True)
    silent = replace(facts, sound_starts=(None, Fraction(0)))
    second = sound_of(silent, path)
    assert second is not None
    assert second.stream == 1
