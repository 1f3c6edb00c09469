"""Masks as pictures and fields."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media.masks import feathered, still_mask


def disc(radius: int = 30, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), np.float32)
    cv2.circle(mask, (size[0] // 2, size[1] // 2), radius, 1, -1)
    return mask


@pytest.mark.parametrize("width", [1, 8, 15.5])
def test_an_edge_is_soft_inside_the_white_and_never_in_the_black(width):
    mask = disc()
    soft = feathered(mask, width)
    assert soft[mask == 0].max() == 0
    assert soft[disc(28 - round(width)) == 1].min() == 1
    assert 0 < soft[60, 160 // 2 - 30 + 1] <= 1
    assert np.abs(np.diff(soft, axis=0)).max() <= max(1, 1.6 / width)


def test_a_hard_edge_stays_as_it_is():
    assert np.array_equal(feathered(disc(), 0), disc())


def test_the_border_of_the_picture_is_no_edge():
    mask = np.zeros((40, 60), np.float32)
    mask[:, 30:] = 1
    soft = feathered(mask, 8)
    assert np.allclose(soft, soft[:1])
    assert soft[0, -1] == 1
    assert 0 < soft[0, 32] < soft[0, 35] < 1
    assert np.allclose(feathered(np.full((40, 60), 0.5, np.float32), 8), 0.5)


def test_a_picture_is_stretched_to_the_frames_and_may_be_inverted(tmp_path: Path):
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.repeat(np.array([[0, 255]], np.uint8), 10, axis=0).repeat(10, 1))
    mask = still_mask(path, fingerprint="", feather=0, invert=False)
    field = mask.read(7, (64, 48))
    assert (field.shape, field.dtype) == ((48, 64), np.float32)
    assert field[:, :24].max() == 0
    assert field[:, 40:].min() == 1
    other = still_mask(path, fingerprint="", feather=0, invert=True).read(0, (64, 48))
    assert np.allclose(other, 1 - field, atol=0.05)


def test_what_is_no_picture_is_said(tmp_path: Path):
    (tmp_path / "mask.png").write_text("white", encoding="utf-8")
    with pytest.raises(InputError, match=r"mask\.png"):
        still_mask(tmp_path / "mask.png", fingerprint="", feather=8, invert=False)
