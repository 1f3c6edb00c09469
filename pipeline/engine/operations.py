"""The operations of a flat network: each a forward pass and its hand-written adjoint.

`gradient.py` says why and derives them. Here they are done, on the CPU and in channels_last;
`normalisations.py` has those that divide, `gpu_operations.py` those that a GPU does in another way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.engine import cpu_kernels, pooling, stem
from pipeline.engine.blocks import LRN
from pipeline.engine.convolutions import GpuKernel, Kernel, Pair, PictureConv2d, adjoint, pair
from pipeline.engine.torch_kernels import NOWHERE, Window

Results = tuple[Sequence[Tensor], Any]
Gradients = Sequence[Any]  # of Tensor or None


class UnsupportedError(Exception):
    """The network has an operation that is not in the list."""


@dataclass(frozen=True)
class Operation:
    """A differentiable function; it keeps no state and changes no tensor it was given.

    Attributes:
        forward: (inputs) -> the results, and whatever `backward` will need.
        backward: (gradients, saved, arrived) -> gradients at the inputs. `gradients` has one per
            result, None where nothing depends on it; `saved` is from `forward`; `arrived` has per
            input the gradient that other operations have sent there so far, None for none yet, and
            what is returned is the sum of that and this operation's share.
    """

    forward: Callable[..., Results]
    backward: Callable[[Gradients, Any, Gradients], Gradients]


@dataclass(frozen=True)
class Builders:
    """How the operations that differ between devices are made.

    Attributes:
        kernel: convolves with constant weights.
        convolution: with the ReLU and the pooling behind it.
        relu: alone.
        max_pool: alone.
        response_norm: alone.
        siblings: of several 1x1 convolutions of one input, each with a ReLU behind it.
        joined: a convolution, the addition behind it and the ReLU behind that, as an operation on
            the convolution's input and what is added; None where each is done on its own.
    """

    kernel: type[Kernel] | type[GpuKernel]
    convolution: Callable[..., Operation]
    relu: Callable[[nn.ReLU], Operation]
    max_pool: Callable[[nn.MaxPool2d], Operation]
    response_norm: Callable[[LRN], Operation]
    siblings: Callable[[Sequence[nn.Conv2d]], Operation]
    joined: Callable[[nn.Conv2d], Operation] | None = None


def convolution(
    layer: nn.Conv2d, *, relu: bool = False, pool: nn.MaxPool2d | None = None
) -> Operation:
    """Convolve, and do at once the ReLU behind it and the pooling behind that.

    A maximum is positive where the value it came from is: the ReLU's mask may as well be applied
    to the gradient at the pool's result, which is smaller; compiled kernels do it as they go.
    """
    padding, stride = spacing(layer)
    window = window_of(pool) if pool else None
    if relu and stem.fits(layer):
        return _stem(stem.Stem(layer, padding, stride, window))
    kernel = Kernel(layer.weight, layer.bias, padding, stride)
    result = layer.result if isinstance(layer, PictureConv2d) else layer.weight.dtype
    pull = adjoint(layer.weight.to(result), padding, stride)
    compiled = cpu_kernels.library() is not None

    def forward(x: Tensor) -> Results:
        y, pooled = kernel(x, relu=relu), None
        if window:
            shape = y.shape
            if compiled:
                y, places = cpu_kernels.max_pool(y, window, result, rectified=relu)
            else:
                y, places = pooling.max_pool(y, window, result)
            pooled = places, window, shape
        y = y.to(result)
        return (y,), (y if relu else None, pooled, x.shape)

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        (g,), (y, pooled, shape) = gradients, saved
        if relu and not (pooled and compiled):
            g = _masked(g, y)
        if pooled:
            g = (cpu_kernels if compiled else pooling).max_pool_backward(g, *pooled)
        return (pull(g, shape, arrived[0]),)

    return Operation(forward, backward)


def _stem(kernels: stem.Stem) -> Operation:
    def forward(x: Tensor) -> Results:
        y, places = kernels.forward(x)
        return (y,), (y, places, x.shape)

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        return (summed(arrived[0], kernels.backward(gradients[0], *saved)),)

    return Operation(forward, backward)


def joined(layer: nn.Conv2d) -> Operation:
    """Convolve, add the way around a residual block to it, and apply the ReLU behind the sum."""
    padding, stride = spacing(layer)
    kernel = Kernel(layer.weight, layer.bias, padding, stride)
    pull = adjoint(layer.weight, padding, stride)

    def forward(x: Tensor, around: Tensor) -> Results:
        y = kernel(x, plus=around, relu=True)
        return (y,), (y, x.shape)

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        y, shape = saved
        g = _masked(gradients[0], y)
        return (pull(g, shape, arrived[0]), summed(arrived[1], g))

    return Operation(forward, backward)


def siblings(layers: Sequence[nn.Conv2d]) -> Operation:
    """Do 1x1 convolutions of one input, each with its ReLU, as one: it is read once.

    So is its gradient written once, instead of being added to by one after the other.
    """
    weight, bias = stacked(layers)
    sizes = [layer.out_channels for layer in layers]
    kernel, pull = Kernel(weight, bias), adjoint(weight, (0, 0), (1, 1))

    def forward(x: Tensor) -> Results:
        y = kernel(x, relu=True)
        return torch.split(y, sizes, 1), (y, x.shape)

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        y, shape = saved
        g = _masked(torch.cat(filled(gradients, torch.split(y, sizes, 1)), 1), y)
        return (pull(g, shape, arrived[0]),)

    return Operation(forward, backward)


def stacked(layers: Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    """Return weight and bias of several convolutions of one input, as those of one."""
    return torch.cat([layer.weight for layer in layers]), torch.cat(list(map(bias_of, layers)))


def bias_of(layer: nn.Conv2d) -> Tensor:
    """Return a convolution's bias, zeros if it has none."""
    return layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias


