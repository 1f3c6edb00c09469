"""The GPU programs of a network, launched by `triton_kernels`: all but its convolutions.

They are laid out as those of `triton_steps` are.
"""

import triton
import triton.language as tl

_NOWHERE = tl.constexpr(255)  # torch_kernels.NOWHERE


@triton.jit
def rectify(x, bias, count, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """See `torch_kernels.rectify_`."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = x + tl.program_id(1).to(tl.int64) * count + at
    value = tl.load(here, mask=at < count, other=0.0).to(tl.float32)
    value += tl.load(bias + at % CHANNELS).to(tl.float32)
    tl.store(here, tl.maximum(value, 0.0).to(x.dtype.element_ty), mask=at < count)


@triton.jit
def masked(g, y, arrived, result, count, ARRIVED: tl.constexpr, BLOCK: tl.constexpr):
    """See `torch_kernels.masked`."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sample, inside = tl.program_id(1).to(tl.int64) * count, at < count
    through = tl.load(y + sample + at, mask=inside, other=0.0).to(tl.float32) > 0.0
    value = tl.load(g + sample + at, mask=inside, other=0.0).to(tl.float32)
    value = tl.where(through, value, 0.0)
    if ARRIVED:
        value += tl.load(arrived + sample + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(result + sample + at, value.to(result.dtype.element_ty), mask=inside)


@triton.jit
def max_pool(
    x,
    bias,
    result,
    places,
    height,
    width,
    rows,
    columns,
    CHANNELS: tl.constexpr,
    BIAS: tl.constexpr,
    DOWN: tl.constexpr,
    ALONG: tl.constexpr,
    STEP: tl.constexpr,
    STRIDE: tl.constexpr,
    TOP: tl.constexpr,
    LEFT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """See `torch_kernels.max_pool`."""
    n, at = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    count = rows * columns * CHANNELS
    c, pixel = at % CHANNELS, at // CHANNELS
    first_y, first_x = (pixel // columns) * STEP - TOP, (pixel % columns) * STRIDE - LEFT
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    place = tl.zeros((BLOCK,), tl.int32)
    for down in tl.static_range(DOWN):
        for along in tl.static_range(ALONG):
            y, x_at = first_y + down, first_x + along
            inside = (at < count) & (y >= 0) & (y < height) & (x_at >= 0) & (x_at < width)
            source = x + n * height * width * CHANNELS + (y * width + x_at) * CHANNELS + c
            seen = tl.load(source, mask=inside, other=float("-inf")).to(tl.float32)
            place = tl.where(seen > best, down * ALONG + along, place)
            best = tl.maximum(best, seen)
    if BIAS:
        best = tl.maximum(best + tl.load(bias + c).to(tl.float32), 0.0)
        place = tl.where(best > 0.0, place, _NOWHERE)
    tl.store(result + n * count + at, best.to(result.dtype.element_ty), mask=at < count)
    tl.store(places + n * count + at, place.to(tl.uint8), mask=at < count)


@triton.jit
def max_pool_backward(
    g,
    places,
    result,
    height,
    width,
    rows,
    columns,
    CHANNELS: tl.constexpr,
    DOWN: tl.constexpr,
    ALONG: tl.constexpr,
    STEP: tl.constexpr,
    STRIDE: tl.constexpr,
    TOP: tl.constexpr,
    LEFT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """See `torch_kernels.max_pool_backward`.

    Every pixel asks the windows that see it: nothing is written twice, so nothing races.
    """
    n, at = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    count = height * width * CHANNELS
    c, pixel = at % CHANNELS, at // CHANNELS
    y, x = pixel // width + TOP, pixel % width + LEFT
    sample = n * rows * columns * CHANNELS
    total = tl.zeros((BLOCK,), tl.float32)
    for up in tl.static_range((DOWN + STEP - 1) // STEP):
        for back in tl.static_range((ALONG + STRIDE - 1) // STRIDE):
            row, column = y // STEP - up, x // STRIDE - back
            down, along = y - row * STEP, x - column * STRIDE
            sees = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            sees = sees & (down < DOWN) & (along < ALONG) & (at < count)
            source = sample + (row * columns + column) * CHANNELS + c
            stood = tl.load(places + source, mask=sees, other=255).to(tl.int32)
            value = tl.load(g + source, mask=sees, other=0.0).to(tl.float32)
            total += tl.where(sees & (stood == down * ALONG + along), value, 0.0)
    tl.store(result + n * count + at, total.to(result.dtype.element_ty), mask=at < count)


@triton.jit
def _response(x, at, c, inside, scale, bias, REACH: tl.constexpr, CHANNELS: tl.constexpr):
    """Sum up the squares around channel `c`, which stands at `at`: bias + scale * the sum."""
    total = tl.zeros_like(at).to(tl.float32)
    for k in tl.static_range(-REACH, REACH + 1):
        near = inside & (c + k >= 0) & (c + k < CHANNELS)
        value = tl.load(x + at + k, mask=near, other=0.0).to(tl.float32)
        total += value * value
    return bias + scale * total


@triton.jit
def response_norm(
    x,
    result,
    count,
    scale,
    beta,
    bias,
    REACH: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """See `torch_kernels.response_norm`."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x += tl.program_id(1).to(tl.int64) * count
    s = _response(x, at, at % CHANNELS, at < count, scale, bias, REACH, CHANNELS)
    value = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32)
    value = value * tl.exp(-beta * tl.log(s))
    result += tl.program_id(1).to(tl.int64) * count
    tl.store(result + at, value.to(result.dtype.element_ty), mask=at < count)


@triton.jit
def response_norm_backward(
    g,
    x,
    result,
    count,
    scale,
    beta,
    bias,
    REACH: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """See `torch_kernels.response_norm_backward`."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sample = tl.program_id(1).to(tl.int64) * count
    g += sample
    x += sample
    c, inside = at % CHANNELS, at < count
    shared = tl.zeros((BLOCK,), tl.float32)
    own = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(-REACH, REACH + 1):
        near = inside & (c + k >= 0) & (c + k < CHANNELS)
        s = _response(x, at + k, c + k, near, scale, bias, REACH, CHANNELS)
        power = tl.exp(-beta * tl.log(s))
        pulled = tl.load(g + at + k, mask=near, other=0.0).to(tl.float32) * power
        shared += pulled * tl.load(x + at + k, mask=near, other=0.0).to(tl.float32) / s
        if k == 0:
            own = pulled
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    value = own - 2.0 * beta * scale * value * shared
    tl.store(result + sample + at, value.to(result.dtype.element_ty), mask=inside)
