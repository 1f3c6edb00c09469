from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import clips
import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import EncodeError
from pipeline.media.webp import encode_webp, read_webp

pytestmark = pytest.mark.skipif(
    not clips.has("encoder", "libwebp_anim"), reason="this ffmpeg has no libwebp_anim"
)


def dreams(count: int, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Smooth colours that change everywhere from frame to frame."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (count, size[1] // 4 + 1, size[0] // 4 + 1, 3), np.uint8)
    return [cv2.resize(each, size, interpolation=cv2.INTER_CUBIC) for each in coarse]


def decoded(path: Path) -> list[np.ndarray]:
    with Image.open(path) as picture:
        frames = []
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")).astype(int))
    return frames


@pytest.mark.parametrize(
    ("size", "count", "fps", "max_fps", "shown"),
    [
        ((64, 48), 12, Fraction(24), 30, 12),
        ((65, 49), 5, Fraction(1), 30, 5),
        ((64, 48), 31, Fraction(60), 30, 16),
        ((33, 17), 20, Fraction(30000, 1001), 60, 20),
        ((64, 48), 10, Fraction(25, 2), 5, 4),
    ],
)
def test_any_size_length_and_rate(tmp_path: Path, size, count, fps, max_fps, shown) -> None:
    path = tmp_path / "a.webp"
    facts = encode_webp(dreams(count, size), path, fps=fps, max_fps=max_fps)
    images = read_webp(path)
    assert (facts.images, facts.size, facts.bytes) == (shown, size, path.stat().st_size)
    assert len(images) == len(decoded(path)) == shown
    step = -(-fps // max_fps)
    assert sum(i.delay for i in images) == pytest.approx(1000 * float(shown * step / fps), abs=2)
    assert max(i.delay for i in images) - min(i.delay for i in images) <= 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.webp"]


def test_the_colours_are_true_and_the_animation_loops(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3, [0] * 3, [200, 30, 90]])
    bars = colours[None].astype(np.uint8).repeat(16, 1).repeat(32, 0)
    frames = [bars, bars[:, ::-1]]
    encode_webp(frames, tmp_path / "a.webp", fps=Fraction(24), quality=95)
    for shown, frame in zip(decoded(tmp_path / "a.webp"), frames, strict=True):
        assert np.abs(shown[16, 8::16] - frame[16, 8::16]).max() <= 3
    with Image.open(tmp_path / "a.webp") as picture:
        assert picture.info["loop"] == 0


@pytest.mark.parametrize("count", [1, 3])
def test_the_config_travels_inside(tmp_path: Path, count: int) -> None:
    comment = 'name: été\nlayers: {a: 1.0}  # <"x"> & y\n'
    encode_webp(dreams(count, (33, 17)), tmp_path / "a.webp", fps=Fraction(24), comment=comment)
    with Image.open(tmp_path / "a.webp") as picture:
        assert picture.size == (33, 17)
        xmp = ElementTree.fromstring(picture.info["xmp"])
    assert "".join(xmp.itertext()) == comment
    assert len(decoded(tmp_path / "a.webp")) == count


def test_frames_that_are_alike_show_as_long(tmp_path: Path) -> None:
    first, second = dreams(2)
    encode_webp([first, first, first, second], tmp_path / "a.webp", fps=Fraction(25))
    assert [image.delay for image in read_webp(tmp_path / "a.webp")] == [120, 40]


@pytest.mark.parametrize("share", [0.8, 0.25])
def test_the_largest_size_is_kept_by_stepping_down(tmp_path: Path, share: float) -> None:
    frames = dreams(24, (320, 240))
    free = encode_webp(frames, tmp_path / "free.webp", fps=Fraction(24))
    limit = free.bytes * share / 1e6
    small = encode_webp(frames, tmp_path / "a.webp", fps=Fraction(24), max_mb=limit)
    assert 0.3 * limit * 1e6 < small.bytes <= limit * 1e6
    assert small.quality < free.quality
    assert len(decoded(tmp_path / "a.webp")) == small.images


def test_what_cannot_fit_is_said_and_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(b"old")
    with pytest.raises(EncodeError, match="do not fit into max_mb") as error:
        encode_webp(dreams(24, (320, 240)), tmp_path / "a.webp", fps=Fraction(24), max_mb=0.001)
    assert "\n" not in str(error.value)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_stretch_that_is_not_there_and_a_torn_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match="nothing from 9 s on"):
        encode_webp(dreams(3), tmp_path / "a.webp", fps=Fraction(24), start=9)
    path = tmp_path / "b.webp"
    encode_webp(dreams(3), path, fps=Fraction(24))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EncodeError, match="not a complete WebP"):
        read_webp(path)
