"""`torch_kernels` as fused GPU programs: one pass over memory for each function, and nothing else.

What they are measured by is bytes, not arithmetic: each reads its inputs and writes its result
once, where plain torch makes two to twenty passes. No function adds with atomics, so results repeat
to the byte: sums go by fixed parts, and pooling gathers its gradient instead of scattering it.
`torch_kernels` says what each computes.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from pipeline.engine import triton_layers, triton_steps
from pipeline.engine.torch_kernels import Window

NAME = "triton"
# 8 elements for each of 128 threads: 16 bytes of bf16 at once.
_BLOCK = 1024
_PIXELS = 256  # of three channels, padded to four lanes
_LANES = 4
_MOST_PARTS = 1024  # of a sum that every block adds up for itself, which saves a launch


def shift(picture: Tensor, offsets: Tensor) -> Tensor:
    """Shift every sample circularly."""
    n, channels, height, width = picture.shape
    result = _like(picture)
    _launch(
        triton_steps.shift,
        (triton.cdiv(height * width, _PIXELS), n),
        (picture, offsets, result, height, width, *picture.stride()),
        CHANNELS=channels,
        LANES=_LANES,
        BLOCK=_PIXELS,
    )
    return result


def cascade(gradient: Tensor, sigmas: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Blur by the mean of three Gaussians, and measure what comes out."""
    gradient = _packed(gradient)
    n, channels, height, width = gradient.shape
    parts = triton.cdiv(height * width, _PIXELS)
    result, size = _like(gradient), gradient.new_empty(n, parts)
    _launch(
        triton_steps.cascade,
        (parts, n),
        (gradient, sigmas, result, size, height, width),
        RADIUS=radius,
        TAPS=triton.next_power_of_2(2 * radius + 1),
        CHANNELS=channels,
        LANES=_LANES,
        BLOCK=_PIXELS,
    )
    return result, size


def climb(
    shifted: Tensor, direction: Tensor, steps: Tensor, size: Tensor, offsets: Tensor
) -> Tensor:
    """Step along a direction, stay within [0, 1], and undo the shift."""
    shifted, direction = _packed(shifted), _packed(direction)
    if size.shape[1] > _MOST_PARTS:
        size = size.sum(1, keepdim=True)
    n, channels, height, width = shifted.shape
    result = _like(shifted)
    _launch(
        triton_steps.climb,
        (triton.cdiv(height * width, _PIXELS), n),
        (shifted, direction, steps, size, offsets, result, height, width, size.shape[1]),
        PARTS=triton.next_power_of_2(size.shape[1]),
        CHANNELS=channels,
        LANES=_LANES,
        BLOCK=_PIXELS,
    )
    return result


def rectify_(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias per channel and cut off below zero, in place."""
    x = _packed(x)
    count = x[0].numel()
    _launch(triton_layers.rectify, _grid(x), (x, bias, count), CHANNELS=x.shape[1], BLOCK=_BLOCK)
    return x


def masked(g: Tensor, y: Tensor, arrived: Tensor | None = None) -> Tensor:
    """Keep a gradient where the ReLU let something through, and add it to what has arrived."""
    g, y = _packed(g), _packed(y)
    added = g if arrived is None else _packed(arrived)
    result = _like(g)
    _launch(
        triton_layers.masked,
        _grid(g),
        (g, y, added, result, g[0].numel()),
        ARRIVED=arrived is not None,
        BLOCK=_BLOCK,
    )
    return result


def max_pool(x: Tensor, window: Window, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Take the largest of every window, of ReLU(x + bias) if there is a bias."""
    x = _packed(x)
    n, channels, height, width = x.shape
    rows, columns = window.pooled(height, width)
    result = x.new_empty(n, rows, columns, channels).permute(0, 3, 1, 2)
    places = torch.empty_like(result, dtype=torch.uint8)
    _launch(
        triton_layers.max_pool,
        _grid(result),
        (x, x if bias is None else bias, result, places, height, width, rows, columns),
        BIAS=bias is not None,
        **_constants(window, channels),
    )
    return result, places


def max_pool_backward(g: Tensor, places: Tensor, window: Window, shape: torch.Size) -> Tensor:
    """Send a gradient to where the maxima stood."""
    g = _packed(g)
    n, channels, height, width = shape
    result = g.new_empty(n, height, width, channels).permute(0, 3, 1, 2)
    _launch(
        triton_layers.max_pool_backward,
        _grid(result),
        (g, places, result, height, width, *g.shape[2:]),
        **_constants(window, channels),
    )
    return result


def response_norm(x: Tensor, reach: int, scale: float, beta: float, bias: float) -> Tensor:
    """Divide by the response of neighbouring channels."""
    x = _packed(x)
    result, count = _like(x), x[0].numel()
    _launch(
        triton_layers.response_norm,
        _grid(x),
        (x, result, count, scale, beta, bias),
        REACH=reach,
        CHANNELS=x.shape[1],
        BLOCK=_BLOCK,
    )
    return result


def response_norm_backward(
    g: Tensor, x: Tensor, reach: int, scale: float, beta: float, bias: float
) -> Tensor:
    """Pull a gradient back through `response_norm`."""
    g, x = _packed(g), _packed(x)
    result, count = _like(g), g[0].numel()
    _launch(
        triton_layers.response_norm_backward,
        _grid(g),
        (g, x, result, count, scale, beta, bias),
        REACH=reach,
        CHANNELS=x.shape[1],
        BLOCK=_BLOCK,
    )
    return result


def _constants(window: Window, channels: int) -> dict[str, int]:
    return {
        "CHANNELS": channels,
        "DOWN": window.size[0],
        "ALONG": window.size[1],
        "STEP": window.stride[0],
        "STRIDE": window.stride[1],
        "TOP": window.padding[0],
        "LEFT": window.padding[1],
        "BLOCK": _BLOCK,
    }


def _grid(x: Tensor) -> tuple[int, int]:
    return triton.cdiv(x[0].numel(), _BLOCK), x.shape[0]


def _packed(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _like(x: Tensor) -> Tensor:
    """Room for a result, channels_last whatever the strides of a single pixel or channel say."""
    n, channels, height, width = x.shape
    return x.new_empty(n, height, width, channels).permute(0, 3, 1, 2)


def _launch(
    program: Callable[..., Any], grid: tuple[int, int], arguments: tuple[Any, ...], **constants: Any
) -> None:
    with torch.cuda.device(arguments[0].get_device()):  # Triton launches on the current one
        # Said, because Triton's default is about to change; sums round once instead of twice.
        program[grid](*arguments, **constants, enable_fp_fusion=True)  # type: ignore[index]
