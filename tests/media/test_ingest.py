import re
import shutil
from fractions import Fraction
from pathlib import Path

import clips
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import EncodeError, InputError, PipelineError
from pipeline.media import ffmpeg
from pipeline.media.facts import Facts, read_facts
from pipeline.media.ingest import fingerprint, ingest
from pipeline.media.program import program
from pipeline.media.raw_frames import read_frames
from pipeline.media.timing import choose_rate
from pipeline.media.working_copy import WorkingCopy


def frames_of(facts: Facts, folder: Path) -> list[np.ndarray]:
    with WorkingCopy(folder, facts) as copy:
        return list(copy.read_range(0, facts.frames))


def numbers(facts: Facts, folder: Path) -> list[int]:
    return [clips.number(frame) for frame in frames_of(facts, folder)]


def snapshot(path: Path, tmp_path: Path) -> np.ndarray:
    """The first frame as ffmpeg's own PNG."""
    png = tmp_path / "own.png"
    one = ["-frames:v", "1", "-pix_fmt", "rgb24", "-c:v", "png"]
    clips.run("-i", f"file:{path}", *one, str(png))
    with Image.open(png) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize(
    "name",
    [
        "plain.mp4",
        "444.mp4",
        "ten_bits.mkv",
        "vp8.webm",
        "vp9.webm",
        "av1.mkv",
        "hevc.mp4",
        "mpeg4.avi",
        "h264.avi",
        "prores.mov",
        "mjpeg.mov",
        "stream.ts",
        "raw.h264",
        "no_duration.mkv",
        "late.mp4",
        "late.mkv",
        "wide_pixels.mp4",
        "odd.mkv",
        "odd_420.webm",
        "many_streams.mkv",
    ],
)
def test_every_frame_of_every_kind_comes_in_order(ingested, name: str) -> None:
    facts, folder = ingested(name)
    counts = {"plain.mp4": 60, "many_streams.mkv": 10}
    counts |= dict.fromkeys(("no_duration.mkv", "late.mp4", "late.mkv"), 30)
    counts |= dict.fromkeys(("odd.mkv", "odd_420.webm"), 6)
    assert numbers(facts, folder) == list(range(counts.get(name, 12)))
    assert facts.fps == 25
    assert facts.ended == ""
    assert len(facts.scores) == len(facts.shares) == facts.frames
    assert sorted(file.name for file in folder.iterdir()) == ["facts.json", "source.mkv"]


def test_a_gif_keeps_its_time(ingested) -> None:
    facts, folder = ingested("animated.gif")
    assert (facts.fps, facts.frames) == (10, 6)  # 12 frames at 25 fps, shown at 10
    assert numbers(facts, folder) == sorted(numbers(facts, folder))


@pytest.mark.parametrize("name", ["rotated_90.mp4", "rotated_180.mp4", "rotated_270.mov"])
def test_rotation_is_applied(ingested, clip, tmp_path: Path, name: str) -> None:
    facts, folder = ingested(name)
    assert facts.size == ((128, 32) if "180" in name else (32, 128))
    turn = int(name.partition("_")[2][:3].strip(".")) // 90
    upright = [np.rot90(frame, -turn) for frame in frames_of(facts, folder)]
    assert [clips.number(frame) for frame in upright] == list(range(6))
    assert np.abs(frames_of(facts, folder)[0] - snapshot(clip(name), tmp_path)).max() <= 2


def test_pixels_become_square(ingested) -> None:
    assert ingested("wide_pixels.mp4")[0].size == (192, 32)


@pytest.mark.parametrize("name", [name for name in clips.CLIPS if name.startswith("colours_")])
def test_colours_are_those_of_ffmpegs_own_png(ingested, clip, tmp_path: Path, name: str) -> None:
    facts, folder = ingested(name)
    got = frames_of(facts, folder)[0].astype(int)
    assert np.abs(got - snapshot(clip(name), tmp_path)).max() <= 2


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("levels", ["tv", "pc"])
def test_bars_and_ramps_come_back_as_they_were(ingested, matrix: str, levels: str) -> None:
    facts, folder = ingested(f"colours_yuv444p_{matrix}_{levels}.mp4")
    got = frames_of(facts, folder)[0].astype(int)
    original = read_frames(clips.lavfi(clips.PALETTE), size=(128, 96), error=InputError, doing="x")
    wanted = next(original).astype(int)
    original.close()
    assert np.array_equal(wanted[60, :, 1], 2 * np.arange(128))
    # 8-bit YUV rounds by up to 3 itself, and FFmpeg 5 and 6 by as much again as they make the clip.
    assert np.abs(got - wanted).max() <= 6


