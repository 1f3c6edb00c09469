"""An engine written as the field writes it, on the same work as ours.

It runs the whole network with a hook on the layer, in float32 and NCHW, computes the gradients of
the weights too, and rolls, clips and resizes in numpy and OpenCV on the host, a round trip at every
step: what the popular scripts do, none of them named. It dreams one picture after the other.
"""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from bench_works import Work, pictures
from torch import nn

from pipeline.engine import assembly
from pipeline.engine.networks import spec
from pipeline.engine.octaves import usable_octaves


def baseline(work: Work, device: str) -> Callable[[], np.ndarray]:
    """Dream one picture of a row; the result is what was added to it, float32 [H, W, 3]."""
    network = published(work.model).to(device)
    found: list[torch.Tensor] = []
    network.get_submodule(work.layer.node).register_forward_hook(
        lambda _, __, activation: found.append(activation)
    )
    picture = pictures(work)[0].permute(1, 2, 0).numpy()
    sizes = usable_octaves(work.size, work.octaves, work.ratio, work.layer.smallest)

    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y, x = rng.integers(-32, 33, 2)
        rolled = np.roll(image, (y, x), (0, 1))
        tensor = torch.from_numpy(rolled.transpose(2, 0, 1)[None].copy()).to(device)
        tensor.requires_grad_()
        found.clear()
        network(tensor)
        F.mse_loss(found[0], torch.zeros_like(found[0])).backward()
        gradient = tensor.grad
        assert gradient is not None
        blurred = sum(torch_blur(gradient, sigma) for sigma in (0.75, 1.5, 3.0))
        g = blurred[0].cpu().numpy().transpose(1, 2, 0)
        rolled = np.clip(rolled + 0.01 * g / (np.abs(g).mean() + 1e-8), 0, 1)
        network.zero_grad()  # they were computed for nothing
        return np.roll(rolled, (-y, -x), (0, 1))

    def dream() -> np.ndarray:
        rng = np.random.default_rng(0)
        detail = np.zeros_like(picture)
        for size in sizes:
            base = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            start = base + cv2.resize(detail, size, interpolation=cv2.INTER_LINEAR)
            image = start
            for _ in range(work.steps):
                image = step(image, rng)
            detail = image - base
        return detail

    return dream


def published(model: str) -> nn.Module:
    """The whole network as it is published: nothing cut, frozen or folded; random weights."""
    facts = spec(model)
    network = assembly.architecture(facts, {})
    state = assembly.own_keys(facts, assembly.random_state(facts))
    network.load_state_dict(state, strict=False, assign=True)  # all but counters
    return network


def torch_blur(gradient: torch.Tensor, sigma: float) -> torch.Tensor:
    """A 9 x 9 Gaussian as a depthwise convolution."""
    x = torch.arange(-4, 5, dtype=torch.float32, device=gradient.device)
    line = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(gradient, (4, 4, 4, 4), mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, 9, 9), groups=3)
