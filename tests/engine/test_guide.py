"""Following a guide, and climbing to a class, through a whole network."""

from functools import cache

import pytest
import torch

from pipeline.engine import networks
from pipeline.engine.ascent import StepSettings
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.objectives import Term


def pictures(count: int, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


@cache
def built(name: str) -> networks.Network:
    return networks.build(name, None)


def activation(network, node, picture):
    """Through autograd, in the engine's memory format, in which rounding decides ties alike."""
    module = networks.truncate(network, [node]).to(memory_format=torch.channels_last)
    picture = picture.contiguous(memory_format=torch.channels_last)
    return module(picture - torch.tensor(network.mean).view(1, 3, 1, 1))[0]


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("match", ["best", "mean"])
def test_the_gradient_along_a_guide_is_autograds(dreamnet, match):
    image, guide = pictures(2, (51, 38)).requires_grad_(), pictures(1, (40, 60), seed=1)
    with torch.no_grad():
        features = activation(dreamnet, "mixed3b", guide)[0].flatten(1)
    if match == "mean":
        features = features.mean(1, keepdim=True)
    there = activation(dreamnet, "mixed3b", image)
    value = torch.einsum("nchw,cf->nhwf", there, features).amax(-1).sum((1, 2)) / there[0].numel()
    (wanted,) = torch.autograd.grad(value.sum(), image)
    way = ImageGradient(dreamnet, [Term("mixed3b", "guide")], guide=guide, match=match)
    slope, found = way(image.detach(), torch.ones(2, 1))
    assert error(slope, wanted) < 1e-5
    torch.testing.assert_close(found, value.detach(), rtol=1e-4, atol=1e-6)


def test_a_dream_comes_to_look_like_its_guide(dreamnet):
    """Stripes that stand make the dream's stand, in an early layer, where lines are."""
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::8] = stripes[..., 1::8] = stripes[..., 2::8] = 1
    step = StepSettings(step=0.02, jitter=8, sigma=0.5, weights=(1.0,))

    def along(guide: torch.Tensor, seed: torch.Tensor, iterations: int) -> torch.Tensor:
        dreamer = Dreamer(dreamnet, [Term("conv1", "guide")], octaves=1, guide=guide)
        return dreamer(seed, iterations=iterations, keys=[1], settings=[step]).pictures

    grey = 0.5 + 0.02 * (pictures(1, (64, 64)) - 0.5)
    upright, level = along(stripes, grey, 15), along(stripes.transpose(2, 3), grey, 15)
    across = [
        float(p.diff(dim=3).abs().mean() / p.diff(dim=2).abs().mean()) for p in (upright, level)
    ]
    assert across[0] > 2 * across[1]


@pytest.mark.parametrize(
    ("name", "size"),
    [("squeezenet1_1", (61, 48)), ("bvlc_googlenet", (67, 45)), ("inception5h", (66, 50)),
     ("alexnet", (95, 71)), pytest.param("vgg16", (40, 33), marks=pytest.mark.slow)],  # 2 GB
)  # fmt: skip
def test_the_gradient_of_a_class_is_autograds(name, size):
    """At sizes the classifier was not made for."""
    head = networks.spec(name).head
    image, weights = pictures(2, size).requires_grad_(), torch.tensor([[1.0, 0.5], [0.3, -2.0]])
    logits = activation(built(name), head, image).flatten(2 if name == "squeezenet1_1" else 1)
    logits = logits.mean(-1) if name == "squeezenet1_1" else logits
    value = (logits[:, [55, 7]] * weights).sum(1)
    (wanted,) = torch.autograd.grad(value.sum(), image)
    way = ImageGradient(built(name), [Term(head, "mean", (55,)), Term(head, "mean", (7,))])
    slope, found = way(image.detach(), weights)
    assert error(slope, wanted) < 1e-4
    torch.testing.assert_close(found, value.detach(), rtol=1e-3, atol=1e-4)
    alone, _ = way(image.detach()[1:], weights[1:])
    assert error(slope[1:], alone) < 1e-4
