from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import EncodeError, InputError
from pipeline.media.convert import convert_to_gif
from pipeline.media.encode import encode_mp4
from pipeline.media.gif import encode_gif, read_gif
from pipeline.media.images import resize


def clouds(count: int, size: tuple[int, int] = (96, 64)) -> list[np.ndarray]:
    """Coloured smooth noise that drifts: compresses about as a dream does."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    big = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    return [np.roll(big, 2 * index, axis=1) for index in range(count)]


def numbered(count: int) -> list[np.ndarray]:
    return [np.full((16, 24, 3), index, np.uint8) for index in range(count)]


def shown(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Frames and delays in milliseconds as Pillow, which did not write them, plays the file."""
    with Image.open(path) as gif:
        frames, delays = [], []
        for index in range(gif.n_frames):
            gif.seek(index)
            delays.append(gif.info["duration"])
            frames.append(np.asarray(gif.convert("RGB")))
    return frames, delays


@pytest.mark.parametrize(
    ("fps", "count", "played", "frames", "hundredths"),
    [
        (Fraction(24), 48, Fraction(12), 24, 200),
        (Fraction(25), 50, Fraction(25, 2), 25, 200),
        (Fraction(30), 60, Fraction(10), 20, 200),
        (Fraction(30000, 1001), 90, Fraction(10000, 1001), 30, 300),
        (Fraction(60), 61, Fraction(12), 13, 102),
        (Fraction(1), 3, Fraction(1), 3, 300),
        (Fraction(12), 1, Fraction(12), 1, 8),
    ],
)
def test_rate_and_duration(tmp_path, fps, count, played, frames, hundredths) -> None:
    facts = encode_gif(numbered(count), tmp_path / "a.gif", fps=fps)
    assert (facts.fps, facts.frames) == (played, frames)
    images = read_gif(facts.path)
    assert len(images) == frames
    assert sum(image.delay for image in images) == hundredths
    for index in range(1, frames):  # no error builds up on the way
        assert abs(sum(image.delay for image in images[:index]) - 100 * index / played) <= 1
    if frames > 1:
        pictures, delays = shown(facts.path)
        assert delays == [10 * image.delay for image in images]
        assert len(pictures) == frames


def test_it_loops_for_ever_and_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.gif"
    facts = encode_gif(clouds(6), path, fps=Fraction(12))
    data = path.read_bytes()
    assert b"NETSCAPE2.0\x03\x01\x00\x00\x00" in data
    assert facts.bytes == len(data)
    assert [file.name for file in path.parent.iterdir()] == ["a.gif"]


def test_every_frame_has_a_palette_of_its_own(tmp_path: Path) -> None:
    # 12 frames of 200 colours each, none shared: one palette could not hold them.
    rng = np.random.default_rng(0)
    hues = rng.integers(0, 256, (12, 200, 3), np.uint8)
    frames = [np.repeat(np.repeat(hue[None], 20, 0), 2, 1) for hue in hues]
    encode_gif(frames, tmp_path / "a.gif", fps=Fraction(10))
    errors = [
        np.abs(got.astype(int) - want).mean()
        for got, want in zip(shown(tmp_path / "a.gif")[0], frames, strict=True)
    ]
    assert max(errors) < 4


def test_still_frames_keep_their_time(tmp_path: Path) -> None:
    facts = encode_gif(
        [np.full((9, 9, 3), 70, np.uint8)] * 24, tmp_path / "a.gif", fps=Fraction(24)
    )
    assert facts.frames == 12
    assert sum(image.delay for image in read_gif(facts.path)) == 100


def test_the_stretch_is_taken_by_time(tmp_path: Path) -> None:
    facts = encode_gif(numbered(100), tmp_path / "a.gif", fps=Fraction(20), start=2, seconds=1.5)
    pictures, delays = shown(facts.path)
    assert sum(delays) == 1500
    assert [round(float(picture.mean())) for picture in pictures] == list(range(40, 70, 2))
    rest = encode_gif(numbered(100), tmp_path / "a.gif", fps=Fraction(20), start=4.5, seconds=9)
    assert rest.frames == 5
    with pytest.raises(EncodeError, match=r"nothing from 5 s on.* 100 frames \(5\.00 s\)"):
        encode_gif(numbered(100), tmp_path / "b.gif", fps=Fraction(20), start=5)


