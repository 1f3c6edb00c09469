"""Operations that divide by a response across channels: see `operations.py`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pipeline.engine import cpu_kernels
from pipeline.engine.blocks import LRN, DivisiveNorm, root, widened
from pipeline.engine.convolutions import GpuKernel, Kernel
from pipeline.engine.operations import Gradients, Operation, Results, summed

# A band of ones across more channels than this is cheaper in blocks of so many.
_WIDE_BAND = 64
_BLOCK = 16


def response_norm(layer: LRN) -> Operation:
    """Normalise by the response of neighbouring channels: y = x / s^beta, s = bias + scale*sum x^2.

    The sum is a convolution with a band of ones. Across many channels most of that band is zeros;
    so there, blocks of channels become the pixels of a picture's rows, and the band a kernel that
    spans three of them. Both are exact.
    """
    channels = layer.band.shape[0]
    reach = int(layer.band[0].sum()) - 1
    known = reach == cpu_kernels.REACH and layer.beta == cpu_kernels.BETA
    if cpu_kernels.library() and known and channels <= cpu_kernels.MOST_CHANNELS:
        return _fused_response_norm(layer.scale, layer.bias)
    block = _BLOCK if channels > _WIDE_BAND and channels % _BLOCK == 0 else channels
    neighbours = (-1, 0, 1) if block < channels else (0,)
    index = torch.arange(block)
    near = [(index[:, None] - index - k * block).abs() <= reach for k in neighbours]
    band = torch.stack(near, -1)[:, :, None].to(widened(layer.band)) * layer.scale
    padding = (0, len(neighbours) // 2)
    power = Kernel(band, torch.full_like(band[:, 0, 0, 0], layer.bias), padding)
    slope = Kernel(band * (-2 * layer.beta), None, padding)

    def across(kernel: Kernel, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        blocks = x.permute(0, 2, 3, 1).reshape(n, h * w, c // block, block).permute(0, 3, 1, 2)
        return kernel(blocks).permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)

    return _divided(partial(across, power), partial(across, slope), layer.beta)


def _fused_response_norm(scale: float, bias: float) -> Operation:
    def forward(x: Tensor) -> Results:
        return (cpu_kernels.response_norm(x, scale, bias),), x

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        share = cpu_kernels.response_norm_backward(gradients[0], saved, scale, bias)
        return (summed(arrived[0], share),)

    return Operation(forward, backward)


def divisive_norm(layer: DivisiveNorm, kind: type[Kernel] | type[GpuKernel] = Kernel) -> Operation:
    """Normalise by a weighted response of all channels: y = x / s^beta, s = 1 + gamma x^2."""
    gamma = widened(layer.gamma.detach())[:, :, None, None]
    one = torch.ones_like(gamma[:, 0, 0, 0])
    power = kind(gamma, one, (0, 0))
    slope = kind(gamma.transpose(0, 1) * (-2 * layer.beta), None, (0, 0))
    return _divided(power, slope, layer.beta)


def _divided(
    power: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], beta: float
) -> Operation:
    """Divide x by s^beta, s = power(x^2); `slope` is the adjoint of power's kernel, * -2 beta."""

    def forward(x: Tensor) -> Results:
        given, x = x.dtype, widened(x)
        s = power(x * x)
        # In place, since no autograd watches here as it does in `LRN.forward`.
        d = s.sqrt().mul_(s).sqrt_() if beta == 0.75 else root(s, beta)
        y = x / d
        return (y.to(given),), (x, s, d, y)

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        (g,), (x, s, d, y) = gradients, saved
        share = slope((g * y).div_(s)).mul_(x).addcdiv_(g.to(x.dtype), d)
        return (summed(arrived[0], share.to(g.dtype)),)

    return Operation(forward, backward)
