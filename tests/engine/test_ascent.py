import math
import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from pipeline.engine.ascent import (
    StepSettings,
    ascend,
    blur,
    jitter_offset,
    normalise,
    shift,
    smooth,
    smoothing_sigma,
)
from pipeline.engine.dreamnet import DreamNet
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.objectives import Term

WEIGHTS = Path(__file__).parents[2] / "pipeline/engine/dreamnet.safetensors"


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (64, 80)) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def settings(**changes) -> StepSettings:
    return StepSettings(**{"step": 0.01, "jitter": 8, "sigma": 0.5, "weights": (1.0,)} | changes)


def plain_step(layer, picture, key, sigma):
    """One step as plain as can be: whole network, hook, loss, autograd, torch's filters."""
    network = DreamNet()
    network.load_state_dict(load_file(WEIGHTS))
    network.float()
    found = []
    network.get_submodule(layer).register_forward_hook(lambda _, __, out: found.append(out))
    y, x = jitter_offset(key, 0, 0, 8)
    shifted = torch.roll(picture, (y, x), (2, 3)).requires_grad_()
    network((shifted - 0.5) * 4)
    F.mse_loss(found[0], torch.zeros_like(found[0])).backward()
    blurred = sum(torch_blur(shifted.grad, s * sigma, 4) for s in (0.5, 1, 2)) / 3
    direction = blurred / blurred.abs().mean()
    return torch.roll((shifted + 0.01 * direction).clamp(0, 1).detach(), (-y, -x), (2, 3))


