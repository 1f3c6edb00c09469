"""Convolutions for the hand-written gradient: oneDNN called directly, and adjoints made of it.

Weights are packed once per input shape, bias and ReLU are applied before the result leaves the
cache, and a gradient is added to what has already arrived at its place in the same pass. On a GPU
the same adjoints are made of cuDNN's convolutions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[int, int]
# (gradient at the result, shape of the input, what has arrived there) -> gradient at the input
Adjoint = Callable[[Tensor, torch.Size, Tensor | None], Tensor]

# Shapes that weights are kept packed for: octaves come back, a folder's many sizes do not.
_SHAPES = 8
# Up to so many input channels oneDNN's own adjoint of a strided convolution is the slower one.
_FEW_CHANNELS = 4


class PictureConv2d(nn.Conv2d):
    """A network's first convolution, in float32 whatever precision the others are in.

    Neighbouring pixels, and a picture before and after a step, differ by less than bf16 resolves:
    rounding the picture costs more than rounding all the rest. On photos, through BVLC GoogLeNet,
    the bf16 gradient's cosine to the float32 one is .977 with the picture rounded and .990 without.

    Args:
        layer: in float32; its weights are shared.
        result: precision of what it returns.
    """

    def __init__(self, layer: nn.Conv2d, result: torch.dtype) -> None:
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            pair(layer.kernel_size),
            pair(layer.stride),
            layer.padding if isinstance(layer.padding, str) else pair(layer.padding),
            pair(layer.dilation),
            layer.groups,
            device="meta",  # no random initial values
        )
        self.weight, self.bias = layer.weight, layer.bias
        self.result = result

    def forward(self, input: Tensor) -> Tensor:
        """Convolve a float32 picture."""
        return super().forward(input).to(self.result)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution's constants, packed for the input shapes it meets.

    oneDNN lays weights out for one shape; for a much smaller one the same layout is up to five
    times slower.
    """

    weight: Tensor
    bias: Tensor | None = None
    padding: Pair = (0, 0)
    stride: Pair = (1, 1)
    packed: dict[torch.Size, Tensor] = field(default_factory=dict)

    def __call__(self, x: Tensor, *, relu: bool = False, plus: Tensor | None = None) -> Tensor:
        """Convolve, add `plus`, then ReLU."""
        packed = self.packed.get(x.shape)
        if packed is None:
            weight = self.weight.contiguous(memory_format=torch.channels_last)
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                weight, self.padding, self.stride, (1, 1), 1, x.shape
            )
            if len(self.packed) >= _SHAPES:
                del self.packed[next(iter(self.packed))]
            self.packed[x.shape] = packed
        fixed = (packed, self.bias, self.padding, self.stride, (1, 1), 1)
        convolve = torch.ops.mkldnn._convolution_pointwise
        y: Tensor
        if plus is None:
            y = convolve.default(x, *fixed, "relu" if relu else "none", [], "")
        else:
            y = convolve.binary(x, plus, *fixed, "add", 1.0, "relu" if relu else None, [], None)
        return y


@dataclass(frozen=True, eq=False)
class GpuKernel:
    """A convolution's constants as cuDNN takes them: channels_last, which its matrix units read.

    Which of its algorithms is the fastest is tried out for every shape
    (`torch.backends.cudnn.benchmark`), unless results are to repeat to the byte.
    """

    weight: Tensor
    bias: Tensor | None = None
    padding: Pair = (0, 0)
    stride: Pair = (1, 1)

    def __post_init__(self) -> None:
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        object.__setattr__(self, "weight", weight)

    def __call__(self, x: Tensor, *, plus: Tensor | None = None) -> Tensor:
        """Convolve; then add `plus`."""
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        return y if plus is None else y.add_(plus)


def adjoint(
    weight: Tensor,
    padding: Pair,
    stride: Pair,
    kind: type[Kernel] | type[GpuKernel] = Kernel,
) -> Adjoint:
    """Make the adjoint of a convolution with respect to its input, of one kind of kernel."""
    if stride == (1, 1):
        size = weight.shape[2:]
        beyond = (size[0] - 1 - padding[0], size[1] - 1 - padding[1])
        kernel = kind(weight.flip(2, 3).transpose(0, 1), None, beyond)
        return lambda g, _, arrived: kernel(g, plus=arrived)
    if weight.shape[1] <= _FEW_CHANNELS:
        return _by_phases(weight, padding, stride, kind)

    def transposed(g: Tensor, shape: torch.Size, arrived: Tensor | None) -> Tensor:
        reached = [
            (g.shape[2 + k] - 1) * stride[k] - 2 * padding[k] + weight.shape[2 + k] for k in (0, 1)
        ]
        unreached = [shape[2] - reached[0], shape[3] - reached[1]]
        share = F.conv_transpose2d(g, weight, None, stride, padding, unreached)
        return share if arrived is None else arrived + share

    return transposed


def _by_phases(
    weight: Tensor, padding: Pair, stride: Pair, kind: type[Kernel] | type[GpuKernel]
) -> Adjoint:
    """Make the adjoint of a strided convolution as one convolution without stride.

    Along an axis, pixel s*j + a of the input took part in output j + d through tap a + p - s*d: the
    pixels of one phase a are a plain convolution of the gradient with every s-th tap. All phases
    are computed at once, as s*s times the channels at 1/s of the size, and then interleaved.
    """
    rows, top, above = _taps(weight.shape[2], padding[0], stride[0])
    columns, left, before = _taps(weight.shape[3], padding[1], stride[1])
    spare = F.pad(weight, (0, 1, 0, 1))  # one tap more, of zeros
    taps = spare[:, :, rows][..., columns]  # output, channel, row phase, row, column phase, column
    kernel = kind(taps.permute(2, 4, 1, 0, 3, 5).flatten(0, 2), None, (above, before))

    def interleaved(g: Tensor, shape: torch.Size, arrived: Tensor | None) -> Tensor:
        n, c, height, width = shape
        down, along = -(-height // stride[0]), -(-width // stride[1])
        phases = kernel(g)[:, :, top : top + down, left : left + along]
        phases = phases.reshape(n, *stride, c, down, along).permute(0, 3, 4, 1, 5, 2)
        whole = phases.reshape(n, c, down * stride[0], along * stride[1])
        share = whole[:, :, :height, :width]
        return share if arrived is None else arrived + share

    return interleaved


def _taps(size: int, padding: int, stride: int) -> tuple[Tensor, int, int]:
    """Sort a kernel's taps by phase, along one axis.

    Returns:
        int [stride, reach]: the tap of each phase at each shift d, `size` where it has none; the
        first row of the convolution's result that counts; the padding that it needs.
    """
    first = -((size - 1 - padding) // stride)
    last = (stride - 1 + padding) // stride
    phase, shift = torch.arange(stride)[:, None], torch.arange(first, last + 1)
    tap = phase + padding - stride * shift
    tap = torch.where((tap >= 0) & (tap < size), tap, size)
    # The input may have more rows than stride times the output's.
    more = -(-(size + stride - 1 - 2 * padding) // stride) - 1
    needed = max(-first, last + more, 0)
    return tap, needed + first, needed


def pair(size: int | tuple[int, ...]) -> Pair:
    """Write a layer's size, given once or per axis, per axis."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
