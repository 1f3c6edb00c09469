"""Building blocks shared by the networks that torchvision lacks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn


class ConvReLU(nn.Module):
    """A convolution that keeps the size (divided by the stride), then ReLU.

    The ReLU is a submodule of its own and not in place, so that feature extraction by the block's
    name ends behind it and an activation that was asked for is never overwritten.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        y: Tensor = self.relu(self.conv(x))
        return y


class LRN(nn.Module):
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

    y = x / (bias + alpha/size * sum of x^2 over `size` neighbouring channels) ** beta, as Caffe and
    torch define it. `F.local_response_norm` goes through avg_pool3d, which is slow and lacks bf16
    on the CPU; here the sum over channels is a 1x1 convolution with a band of ones, which is fast
    in every memory format. Squares of float16 are taken in float32: that of 256 exceeds it.
    """

    band: Tensor

    def __init__(
        self,
        channels: int,
        *,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
    ) -> None:
        super().__init__()
        index = torch.arange(channels)
        near = (index[:, None] - index[None, :]).abs() <= size // 2
        # Not persistent: it follows from the arguments and stands in no weight file.
        self.register_buffer("band", near.float()[:, :, None, None], persistent=False)
        self.scale = alpha / size
        self.beta = beta
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, channels, H, W); shape and precision are kept."""
        wide, band = widened(x), widened(self.band)
        total = F.conv2d(
            wide * wide, band * self.scale, torch.full_like(band[:, 0, 0, 0], self.bias)
        )
        return (wide / root(total, self.beta)).to(x.dtype)


class BinMeans(nn.Module):
    """Means over a fixed number of bins along either side, whatever the size.

    `nn.AdaptiveAvgPool2d` as two matrix products, since its own gradient is not the same every
    time on a GPU: it would keep a dream of AlexNet's or VGG's classes from repeating itself.

    Args:
        bins: (rows, columns) of the result.
    """

    def __init__(self, bins: tuple[int, int]) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, channels, rows, columns)."""
        rows, columns = (
            _shares(side, count, x) for side, count in zip(x.shape[2:], self.bins, strict=True)
        )
        return rows @ x @ columns.T


def _shares(side: int, count: int, like: Tensor) -> Tensor:
    """How much each pixel of a side counts in each bin, [count, side]; bins may overlap."""
    pixel = torch.arange(side, device=like.device)
    index = torch.arange(count, device=like.device)[:, None]
    start, end = index * side // count, -(-(index + 1) * side // count)
    return ((pixel >= start) & (pixel < end)).to(like.dtype) / (end - start)


def root(total: Tensor, beta: float) -> Tensor:
    """Raise to the power beta; those in real use need only square roots, ten times faster."""
    if beta == 0.75:
        return (total.sqrt() * total).sqrt()
    return total.sqrt() if beta == 0.5 else total.pow(beta)


@fx.wrap  # one node of a traced graph: it looks at the precision
def widened(x: Tensor) -> Tensor:
    """Return a tensor in a precision whose range holds squares: float16 becomes float32."""
    return x.float() if x.dtype == torch.float16 else x


class DivisiveNorm(nn.Module):
    """Gain control across channels, with weights of its own for every pair of them.

    y = x / (1 + gamma x^2) ** .75: generalised divisive normalisation (Balle et al. 2016), of which
    LRN is the case with a band of equal weights.
    """

    beta = 0.75

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels, channels), 1 / channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, channels, H, W); shape and precision are kept."""
        wide, gamma = widened(x), widened(self.gamma)
        total = F.conv2d(wide * wide, gamma[:, :, None, None], torch.ones_like(gamma[0]))
        return (wide / root(total, self.beta)).to(x.dtype)


def max_pool() -> nn.MaxPool2d:
    """Return the 3x3 pooling of stride 2 that rounds sizes up, as Caffe does."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)
