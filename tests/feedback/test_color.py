"""Colours: Lab there and back, the source's chroma, another picture's mean and contrast."""

import cv2
import numpy as np
import pytest
import torch

from pipeline.feedback.color import keep_chroma, lab_of, look, match, rgb_of, to_lab, to_rgb


def picture(seed: int, low: float = 0.2, high: float = 0.8) -> torch.Tensor:
    coarse = np.random.default_rng(seed).random((9, 16, 3), dtype=np.float32)
    smooth = cv2.resize(coarse, (64, 36), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return torch.from_numpy(low + (high - low) * smooth).permute(2, 0, 1)


def test_lab_is_that_of_opencv_and_comes_back():
    rgb = torch.cat([picture(1, 0, 1), picture(2, 0, 0.05)], dim=2)
    theirs = cv2.cvtColor(rgb.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2LAB)
    ours = lab_of(rgb)
    assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).max() < 0.4  # theirs comes out of a table
    assert np.array_equal(to_lab(rgb).permute(1, 2, 0).numpy(), theirs)
    assert (rgb_of(ours) - rgb).abs().max() < 1e-4
    assert (to_rgb(to_lab(rgb)) - rgb).abs().max() < 1 / 255


def test_chroma_is_the_sources_and_luma_the_dreams():
    source, dream = picture(1, 0.4, 0.6), picture(2, 0.4, 0.6)
    kept = keep_chroma(dream, source)
    weights = torch.tensor([0.2126, 0.7152, 0.0722]).view(3, 1, 1)
    assert torch.allclose((kept * weights).sum(0), (dream * weights).sum(0), atol=1e-5)
    assert torch.allclose(kept[0] - kept[2], source[0] - source[2], atol=1e-5)
    assert (keep_chroma(source, source) - source).abs().max() < 1e-6


def test_a_matched_picture_looks_like_the_other_one():
    wanted = look(picture(1, 0.35, 0.65))
    matched = match(picture(2), wanted)
    found = look(matched)
    assert torch.allclose(found.mean, wanted.mean, atol=0.3)
    assert torch.allclose(found.deviation, wanted.deviation, rtol=0.05)
    assert np.corrcoef(matched.flatten(), picture(2).flatten())[0, 1] > 0.8


def test_chroma_that_may_not_grow_stays_where_light_is_stretched():
    pale, wanted = picture(2, 0.45, 0.55), look(picture(1, 0.35, 0.65))
    before, found = look(pale), look(match(pale, wanted, chroma_may_grow=False))
    assert (wanted.deviation > 2 * before.deviation).all()
    assert torch.allclose(found.mean, wanted.mean, atol=0.3)
    assert torch.allclose(found.deviation[0], wanted.deviation[0], rtol=0.05)
    assert torch.allclose(found.deviation[1:], before.deviation[1:], rtol=0.05)


def test_chroma_that_may_not_grow_shrinks_as_a_whole():
    loud, wanted = picture(2), look(picture(1, 0.4, 0.6))
    loud[2] = 0.5 + (loud[2] - 0.5) / 4
    before, found = look(loud), look(match(loud, wanted, chroma_may_grow=False))
    assert found.deviation[1:].norm() == pytest.approx(float(wanted.deviation[1:].norm()), rel=0.05)
    proportion, wanted_one = (each.deviation[2] / each.deviation[1] for each in (before, wanted))
    assert abs(proportion / wanted_one - 1) > 0.2
    assert found.deviation[2] / found.deviation[1] == pytest.approx(float(proportion), rel=0.05)


def test_chroma_that_may_not_grow_does_not_run_away_where_dreams_are_dreamed_on():
    wanted = look(picture(1, 0.35, 0.65))
    dreams = {grow: picture(1, 0.35, 0.65) for grow in (True, False)}
    for _ in range(40):  # a frame loses a little of its colour before it is matched
        for grow, dream in dreams.items():
            grey = dream.mean(dim=0)
            faded = torch.where(torch.arange(64) < 48, torch.lerp(dream, grey, 0.1), dream)
            dreams[grow] = match(faded, wanted, chroma_may_grow=grow)
    loudest = {grow: float(to_lab(dream)[1:].norm(dim=0).max()) for grow, dream in dreams.items()}
    first = float(to_lab(picture(1, 0.35, 0.65))[1:].norm(dim=0).max())
    assert loudest[False] < 1.2 * first < 1.8 * first < loudest[True]


def test_a_picture_of_one_colour_has_no_contrast_to_stretch():
    grey = match(torch.full((3, 8, 8), 0.3), look(picture(1)))
    assert grey.isfinite().all()
    assert grey.flatten(1).std(1).max() < 1e-3


@pytest.mark.cuda
def test_cuda_matches_the_same(cuda):
    ours = match(picture(2), look(picture(1)))
    theirs = match(picture(2).to(cuda), look(picture(1).to(cuda)))
    assert torch.allclose(theirs.cpu(), ours, atol=1e-4)
