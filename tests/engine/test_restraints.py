"""Decay and total variation: gradients of what they say, and what they do to a picture."""

import torch

from pipeline.engine import restraints
from pipeline.engine.ascent import StepSettings, ascend

MEAN = torch.tensor([0.48, 0.45, 0.4]).view(1, 3, 1, 1)


def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 9, 12, generator=torch.Generator().manual_seed(0))


def test_decay_is_a_gradient():
    picture = pictures().requires_grad_()
    value = (picture - MEAN).square().sum() / 2
    (expected,) = torch.autograd.grad(value, picture)
    torch.testing.assert_close(restraints.decay(picture.detach(), MEAN), expected)


def test_variation_is_a_gradient():
    picture = pictures().double()
    picture[..., 3:6, 3:6] = 0.5  # flat: the slope's length is all but zero there
    picture.requires_grad_()
    value = 0
    for y in range(9):
        for x in range(12):
            here = picture[..., y, x]
            down = picture[..., y + 1, x] - here if y < 8 else 0 * here
            right = picture[..., y, x + 1] - here if x < 11 else 0 * here
            value = value + (right**2 + down**2 + (1 / 255) ** 2).sqrt().sum()
    (expected,) = torch.autograd.grad(value, picture)
    found = restraints.variation(picture.detach().float())
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


def still(picture, weights):
    return torch.zeros_like(picture), weights.sum(1)


def held(**changes):
    settings = [StepSettings(0.01, 5, 0.0, (1.0,), **changes)] * 2
    return ascend(
        pictures(), still, keys=[1, 2], octave=0, iterations=30, settings=settings,
        mean=MEAN.flatten().tolist(),
    )[0]  # fmt: skip


def test_decay_leads_to_the_mean_and_variation_to_flatness():
    before = pictures()
    assert torch.equal(held(), before)
    decayed = held(decay=1.0)
    torch.testing.assert_close(decayed - MEAN, (before - MEAN) * 0.99**30, atol=1e-5, rtol=1e-4)
    flat = held(variation=0.5)
    total = [x.diff(dim=3).abs().mean() + x.diff(dim=2).abs().mean() for x in (flat, before)]
    assert total[0] < 0.5 * total[1]
    torch.testing.assert_close(flat.mean(), before.mean(), atol=1e-4, rtol=0)


def test_the_picture_is_blurred_every_few_steps():
    settings = [StepSettings(0.01, 5, 0.0, (1.0,), blur=sigma) for sigma in (0.0, 1.0)]
    after = [
        ascend(
            pictures(), still, keys=[1, 2], octave=0, iterations=k, settings=settings, blur_every=3
        )[0]
        for k in (2, 3)
    ]
    assert torch.equal(after[0], pictures())
    assert torch.equal(after[1][0], pictures()[0])
    assert after[1][1].std() < 0.5 * pictures()[1].std()