def test_untagged_colours_are_taken_as_players_take_them(tmp_path: Path) -> None:
    for height, matrix in ((480, "smpte170m"), (720, "bt709")):
        clip = tmp_path / f"{height}.mp4"
        convert = f"scale=out_color_matrix={matrix}:out_range=tv,format=yuv444p"
        untag = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown"
        red = f"color=0xC04020:s=64x{height}:d=0.1,format=gbrp,{convert},{untag}"
        clips.run(*clips.lavfi(red), *clips.X264, str(clip))
        facts = ingest(clip, tmp_path / "in")
        got = frames_of(facts, tmp_path / "in")[0].astype(int)
        assert np.abs(got - (0xC0, 0x40, 0x20)).max() <= 3


@pytest.mark.parametrize("name", ["pq.mp4", "hlg.mp4", "pq_half_tagged.mp4"])
def test_hdr_is_tone_mapped_with_one_warning(ingested, name: str) -> None:
    if not clips.has("filter", "zscale"):
        with pytest.raises(InputError, match=r"is HDR .* built without the filter zscale: name a"):
            ingested(name)
        pytest.skip(f"{program()} has no zscale")
    facts, folder = ingested(name)
    assert len(facts.warnings) == 1
    assert "HDR" in facts.warnings[0]
    assert "tone-mapped" in facts.warnings[0]
    row = frames_of(facts, folder)[0][16].astype(int)
    steps = row[13::26]
    assert np.abs(steps - steps[:, :1]).max() <= 2  # grey stays grey
    assert (np.diff(steps[:, 0]) > 8).all()  # and nothing is clipped: every step is brighter
    # Signal .6 of PQ is 245 cd/m2, a little over the white of a page; of HLG a tenth of the peak.
    assert 215 < steps[3, 0] < 235 if name[:2] == "pq" else 160 < steps[3, 0] < 190


@pytest.mark.parametrize("name", ["variable.mkv", "variable.mp4"])
def test_a_variable_rate_becomes_constant_and_keeps_its_time(ingested, name: str) -> None:
    facts, folder = ingested(name)
    assert facts.fps == 20  # as many frames as there were
    assert abs(facts.duration - Fraction(3, 2)) <= 1 / facts.fps
    shown = numbers(facts, folder)
    for index, number in enumerate(shown):
        begins = [(1.5 * n + (0.5 if n % 2 else 0)) / 30 for n in range(30)]
        # Each place shows the frame that begins nearest to it or the one before.
        assert begins[number] <= (index + 0.51) / 20
        assert number == 29 or begins[number + 1] > (index - 0.51) / 20


def test_frames_a_camera_lost_are_made_up_for(ingested) -> None:
    facts, folder = ingested("dropped.mp4")
    assert (facts.fps, facts.frames) == (Fraction(30000, 1001), 60)
    shown = numbers(facts, folder)
    assert [n for i, n in enumerate(shown) if n != i] == [19] * 5 + [40]


@pytest.mark.parametrize(
    "rate", ["24000/1001", "24", "25/2", "30000/1001", "60000/1001", "60", "7"]
)
def test_the_rate_is_exact_also_on_a_clock_of_milliseconds(tmp_path: Path, rate: str) -> None:
    for suffix in ("mkv", "mp4"):
        path = tmp_path / f"clip.{suffix}"
        clips.run(*clips.counter(40, rate), *clips.X264, str(path))
        facts = ingest(path, tmp_path / "in")
        assert (facts.fps, facts.frames) == (Fraction(rate), 40)
        assert numbers(facts, tmp_path / "in") == list(range(40))


def test_choose_rate() -> None:
    tick = Fraction(1, 1000)
    film = [round(1000 * n * 1001 / 24000) * tick for n in range(200)]
    assert choose_rate(film, Fraction(24000, 1001)) == (Fraction(24000, 1001), True)
    assert choose_rate(film, Fraction(1000))[0] == Fraction(24000, 1001)  # webm's clock, not a rate
    assert choose_rate(film, None) == (Fraction(24000, 1001), True)
    assert choose_rate([], None) == (25, True)
    assert choose_rate([Fraction(3)], Fraction(12)) == (12, True)
    bursts = [Fraction(n, 60) for n in range(10)] + [Fraction(n) for n in range(1, 12)]
    rate, constant = choose_rate(bursts, Fraction(60))
    assert not constant
    assert rate < 3


def test_several_streams_the_first_is_taken_and_said(ingested) -> None:
    facts, _ = ingested("many_streams.mkv")
    assert facts.size == (128, 32)
    assert [sound.codec for sound in facts.sounds] == ["aac", "aac"]
    assert "2 video streams: the first is used" in facts.warnings[0]
    assert "2 sound streams: the first is used" in facts.warnings[1]