def torch_blur(picture, sigma, radius):
    x = torch.arange(-radius, radius + 1.0)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(picture, (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)


def test_a_step_is_a_straightforward_autograd_step(dreamnet):
    picture = pictures(1)
    gradient = ImageGradient(dreamnet, [Term("mixed4a")])
    got, _ = ascend(picture, gradient, keys=[5], octave=0, iterations=1, settings=[settings()])
    expected = plain_step("mixed4a", picture, 5, 2.5)
    assert (got - expected).norm() <= 1e-5 * (expected - picture).norm()
    assert (got - picture).abs().mean() > 0.005


def test_a_batch_of_four_is_four_batches_of_one(dreamnet):
    gradient = ImageGradient(dreamnet, [Term("mixed4a"), Term("mixed3b", "norm")])
    batch = pictures(4)
    knobs = [
        settings(step=0.01 + 0.004 * k, jitter=3 * k, sigma=0.3 + 0.2 * k, weights=(1.0, 0.1 * k))
        for k in range(4)
    ]
    keys = [11, 12, 13, 14]
    together, values = ascend(batch, gradient, keys=keys, octave=1, iterations=1, settings=knobs)
    for k in range(4):
        alone, value = ascend(
            batch[k : k + 1], gradient, keys=[keys[k]], octave=1, iterations=1, settings=[knobs[k]]
        )
        moved = (alone - batch[k : k + 1]).norm()
        assert (together[k : k + 1] - alone).norm() <= 1e-5 * moved
        torch.testing.assert_close(values[k : k + 1], value, rtol=1e-5, atol=0)


def test_ascent_climbs(dreamnet):
    gradient = ImageGradient(dreamnet, [Term("mixed4a")])
    picture = 0.4 + 0.2 * pictures(1)
    _, before = gradient(picture, torch.ones(1, 1))
    climbed, _ = ascend(picture, gradient, keys=[1], octave=0, iterations=12, settings=[settings()])
    _, after = gradient(climbed, torch.ones(1, 1))
    assert after > 1.5 * before
    assert climbed.min() >= 0
    assert climbed.max() <= 1


def test_offsets_are_a_pure_function_and_cover_the_range():
    random.seed(1)
    first = [jitter_offset(7, 2, i, 4) for i in range(300)]
    random.seed(2)
    assert first == [jitter_offset(7, 2, i, 4) for i in range(300)]
    assert {y for y, _ in first} == {x for _, x in first} == set(range(-4, 5))
    assert first != [jitter_offset(8, 2, i, 4) for i in range(300)]
    assert first != [jitter_offset(7, 1, i, 4) for i in range(300)]
    assert jitter_offset(7, 2, 3, 0) == (0, 0)


def test_no_global_random_state_is_read_or_written(dreamnet):
    gradient = ImageGradient(dreamnet, [Term("mixed3b")])
    torch.manual_seed(1)
    random.seed(1)
    states = torch.get_rng_state(), random.getstate()
    first, _ = ascend(
        pictures(1), gradient, keys=[3], octave=0, iterations=2, settings=[settings()]
    )
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    torch.manual_seed(2)
    random.seed(2)
    again, _ = ascend(
        pictures(1), gradient, keys=[3], octave=0, iterations=2, settings=[settings()]
    )
    assert torch.equal(first, again)


def test_shift_is_per_sample_and_undone():
    batch = pictures(3)
    offsets = [(1, -2), (0, 0), (-7, 5)]
    shifted = shift(batch, offsets)
    for k, offset in enumerate(offsets):
        assert torch.equal(shifted[k], torch.roll(batch[k], offset, (1, 2)))
    assert torch.equal(shift(shifted, [(-y, -x) for y, x in offsets]), batch)


def test_blur_is_a_gaussian_filter():
    picture = pictures(1)
    torch.testing.assert_close(
        blur(picture, 1.3, 4), torch_blur(picture, 1.3, 4), atol=1e-6, rtol=1e-5
    )


def test_cascade_widens_and_is_per_sample():
    assert [smoothing_sigma("cascade", 0.5, i, 4) for i in range(4)] == [1.0, 1.5, 2.0, 2.5]
    assert [smoothing_sigma("cascade", 0.5, i, 4, 4.0) for i in range(4)] == [1.5, 2.5, 3.5, 4.5]
    assert smoothing_sigma("gaussian", 0.5, 3, 4) == 0.5
    batch = pictures(2) - 0.5
    smoothed = smooth(batch, "cascade", [0.5, 3.0])
    for k, sigma in enumerate((0.5, 3.0)):
        expected = sum(torch_blur(batch[k : k + 1], sigma * f, 4) for f in (0.5, 1, 2)) / 3
        torch.testing.assert_close(smoothed[k : k + 1], expected, atol=1e-6, rtol=1e-5)


def test_no_smoothing_leaves_the_gradient_alone():
    batch = pictures(1)
    assert smooth(batch, "none", [2.0]) is batch
    torch.testing.assert_close(smooth(batch, "gaussian", [0.0]), batch)


def test_laplacian_smoothing_equalises_bands():
    noise = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    low = F.interpolate(torch.randn(1, 3, 4, 4), size=(128, 128), mode="bicubic")
    faint = noise + 0.02 * low
    result = smooth(faint, "laplacian", [0.0])
    share = lambda x: F.avg_pool2d(x, 16).std() / x.std()  # noqa: E731
    assert share(result) > 3 * share(faint)


@pytest.mark.parametrize("kind", ["gaussian", "cascade", "laplacian"])
def test_tiny_pictures_can_be_smoothed(kind):
    for side in (2, 3, 5):
        result = smooth(torch.rand(1, 3, side, side + 1), kind, [2.0])
        assert result.isfinite().all()


def test_normalisations():
    g = torch.randn(3, 3, 20, 30) * torch.tensor([1e-8, 1.0, 1e8]).view(-1, 1, 1, 1) + 1e-9
    by_mean = normalise(g, "mean_abs")
    torch.testing.assert_close(by_mean.abs().mean((1, 2, 3)), torch.ones(3))
    by_std = normalise(g, "std")
    torch.testing.assert_close(by_std.mean((1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(by_std.square().mean((1, 2, 3)), torch.ones(3))
    assert normalise(g, "none") is g
    for kind in ("mean_abs", "std"):
        assert (normalise(torch.zeros(1, 3, 4, 4), kind) == 0).all()


def test_the_step_is_in_units_of_the_picture():
    gradient = lambda picture, weights: (torch.ones_like(picture), weights.sum(1))  # noqa: E731
    picture = torch.full((1, 3, 8, 8), 0.5)
    climbed, _ = ascend(
        picture,
        gradient,
        keys=[1],
        octave=0,
        iterations=3,
        settings=[settings(step=0.02)],
        smoothing="none",
    )
    assert math.isclose(climbed.mean().item(), 0.56, rel_tol=1e-5)


@pytest.mark.cuda
@pytest.mark.parametrize("kind", ["gaussian", "cascade"])
def test_cuda_smooths_the_same(kind, cuda):
    gradient = pictures(2) - 0.5
    on_gpu = smooth(gradient.to(cuda), kind, [0.7, 2.0]).cpu()
    torch.testing.assert_close(on_gpu, smooth(gradient, kind, [0.7, 2.0]), atol=1e-5, rtol=1e-4)


@pytest.mark.cuda
def test_cuda_blur_agrees(cuda):
    picture = pictures(1)
    torch.testing.assert_close(
        blur(picture.to(cuda), 1.3, 4).cpu(), blur(picture, 1.3, 4), atol=1e-5, rtol=1e-4
    )
