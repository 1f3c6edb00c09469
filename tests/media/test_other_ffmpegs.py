"""The ffmpeg of the system does what that of imageio-ffmpeg does, whatever version either is."""

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from pipeline.errors import InputError
from pipeline.media import ffmpeg
from pipeline.media.encode import encode_mp4, encode_webm
from pipeline.media.facts import Facts
from pipeline.media.gif import encode_gif, read_gif
from pipeline.media.ingest import ingest
from pipeline.media.probe import Probe, probe
from pipeline.media.sound import sound_of
from pipeline.media.webp import encode_webp, read_webp
from pipeline.media.working_copy import WorkingCopy

RATE = Fraction(30000, 1001)
SIZE = (64, 48)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The programs to compare: imageio-ffmpeg's and the system's."""
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    system, own = shutil.which("ffmpeg"), Path(get_ffmpeg_exe()).resolve()
    if system is None:
        pytest.skip("no ffmpeg is installed beside that of imageio-ffmpeg")
    if Path(system).resolve() == own:
        pytest.skip("imageio-ffmpeg has no ffmpeg of its own here: the system's is all there is")
    return own, Path(system)


def moving() -> list[np.ndarray]:
    """24 frames in which a bright column moves over a ramp."""
    ramp = np.linspace(40, 200, SIZE[0]).astype(np.uint8)[None, :, None]
    frames = [np.tile(ramp, (SIZE[1], 1, 3)) for _ in range(24)]
    for index, frame in enumerate(frames):
        frame[:, 2 * index : 2 * index + 4] = 255
    return frames


def told(path: Path) -> Probe:
    """What is said of a file, wherever it is; the length to a tenth of a second.

    FFmpeg 5 delays a WebM by what Opus puts before its first sample, picture and sound alike.
    """
    found = probe(path)
    assert found.seconds is not None
    assert found.first < Fraction(1, 100)
    return replace(found, path=Path(path.name), seconds=round(found.seconds, 1), first=Fraction(0))


def test_what_one_writes_the_other_reads(pair, use_ffmpeg, clip, tmp_path: Path) -> None:
    song = clip("stereo_pcm.mov")
    written = {}
    for name, program in zip(("own", "system"), pair, strict=True):
        use_ffmpeg(program)
        folder = tmp_path / name
        sound = sound_of(ingest(song, folder / "in"), song)
        frames, shape = moving(), {"size": SIZE, "fps": RATE}
        mp4 = encode_mp4(frames, folder / "a.mp4", **shape, comment="é", sound=sound)
        webm = encode_webm(frames, folder / "a.webm", **shape, comment="é", sound=sound)
        gif = encode_gif(frames, folder / "a.gif", fps=RATE, max_fps=15)
        outputs = [mp4, webm, gif]
        if clips.has("encoder", "libwebp_anim"):
            outputs.append(encode_webp(frames, folder / "a.webp", fps=RATE, comment="é"))
        assert (mp4.frames, webm.frames, gif.frames) == (24, 24, 12)
        assert (mp4.sound, webm.sound) == ("aac", "opus")
        assert all("é".encode() in (folder / f"a.{kind}").read_bytes() for kind in ("mp4", "webm"))
        written[name] = {facts.path.name: facts.path for facts in outputs}
    for reader in pair:
        use_ffmpeg(reader)
        for kind, counted in (("a.mp4", 24), ("a.webm", 24), ("a.gif", 12)):
            assert {ffmpeg.count_frames(files[kind]) for files in written.values()} == {counted}
            own, system = (told(files[kind]) for files in written.values())
            assert own == system
        assert own.size == SIZE
        seen = told(written["system"]["a.mp4"])
        assert (seen.fps, seen.matrix, seen.levels) == (RATE, "bt709", "tv")
        assert [(s.codec, s.layout, s.rate) for s in seen.sounds] == [("aac", "stereo", 44100)]
    delays = [[frame.delay for frame in read_gif(w["a.gif"])] for w in written.values()]
    assert delays[0] == delays[1]
    pictures = [read_webp(w["a.webp"]) for w in written.values() if "a.webp" in w]
    assert all(abs(sum(image.delay for image in images) - 801) <= 2 for images in pictures)


@pytest.mark.parametrize(
    "name", ["dropped.mp4", "rotated_90.mp4", "many_streams.mkv", "late.mp4", "clock_back.ts"]
)
def test_a_clip_has_the_same_facts_and_frames(pair, use_ffmpeg, clip, tmp_path, name) -> None:
    use_ffmpeg(pair[0])
    path = clip(name)
    found: list[tuple[Facts, Probe, list[np.ndarray]]] = []
    for program in pair:
        use_ffmpeg(program)
        folder = tmp_path / str(len(found))
        facts = ingest(path, folder)
        with WorkingCopy(folder, facts) as copy:
            sought = [copy.read(facts.frames - 1), copy.read(facts.frames // 2)]
            frames = [*sought, *copy.read_range(0, facts.frames)]
        found.append((facts, probe(path), frames))
    (own, seen, frames), (system, seen_too, frames_too) = found
    assert seen == seen_too
    near: dict[str, Any] = {"scores": (), "shares": ()}  # scalers round differently
    assert replace(own, **near) == replace(system, **near)
    assert np.abs(np.subtract(own.scores, system.scores)).max() < 0.1
    assert np.abs(np.subtract(frames, frames_too, dtype=int)).max() <= 2
    assert np.array_equal(frames_too[0], frames_too[-1])  # a frame that is sought is that frame
    if name == "many_streams.mkv":
        assert [clips.number(frame) for frame in frames_too] == [9, 5, *range(10)]


@pytest.mark.parametrize(
    "name", ["sound.m4a", "cover.mp3", "text.mp4", "headless.mp4", "concat_list.mp4", "sdp.mp4"]
)
def test_what_is_wrong_is_said_alike(pair, use_ffmpeg, clip, name: str) -> None:
    use_ffmpeg(pair[0])
    path, messages = clip(name), set()
    for program in pair:
        use_ffmpeg(program)
        with pytest.raises(InputError) as caught:
            probe(path)
        messages.add(str(caught.value))
    assert len(messages) == 1
