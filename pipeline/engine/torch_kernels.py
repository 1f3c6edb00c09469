"""What a step does besides convolving, in plain torch: the reference of `triton_kernels`.

Both modules have the same functions. These run on any device, which is how the others are tested,
and where Triton is missing. Every number that changes from step to step (shifts, sigmas, lengths)
comes as a tensor on the picture's device, so that a recorded CUDA graph can be played again with
others. No sum is left to the order in which threads arrive: results repeat to the byte.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.engine.convolutions import Pair

NAME = "torch"
NOWHERE = 255  # the place in a pooling window to which no gradient goes
SMALLEST = 1e-12  # a gradient of this size or less does not count
_THINNEST = 1e-3  # pixels; a Gaussian this narrow leaves a picture as it is


@dataclass(frozen=True)
class Window:
    """A pooling's window, each axis (down, right)."""

    size: Pair
    stride: Pair
    padding: Pair
    ceil: bool

    def pooled(self, height: int, width: int) -> Pair:
        """Rows and columns of the result, as torch counts them."""
        rows, columns = (self._along(side, axis) for axis, side in enumerate((height, width)))
        return rows, columns

    def _along(self, side: int, axis: int) -> int:
        size, stride, padding = self.size[axis], self.stride[axis], self.padding[axis]
        more = stride - 1 if self.ceil else 0
        count = (side + 2 * padding - size + more) // stride + 1
        # The last window begins inside the picture or its left padding.
        return count - 1 if self.ceil and (count - 1) * stride >= side + padding else count


def shift(picture: Tensor, offsets: Tensor) -> Tensor:
    """Shift every sample circularly.

    Args:
        picture: float32 [N, C, H, W], of any layout.
        offsets: int64 [N, 2], pixels (down, right).

    Returns:
        float32 [N, C, H, W], channels_last.
    """
    n, _, height, width = picture.shape
    rows = torch.arange(height, device=picture.device) - offsets[:, :1]
    columns = torch.arange(width, device=picture.device) - offsets[:, 1:]
    sample = torch.arange(n, device=picture.device).view(-1, 1, 1)
    rows, columns = (rows % height)[:, :, None], (columns % width)[:, None, :]
    return picture.permute(0, 2, 3, 1)[sample, rows, columns].permute(0, 3, 1, 2)


