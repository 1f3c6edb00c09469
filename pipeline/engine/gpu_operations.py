"""The operations of a flat network as a GPU does them: cuDNN convolves, fused kernels do the rest.

A GPU is short of memory bandwidth and of time to launch, not of arithmetic. So a convolution comes
bare, and one pass over its result adds the bias, cuts off below zero and, where a pooling follows,
keeps only the maxima and a byte for where each stood: the ReLU's mask is in that byte too, and the
large activation in front of the pooling is not kept at all.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.engine.blocks import LRN
from pipeline.engine.convolutions import GpuKernel, PictureConv2d, adjoint
from pipeline.engine.kernels import Kernels
from pipeline.engine.operations import (
    Builders,
    Gradients,
    Operation,
    Results,
    bias_of,
    filled,
    spacing,
    stacked,
    summed,
    window_of,
)


def on_gpu(kernels: Kernels) -> Builders:
    """Make operations of `triton_kernels`, or of `torch_kernels` where there is no Triton."""
    make = _Operations(kernels)
    return Builders(
        GpuKernel,
        make.convolution,
        make.relu,
        make.max_pool,
        make.response_norm,
        make.siblings,
    )


class _Operations:
    """Makes operations of one module of kernels; `operations.py` says what each does."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def convolution(
        self, layer: nn.Conv2d, *, relu: bool = False, pool: nn.MaxPool2d | None = None
    ) -> Operation:
        padding, stride = spacing(layer)
        result = layer.result if isinstance(layer, PictureConv2d) else layer.weight.dtype
        bias = bias_of(layer)
        kernel = GpuKernel(layer.weight, None if relu else bias, padding, stride)
        pull = adjoint(layer.weight.to(result), padding, stride, GpuKernel)
        window, kernels = window_of(pool) if pool else None, self._kernels
        bias = bias.to(result)

        def forward(x: Tensor) -> Results:
            y = kernel(x).to(result)
            if window:
                maxima, places = kernels.max_pool(y, window, bias)
                return (maxima,), (places, y.shape, x.shape)
            if relu:
                y = kernels.rectify_(y, bias)
            return (y,), (y if relu else None, y.shape, x.shape)

        def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
            (g,), (kept, inner, shape) = gradients, saved
            if window:
                g = kernels.max_pool_backward(g, kept, window, inner)
            elif relu:
                g = kernels.masked(g, kept)
            return (pull(g, shape, arrived[0]),)

        return Operation(forward, backward)

    def siblings(self, layers: Sequence[nn.Conv2d]) -> Operation:
        """Do 1x1 convolutions of one input, each with its ReLU, as one.

        Their input is read once; and its gradient, the largest tensor of a block's way back, is
        written once instead of being added to by one convolution after the other.
        """
        weight, bias = stacked(layers)
        sizes = [layer.out_channels for layer in layers]
        kernel, pull = GpuKernel(weight), adjoint(weight, (0, 0), (1, 1), GpuKernel)
        kernels = self._kernels

        def forward(x: Tensor) -> Results:
            y = kernels.rectify_(kernel(x), bias)
            return torch.split(y, sizes, 1), (y, x.shape)

        def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
            y, shape = saved
            parts = filled(gradients, torch.split(y, sizes, 1))
            return (pull(kernels.masked(torch.cat(parts, 1), y), shape, arrived[0]),)

        return Operation(forward, backward)

    def relu(self, layer: nn.ReLU) -> Operation:
        del layer  # it has no settings
        kernels = self._kernels

        def forward(x: Tensor) -> Results:
            y = x.relu()
            return (y,), y

        def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
            return (kernels.masked(gradients[0], saved, arrived[0]),)

        return Operation(forward, backward)

    def max_pool(self, layer: nn.MaxPool2d) -> Operation:
        window, kernels = window_of(layer), self._kernels

        def forward(x: Tensor) -> Results:
            y, places = kernels.max_pool(x, window)
            return (y,), (places, x.shape)

        def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
            share = kernels.max_pool_backward(gradients[0], saved[0], window, saved[1])
            return (summed(arrived[0], share),)

        return Operation(forward, backward)

    def response_norm(self, layer: LRN) -> Operation:
        knobs = (int(layer.band[0].sum()) - 1, layer.scale, layer.beta, layer.bias)
        kernels = self._kernels

        def forward(x: Tensor) -> Results:
            return (kernels.response_norm(x, *knobs),), x

        def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
            share = kernels.response_norm_backward(gradients[0], saved, *knobs)
            return (summed(arrived[0], share),)

        return Operation(forward, backward)
