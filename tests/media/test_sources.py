from fractions import Fraction

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media.sources import NoiseSource, PictureSource, find_pictures


def noise(**changes):
    arguments = {"size": (320, 180), "frames": 3, "fps": Fraction(24), "seed": 5}
    return NoiseSource(**arguments | changes)


@pytest.mark.parametrize("color", ["soft", "white"])
def test_noise_is_seeded_and_around_grey(color):
    frame = noise(color=color).read(0)
    assert frame.shape == (180, 320, 3)
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, noise(color=color).read(0))
    assert not np.array_equal(frame, noise(color=color).read(1))
    assert not np.array_equal(frame, noise(color=color, seed=6).read(0))
    assert frame.mean() / 255 == pytest.approx(0.5, abs=0.07)
    assert frame.std() / 255 == pytest.approx(0.16, abs=0.03)


def test_scale_is_the_standard_deviation():
    assert noise(color="white", deviation=0.05).read(0).std() / 255 == pytest.approx(0.05, rel=0.05)


def test_soft_noise_has_all_scales_and_white_noise_one():
    def correlation(frame):
        grey = frame[..., 1].astype(float) - frame[..., 1].mean()
        return (grey[:, 16:] * grey[:, :-16]).mean() / grey.var()

    assert correlation(noise(color="soft").read(0)) > 0.4
    assert abs(correlation(noise(color="white").read(0))) < 0.05


def save(path, size, value=100):
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def pictures(paths, **changes):
    arguments = {"frames": len(paths), "fps": Fraction(24), "size": None, "max_pixels": 10_000}
    return PictureSource(paths, **arguments | changes)


def test_a_photo_serves_all_frames(tmp_path):
    source = pictures([save(tmp_path / "a.png", (40, 20))], frames=5)
    assert source.sizes == [(40, 20)] * 5
    assert source.read(4).shape == (20, 40, 3)
    assert source.read(4).mean() == 100


def test_a_folder_is_in_name_order_and_each_picture_keeps_its_shape(tmp_path):
    save(tmp_path / "b.png", (40, 20), 20)
    save(tmp_path / "a.jpg", (30, 60), 10)
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    paths = find_pictures(str(tmp_path))
    assert [p.name for p in paths] == ["a.jpg", "b.png"]
    assert find_pictures(str(tmp_path / "*.png")) == [tmp_path / "b.png"]
    source = pictures(paths, size=(20, 20))
    assert source.sizes == [(10, 20), (20, 10)]
    assert [source.read(f).shape for f in (0, 1)] == [(20, 10, 3), (10, 20, 3)]
    assert source.names == ["a", "b"]


def test_an_empty_folder_says_what_is_accepted(tmp_path):
    with pytest.raises(InputError, match=r"no pictures in the folder .*\.jpg"):
        find_pictures(str(tmp_path))
    with pytest.raises(InputError, match="nothing-here"):
        find_pictures(str(tmp_path / "nothing-here*.png"))


def test_a_picture_over_max_pixels_names_the_limit(tmp_path):
    path = save(tmp_path / "big.png", (200, 100))
    with pytest.raises(InputError, match=r"big\.png.*max_pixels = 10000"):
        pictures([path])


def test_the_fingerprint_changes_with_the_pictures(tmp_path):
    path = save(tmp_path / "a.png", (40, 20))
    before = pictures([path]).fingerprint
    assert before == pictures([path]).fingerprint
    save(path, (41, 20))
    assert before != pictures([path]).fingerprint