def cascade(gradient: Tensor, sigmas: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Blur by the mean of three Gaussians of sigma * (0.5, 1, 2), and measure what comes out.

    Args:
        gradient: float32 [N, C, H, W], channels_last.
        sigmas: float32 [N], pixels.
        radius: of the window, pixels, less than the picture's sides; the border is reflected.

    Returns:
        The blurred gradient; and float32 [N, parts] that sum up to its mean |g| per sample.
    """
    n, channels = gradient.shape[:2]
    lines = gaussians(sigmas, radius)
    taps = torch.einsum("nky,nkx->nyx", lines, lines) / lines.shape[1]
    padded = F.pad(gradient, (radius,) * 4, mode="reflect").flatten(0, 1)[None]
    kernel = taps.repeat_interleave(channels, 0)[:, None]
    blurred = F.conv2d(padded, kernel, groups=n * channels).view_as(gradient)
    blurred = blurred.contiguous(memory_format=torch.channels_last)
    return blurred, blurred.abs().mean((1, 2, 3))[:, None]


def gaussians(sigmas: Tensor, radius: int) -> Tensor:
    """Return the taps of the cascade's Gaussians, float32 [N, 3, 2 * radius + 1]."""
    at = torch.arange(-radius, radius + 1, device=sigmas.device)
    factors = torch.tensor([0.5, 1.0, 2.0], device=sigmas.device)
    widths = (sigmas[:, None] * factors).clamp_min(_THINNEST)[..., None]
    lines = torch.exp(-0.5 * (at / widths) ** 2)
    return lines / lines.sum(-1, keepdim=True)


def climb(
    shifted: Tensor, direction: Tensor, steps: Tensor, size: Tensor, offsets: Tensor
) -> Tensor:
    """Step along a direction, stay within [0, 1], and undo the shift.

    Args:
        shifted: float32 [N, C, H, W], channels_last.
        direction: likewise.
        steps: float32 [N]: how far to go along a direction of size 1.
        size: float32 [N, parts] that sum up to the direction's.
        offsets: of the shift.

    Returns:
        float32 [N, C, H, W], channels_last.
    """
    lengths = step_lengths(steps, size).view(-1, 1, 1, 1)
    return shift((shifted + lengths * direction).clamp_(0, 1), -offsets)


def step_lengths(steps: Tensor, size: Tensor) -> Tensor:
    """Return what a direction is to be multiplied by, [N]: see `climb`."""
    return steps / size.sum(1).clamp_min(SMALLEST)


def rectify_(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias per channel and cut off below zero, in place.

    Args:
        x: [N, C, H, W], channels_last.
        bias: [C].
    """
    return x.add_(bias.view(1, -1, 1, 1)).relu_()


def masked(g: Tensor, y: Tensor, arrived: Tensor | None = None) -> Tensor:
    """Keep a gradient where the ReLU let something through, and add it to what has arrived.

    Args:
        g: at the ReLU's result, [N, C, H, W], channels_last.
        y: the ReLU's result.
        arrived: at its input so far.
    """
    kept: Tensor = torch.ops.aten.threshold_backward(g, y, 0)
    return kept if arrived is None else arrived + kept


def max_pool(x: Tensor, window: Window, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Take the largest of every window, of ReLU(x + bias) if there is a bias.

    A maximum commutes with both, so they are done to the few values that are left.

    Args:
        x: [N, C, H, W], channels_last.
        window: of the pooling.
        bias: [C].

    Returns:
        The maxima; and uint8, where in its window each stood, row by row (the first of equals), or
        NOWHERE where the ReLU cut it off.
    """
    rows, columns = window.pooled(*x.shape[2:])
    best = x.new_full((x.shape[0], x.shape[1], rows, columns), float("-inf"))
    best = best.contiguous(memory_format=torch.channels_last)
    places = torch.zeros_like(best, dtype=torch.uint8)
    padded = _bordered(x, window, float("-inf"))
    for place in range(window.size[0] * window.size[1]):
        seen = padded[_seen_by(place, window, rows, columns)]
        better = seen > best
        best = torch.where(better, seen, best)
        places = torch.where(better, place, places).to(torch.uint8)
    if bias is not None:
        best = (best + bias.view(1, -1, 1, 1)).relu_()
        places = torch.where(best > 0, places, NOWHERE).to(torch.uint8)
    return best, places


def max_pool_backward(g: Tensor, places: Tensor, window: Window, shape: torch.Size) -> Tensor:
    """Send a gradient to where the maxima stood.

    Args:
        g: at the maxima, channels_last.
        places: from `max_pool`.
        window: of the pooling.
        shape: of its input.

    Returns:
        The gradient at the input, summed in float32, in g's precision.
    """
    rows, columns = g.shape[2:]
    total = _bordered(g.new_zeros(shape, dtype=torch.float32), window, 0.0)
    for place in range(window.size[0] * window.size[1]):
        total[_seen_by(place, window, rows, columns)] += torch.where(places == place, g, 0).float()
    (top, left), (height, width) = window.padding, shape[2:]
    inner = total[:, :, top : top + height, left : left + width]
    return inner.to(g.dtype).contiguous(memory_format=torch.channels_last)


def response_norm(x: Tensor, reach: int, scale: float, beta: float, bias: float) -> Tensor:
    """Divide by the response of neighbouring channels: y = x / (bias + scale * sum x^2) ** beta.

    Args:
        x: [N, C, H, W], channels_last.
        reach: how many channels to each side count.
        scale: of the sum.
        beta: the exponent.
        bias: of the sum.
    """
    wide = x.float()
    return (wide * _response(wide, reach, scale, bias).pow(-beta)).to(x.dtype)


def response_norm_backward(
    g: Tensor, x: Tensor, reach: int, scale: float, beta: float, bias: float
) -> Tensor:
    """Pull a gradient back through `response_norm`: see `gradient.py`."""
    wide, pulled = x.float(), g.float()
    s = _response(wide, reach, scale, bias)
    power = s.pow(-beta)
    shared = _neighbours(pulled * wide * power / s, reach)
    return (pulled * power - 2 * beta * scale * wide * shared).to(g.dtype)


def _response(x: Tensor, reach: int, scale: float, bias: float) -> Tensor:
    return bias + scale * _neighbours(x * x, reach)


def _neighbours(x: Tensor, reach: int) -> Tensor:
    """Sum over neighbouring channels."""
    padded = F.pad(x, (0, 0, 0, 0, reach, reach))
    count = x.shape[1]
    total = torch.zeros_like(x)
    for k in range(2 * reach + 1):
        total = total + padded[:, k : k + count]
    return total


def _bordered(x: Tensor, window: Window, value: float) -> Tensor:
    """Pad so that every window lies inside, the last ones too."""
    (top, left), (height, width) = window.padding, x.shape[2:]
    rows, columns = window.pooled(height, width)
    below = max(0, (rows - 1) * window.stride[0] + window.size[0] - height - top)
    right = max(0, (columns - 1) * window.stride[1] + window.size[1] - width - left)
    return F.pad(x, (left, right, top, below), value=value)


def _seen_by(place: int, window: Window, rows: int, columns: int) -> tuple[slice, ...]:
    """Which pixels of a bordered picture stand at one place of every window."""
    down, along = divmod(place, window.size[1])
    (step, stride) = window.stride
    return (
        slice(None),
        slice(None),
        slice(down, down + (rows - 1) * step + 1, step),
        slice(along, along + (columns - 1) * stride + 1, stride),
    )