def test_a_late_start_is_on_the_files_clock(ingested) -> None:
    for name in ("late.mp4", "late.mkv"):
        facts, _ = ingested(name)
        assert facts.clock == Fraction(37, 25)
        (sound,) = facts.sound_starts
        assert sound is not None
        assert abs(sound) < 0.03


def test_start_and_frames(clip, tmp_path: Path) -> None:
    facts = ingest(clip("plain.mp4"), tmp_path, start=1.01, frames=7)
    assert (facts.start, facts.clock, facts.frames) == (1, 1, 7)
    assert numbers(facts, tmp_path) == list(range(25, 32))
    rest = ingest(clip("plain.mp4"), tmp_path, start=Fraction(58, 25), frames=100)
    assert (numbers(rest, tmp_path), rest.ended) == ([58, 59], "")
    with pytest.raises(InputError, match=r"has 60 frames \(2\.40 s\): start = 2\.40 s is behind"):
        ingest(clip("plain.mp4"), tmp_path, start=2.4)


@pytest.mark.parametrize("codec", [[*clips.X264, "-g", "400"], ["-c:v", "mpeg4", "-g", "12"]])
def test_a_late_start_of_a_long_clip_is_exact(tmp_path: Path, codec: list[str]) -> None:
    long = tmp_path / "long.mp4"  # numbers repeat after 256
    clips.run(*clips.counter(700, "30000/1001"), *codec, str(long))
    facts = ingest(long, tmp_path / "in", start=Fraction(600 * 1001, 30000), frames=5)
    assert numbers(facts, tmp_path / "in") == [n % 256 for n in range(600, 605)]


@pytest.mark.parametrize(
    ("box", "expected"),
    [((64, 64), (64, 16)), ((65, 999), (64, 16)), ((256, 256), (256, 64)), ((100, 20), (80, 20))],
)
def test_size_is_fitted_and_even(clip, tmp_path: Path, box, expected) -> None:
    facts = ingest(clip("plain.mp4"), tmp_path, size=box, frames=9)
    assert facts.size == expected
    assert numbers(facts, tmp_path) == list(range(9))


def test_an_odd_row_and_column_are_cut_off_not_scaled(clip, tmp_path: Path) -> None:
    facts = ingest(clip("odd.mkv"), tmp_path / "in")
    assert facts.size == (128, 32)
    own = snapshot(clip("odd.mkv"), tmp_path)
    got = frames_of(facts, tmp_path / "in")[0].astype(int)
    assert np.abs(got - own[:32, :128])[:, :-2].max() <= 2


def test_another_rate_can_be_asked_for(clip, tmp_path: Path) -> None:
    facts = ingest(clip("plain.mp4"), tmp_path, fps=Fraction(25, 2))
    assert (facts.fps, facts.frames) == (Fraction(25, 2), 30)
    assert abs(facts.duration - Fraction(60, 25)) <= Fraction(2, 25)


def test_max_pixels(clip, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="128x32 pixels, the limit is max_pixels = 4095") as caught:
        ingest(clip("plain.mp4"), tmp_path, max_pixels=4095)
    assert "smaller size" in str(caught.value)
    assert ingest(clip("plain.mp4"), tmp_path, max_pixels=4095, size=(64, 64)).size == (64, 16)


def test_progress_is_told(clip, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    ingest(clip("plain.mp4"), tmp_path, on_progress=lambda *now: told.append(now))
    assert told == [(done, 60) for done in range(1, 61)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("truncated.mp4", "of 100: .*partial file"),
        ("truncated.mkv", "of 100: .*ended prematurely"),
        ("truncated.avi", "the file has .* bytes"),
    ],
)
def test_of_a_truncated_file_all_there_is_is_used(ingested, name: str, words: str) -> None:
    facts, folder = ingested(name)
    assert 5 < facts.frames < 95
    assert numbers(facts, folder)[:-1] == list(range(facts.frames - 1))
    # (The last one may be torn.)
    assert re.search(rf"the input ended at frame {facts.frames}.*{words}", facts.ended)


def test_a_stream_that_stops_is_used_up_to_there(ingested) -> None:
    facts, folder = ingested("truncated.ts")
    assert numbers(facts, folder)[:-1] == list(range(facts.frames - 1))


@pytest.mark.parametrize("name", ["clock_back.ts", "clock_ahead.ts"])
def test_a_clock_that_jumps_is_straightened(ingested, name: str) -> None:
    facts, folder = ingested(name)
    shown = numbers(facts, folder)
    assert abs(facts.frames - 60) <= 2
    assert shown[:29] == list(range(29))
    assert shown[-29:] == list(range(1, 30))
    assert "clock that jumps" in facts.warnings[0]