def filled(gradients: Gradients, results: Sequence[Tensor]) -> list[Tensor]:
    """Put zeros where nothing depends on a result."""
    return [
        torch.zeros_like(result) if g is None else g
        for g, result in zip(gradients, results, strict=True)
    ]


def spacing(layer: nn.Conv2d) -> tuple[Pair, Pair]:
    """Return a convolution's padding and stride.

    Raises:
        UnsupportedError: it has groups, or is dilated, or pads by a rule.
    """
    if layer.groups != 1 or layer.dilation != (1, 1) or isinstance(layer.padding, str):
        raise UnsupportedError(str(layer))
    return pair(layer.padding), pair(layer.stride)


def relu(layer: nn.ReLU) -> Operation:
    """Apply a ReLU that stands alone."""
    del layer  # it has no settings

    def forward(x: Tensor) -> Results:
        y = x.relu()
        return (y,), y

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        return (summed(arrived[0], _masked(gradients[0], saved)),)

    return Operation(forward, backward)


def max_pool(layer: nn.MaxPool2d) -> Operation:
    """Take the largest of every window; its gradient goes where it stood, the first of equals."""
    window = window_of(layer)
    pools = cpu_kernels if cpu_kernels.library() else pooling

    def forward(x: Tensor) -> Results:
        y, places = pools.max_pool(x, window, x.dtype)
        return (y,), (places, window, x.shape)

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        return (summed(arrived[0], pools.max_pool_backward(gradients[0], *saved)),)

    return Operation(forward, backward)


def window_of(layer: nn.MaxPool2d) -> Window:
    """Return the window of a pooling.

    Raises:
        UnsupportedError: it is dilated, or larger than a byte can count.
    """
    window = Window(
        pair(layer.kernel_size), pair(layer.stride), pair(layer.padding), layer.ceil_mode
    )
    if pair(layer.dilation) != (1, 1) or window.size[0] * window.size[1] >= NOWHERE:
        raise UnsupportedError(str(layer))
    return window


def avg_pool(layer: nn.AvgPool2d) -> Operation:
    """Take the mean of the window around every pixel, borders counted in: its own adjoint."""
    size, padding = pair(layer.kernel_size), pair(layer.padding)
    centred = pair(layer.stride) == (1, 1) and size == (2 * padding[0] + 1, 2 * padding[1] + 1)
    if not centred or not layer.count_include_pad or layer.divisor_override:
        raise UnsupportedError(str(layer))

    def forward(x: Tensor) -> Results:
        return (layer(x),), None

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        return (summed(arrived[0], layer(gradients[0])),)

    return Operation(forward, backward)


def cat() -> Operation:
    """Concatenate channels."""

    def forward(*inputs: Tensor) -> Results:
        return (torch.cat(inputs, 1),), [x.shape[1] for x in inputs]

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        parts = torch.split(gradients[0], saved, 1)
        return [summed(a, part) for a, part in zip(arrived, parts, strict=True)]

    return Operation(forward, backward)


def split(sizes: Sequence[int]) -> Operation:
    """Tell channels apart: the adjoint of concatenation."""

    def forward(x: Tensor) -> Results:
        parts = torch.split(x, list(sizes), 1)
        return parts, [part.shape for part in parts]

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        some = next(g for g in gradients if g is not None)
        parts = [
            some.new_zeros(shape) if g is None else g
            for g, shape in zip(gradients, saved, strict=True)
        ]
        return (summed(arrived[0], torch.cat(parts, 1)),)

    return Operation(forward, backward)


def add() -> Operation:
    """Add two tensors."""

    def forward(a: Tensor, b: Tensor) -> Results:
        return (a + b,), None

    def backward(gradients: Gradients, saved: Any, arrived: Gradients) -> Gradients:
        return [summed(a, gradients[0]) for a in arrived]

    return Operation(forward, backward)


def _masked(g: Tensor, y: Tensor) -> Tensor:
    """Keep the gradient where the ReLU let something through."""
    kept: Tensor = torch.ops.aten.threshold_backward(g, y, 0)
    return kept


def summed(arrived: Tensor | None, share: Tensor) -> Tensor:
    """Add a share to the gradient that has arrived so far."""
    return share if arrived is None else arrived + share