def test_width_keeps_the_shape_and_never_enlarges(tmp_path: Path) -> None:
    small = encode_gif(clouds(2), tmp_path / "a.gif", fps=Fraction(12), width=33)
    assert (small.width, small.height) == (33, 22)
    same = encode_gif(clouds(2), tmp_path / "a.gif", fps=Fraction(12), width=500)
    assert (same.width, same.height) == (96, 64)


def test_colours_are_limited(tmp_path: Path) -> None:
    facts = encode_gif(clouds(2), tmp_path / "a.gif", fps=Fraction(12), colors=16)
    assert facts.colours == 16
    assert all(len(np.unique(f.reshape(-1, 3), axis=0)) <= 16 for f in shown(facts.path)[0])


def test_max_mb_is_met_by_stepping_down(tmp_path: Path) -> None:
    frames = clouds(48)
    free = encode_gif(frames, tmp_path / "a.gif", fps=Fraction(24))
    asked = encode_gif(frames, tmp_path / "b.gif", fps=Fraction(24), max_mb=free.bytes * 1.2e-6)
    assert (asked.width, asked.fps, asked.bytes) == (96, 12, free.bytes)
    half = encode_gif(frames, tmp_path / "c.gif", fps=Fraction(24), max_mb=free.bytes * 0.5e-6)
    assert 0.2 * free.bytes < half.bytes <= 0.5 * free.bytes
    assert sum(image.delay for image in read_gif(half.path)) == 200


def test_what_cannot_fit_fails_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="do not fit into max_mb"):
        encode_gif(clouds(24), tmp_path / "a.gif", fps=Fraction(12), max_mb=0.001)
    assert list(tmp_path.iterdir()) == []


class Restless:
    """Calm where a sample looks, busy elsewhere; counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.busy = clouds(60, (96, 64))

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> np.ndarray:
        self.reads += 1
        calm = index < 8 or 26 <= index < 34 or index >= 52
        return self.busy[index] // 8 if calm else self.busy[index]


@pytest.mark.parametrize("max_mb", [0.2, 0.02])
def test_a_wrong_prediction_costs_one_more_attempt_not_two(tmp_path: Path, max_mb: float) -> None:
    frames = Restless()
    free = encode_gif(frames, tmp_path / "free.gif", fps=Fraction(12))
    assert free.bytes > 250_000
    frames.reads = 0
    if max_mb > 0.1:
        facts = encode_gif(frames, tmp_path / "a.gif", fps=Fraction(12), max_mb=max_mb)
        assert facts.bytes <= 1e6 * max_mb
    else:
        with pytest.raises(EncodeError, match="max_mb"):
            encode_gif(frames, tmp_path / "a.gif", fps=Fraction(12), max_mb=max_mb)
        assert [file.name for file in tmp_path.iterdir()] == ["free.gif"]
    assert frames.reads <= 2 * 60 + 6 * 12


def test_a_torn_gif_is_noticed(tmp_path: Path) -> None:
    encode_gif(clouds(3), tmp_path / "a.gif", fps=Fraction(12))
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[:-20])
    with pytest.raises(EncodeError, match="not a complete GIF"):
        read_gif(tmp_path / "a.gif")


def test_a_video_file_becomes_a_gif(tmp_path: Path) -> None:
    clip = tmp_path / "-clip.mp4"
    frames = clouds(50, (192, 128))
    encode_mp4(frames, clip, size=(192, 128), fps=Fraction(25))
    facts = convert_to_gif(clip, tmp_path / "clip.gif", width=96, start=0.4, seconds=1)
    assert (facts.width, facts.height, facts.fps) == (96, 64, Fraction(25, 2))
    assert sum(image.delay for image in read_gif(facts.path)) in (100, 104)
    got = shown(facts.path)[0]
    for index in range(len(got)):  # every other frame from the tenth on
        best = min(
            range(50), key=lambda i: np.abs(resize(frames[i], (96, 64)) - 0.0 - got[index]).sum()
        )
        assert abs(best - (10 + 2 * index)) <= 1
    with pytest.raises(InputError, match="no frame from 9 s on"):
        convert_to_gif(clip, tmp_path / "clip.gif", start=9)