def test_damage_in_the_middle_costs_no_frame_and_is_said(ingested) -> None:
    facts, _ = ingested("damaged.mp4")
    assert (facts.frames, facts.ended) == (50, "")
    assert len(facts.warnings) == 1
    assert "is damaged: the decoder complained" in facts.warnings[0]
    assert "near frame" in facts.warnings[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sound.m4a", r"holds no video stream \(sound only\)"),
        ("cover.mp3", r"holds no video stream \(sound only\)"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "not a video that can be read"),
        ("headless.mp4", "moov atom not found"),
        ("concat_list.mp4", "is a playlist"),
        ("hls_list.mp4", "is a playlist"),
        ("sdp.mp4", "is a playlist"),
        ("missing.mp4", "no such file"),
        (".", "is a directory"),
        pytest.param("/dev/null", "is a pipe or a device", marks=pytest.mark.unix),
    ],
)
def test_what_cannot_be_used_gets_one_clear_line(
    clip, tmp_path: Path, name: str, words: str
) -> None:
    clip("plain.mp4")  # what the playlists name is there
    path = clip(name) if name in clips.CLIPS else tmp_path / name
    with pytest.raises(InputError, match=words) as caught:
        ingest(path, tmp_path / "in")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "in").exists()


def test_one_pixel_works(ingested) -> None:
    facts, folder = ingested("one_pixel.mkv")
    assert (facts.size, facts.frames) == ((2, 2), 5)
    assert np.abs(frames_of(facts, folder)[0].astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize(
    "name", ["-name.mp4", "concat:name.mp4", "a'b;c [d],e=%05d.mp4", "https:x"]
)
def test_odd_names_are_files(clip, tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip("odd.mkv"), f"./{name}")
    assert ingest(Path(name), Path("-in")).frames == 6


def test_the_copy_is_lossless_and_intra_only(clip, ingested) -> None:
    facts, folder = ingested("444.mp4")
    lines: list[str] = []
    show = ["-vf", "showinfo", "-f", "null", "-"]
    ffmpeg.run(
        [*ffmpeg.file_input(folder / "source.mkv"), *show],
        error=InputError,
        doing="x",
        on_line=lines.append,
        level="info",
    )
    shown = [line for line in lines if " pts_time:" in line]
    assert len(shown) == facts.frames
    assert all("fmt:gbrp" in line for line in shown)
    # By the packets, since FFmpeg 7.1 marks no decoded frame as a key frame. F=0 is another frame.
    listed = [*ffmpeg.file_input(folder / "source.mkv"), "-c", "copy", "-f", "framecrc", "pipe:1"]
    packets = ffmpeg.run(listed, error=InputError, doing="x").decode()
    assert len(re.findall("^0,", packets, re.MULTILINE)) == facts.frames
    assert "F=0x0" not in packets


def test_facts_survive_the_disk(ingested) -> None:
    for name in ("many_streams.mkv", "late.mp4", "truncated.mp4", "dropped.mp4"):
        facts, folder = ingested(name)
        assert read_facts(folder) == facts


def test_unfinished_or_torn_facts_are_none(clip, tmp_path: Path) -> None:
    assert read_facts(tmp_path) is None
    ingest(clip("odd.mkv"), tmp_path)
    text = (tmp_path / "facts.json").read_text(encoding="utf-8")
    for broken in ("", text[:100], "[]", '{"frames": 1}'):
        (tmp_path / "facts.json").write_text(broken, encoding="utf-8")
        assert read_facts(tmp_path) is None
    (tmp_path / "facts.json").write_text(text, encoding="utf-8")
    assert read_facts(tmp_path) is not None
    (tmp_path / "source.mkv").unlink()
    assert read_facts(tmp_path) is None


@pytest.mark.parametrize("failure", [KeyboardInterrupt, EncodeError])
def test_an_interrupted_ingest_leaves_nothing(clip, tmp_path: Path, failure) -> None:
    def stop(done: int, total: int | None) -> None:
        if done == 20:
            raise failure

    with pytest.raises(failure):
        ingest(clip("plain.mp4"), tmp_path, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_cannot_be_written_is_an_error(clip, tmp_path: Path) -> None:
    (tmp_path / "source.partial.mkv").mkdir()
    with pytest.raises(PipelineError, match=r"source\.partial\.mkv"):
        ingest(clip("plain.mp4"), tmp_path)
    assert read_facts(tmp_path) is None


def test_the_fingerprint_is_of_the_content(clip, tmp_path: Path) -> None:
    shutil.copy(clip("odd.mkv"), tmp_path / "other name.mkv")
    assert fingerprint(clip("odd.mkv")) == fingerprint(tmp_path / "other name.mkv")
    assert fingerprint(clip("odd.mkv")) != fingerprint(clip("odd_420.webm"))
