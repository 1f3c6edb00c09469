"""Maximum pooling on a CPU, there and back, by means of PyTorch's two operators for it.

The way back adds each gradient up at its maximum's place. PyTorch does that plane by plane, each
plane on one core: where there is but one picture, all others wait. The operator takes the places
as they are given, though, as numbers of pixels within a plane, and never asks how pixels and
gradients are arranged: so they are handed over as lines, cut into as many planes as serves.
"""

import torch
from torch import Tensor

from pipeline.engine.torch_kernels import Window

# Sums in fp32 are up to three times faster than those in bf16, whose loop is not vectorised, as
# long as the gradient stays in the cache: up to so many numbers.
_CACHED = 1_000_000


def max_pool(x: Tensor, window: Window, result: torch.dtype) -> tuple[Tensor, Tensor]:
    """Take the largest of every window.

    Args:
        x: [N, C, H, W], channels_last.
        window: of the pooling.
        result: precision of the maxima.

    Returns:
        The maxima, and where each stood, int64 [N * planes, C, ...]: a picture is cut into planes
        of rows where no window sees two of them.
    """
    n, c, h, w = x.shape
    (down, _), one = window.stride, (1, 1)
    by = (window.size, window.stride, window.padding, one, window.ceil)
    apart = window.size == window.stride and window.padding == (0, 0) and h % down == 0
    if not apart or not x.is_contiguous(memory_format=torch.channels_last):
        y, places = torch.ops.aten.max_pool2d_with_indices(x, *by)
        return y.to(result), places
    strips = x.permute(0, 2, 3, 1).view(n * h // down, down, w, c).permute(0, 3, 1, 2)
    y, places = torch.ops.aten.max_pool2d_with_indices(strips, *by)
    return y.to(result).permute(0, 2, 3, 1).view(n, h // down, -1, c).permute(0, 3, 1, 2), places


def max_pool_backward(g: Tensor, places: Tensor, window: Window, shape: torch.Size) -> Tensor:
    """Send gradients to where the maxima stood.

    Args:
        g: at the maxima, [N, C, ...], channels_last.
        places: from `max_pool`.
        window: of the pooling.
        shape: of its input.

    Returns:
        The gradient there, channels_last.
    """
    del window  # the places say it all
    n, c, h, w = shape
    planes = places.shape[0]
    count, pixels = g.shape[2] * g.shape[3] * n // planes, h * w * n // planes  # of a plane
    parts = 2 if planes == 1 and count % 2 == 0 else 1
    wide = g.float() if shape.numel() < _CACHED else g

    def lines(values: Tensor) -> Tensor:
        cut = values.permute(0, 2, 3, 1).reshape(planes * parts, 1, count // parts, c)
        return cut.permute(0, 3, 1, 2)

    # A window with which a line of `pixels` would give as many maxima as there are.
    fitting = ((1, pixels - count // parts + 1), (1, 1), (0, 0), (1, 1), False)
    there = wide.new_empty((planes * parts, 1, pixels, c)).permute(0, 3, 1, 2)
    sent: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        lines(wide), there, *fitting, lines(places)
    )
    sums = sent.permute(0, 2, 3, 1).view(-1, parts, pixels * c)
    total = sums[:, 0].add_(sums[:, 1]) if parts == 2 else sums
    return total.to(g.dtype).view(n, h, w, c).permute(0, 3, 1, 2)
