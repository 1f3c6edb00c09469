"""The GPU programs of a step, launched by `triton_kernels`: shift, smooth, climb.

Every program works on BLOCK neighbouring elements of one sample, the second axis of the grid. What
is stored is channels_last: pixel after pixel, row by row, the channels of each together; so memory
is read and written in long runs. Offsets within a sample are 32 bits, those of samples 64.
"""

import triton
import triton.language as tl

_FLOOR = tl.constexpr(1e-12)  # torch_kernels.SMALLEST
_THINNEST = tl.constexpr(1e-3)


@triton.jit
def _wrapped(at, side):
    """Bring a row or column within the picture, around its edge."""
    return (at % side + side) % side


@triton.jit
def _reflected(at, side):
    """Bring a row or column within the picture, mirrored at its edge."""
    at = tl.abs(at)
    return side - 1 - tl.abs(side - 1 - at)


@triton.jit
def _gaussian(sigma, square, counts):
    """Return -1 / 2 sigma^2, and the sum of a Gaussian's taps at squared distances that count."""
    sigma = tl.maximum(sigma, _THINNEST)
    exponent = -0.5 / (sigma * sigma)
    return exponent, tl.sum(tl.where(counts, tl.exp(square * exponent), 0.0), axis=0)


@triton.jit
def shift(
    picture,
    offsets,
    result,
    height,
    width,
    stride_n,
    stride_c,
    stride_y,
    stride_x,
    CHANNELS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """See `torch_kernels.shift`."""
    n = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, LANES)[None, :]
    y = _wrapped(at // width - tl.load(offsets + 2 * n).to(tl.int32), height)
    x = _wrapped(at % width - tl.load(offsets + 2 * n + 1).to(tl.int32), width)
    inside = (at < height * width)[:, None] & (c < CHANNELS)
    source = picture + n * stride_n + (y * stride_y + x * stride_x)[:, None] + c * stride_c
    target = result + n * height * width * CHANNELS + at[:, None] * CHANNELS + c
    tl.store(target, tl.load(source, mask=inside, other=0.0), mask=inside)


@triton.jit
def climb(
    shifted,
    direction,
    steps,
    size,
    offsets,
    result,
    height,
    width,
    parts,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """See `torch_kernels.climb`."""
    n = tl.program_id(1).to(tl.int64)
    part = tl.arange(0, PARTS)
    total = tl.sum(tl.load(size + n * parts + part, mask=part < parts, other=0.0), axis=0)
    length = tl.load(steps + n) / tl.maximum(total, _FLOOR)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, LANES)[None, :]
    y = _wrapped(at // width + tl.load(offsets + 2 * n).to(tl.int32), height)
    x = _wrapped(at % width + tl.load(offsets + 2 * n + 1).to(tl.int32), width)
    inside = (at < height * width)[:, None] & (c < CHANNELS)
    sample = n * height * width * CHANNELS
    source = sample + (y * width + x)[:, None] * CHANNELS + c
    here = tl.load(shifted + source, mask=inside, other=0.0)
    there = here + length * tl.load(direction + source, mask=inside, other=0.0)
    target = result + sample + at[:, None] * CHANNELS + c
    tl.store(target, tl.minimum(tl.maximum(there, 0.0), 1.0), mask=inside)


@triton.jit
def cascade(
    gradient,
    sigmas,
    result,
    size,
    height,
    width,
    RADIUS: tl.constexpr,
    TAPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """See `torch_kernels.cascade`."""
    n = tl.program_id(1).to(tl.int64)
    sigma = tl.load(sigmas + n)
    tap = tl.arange(0, TAPS)
    square = ((tap - RADIUS) * (tap - RADIUS)).to(tl.float32)
    # Of each Gaussian: -1 / 2 s^2, and what its taps along one axis sum up to.
    narrow, a = _gaussian(0.5 * sigma, square, tap < 2 * RADIUS + 1)
    middle, b = _gaussian(sigma, square, tap < 2 * RADIUS + 1)
    wide, d = _gaussian(2.0 * sigma, square, tap < 2 * RADIUS + 1)

    pixels = height * width
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, LANES)[None, :]
    y, x = at // width, at % width
    inside = (at < pixels)[:, None] & (c < CHANNELS)
    sample = n * pixels * CHANNELS
    total = tl.zeros((BLOCK, LANES), tl.float32)
    # Unrolled along rows only: all the taps at once would be half a megabyte of program.
    for k in range(2 * RADIUS + 1):
        down = k - RADIUS
        far = (down * down).to(tl.float32)
        row = _reflected(y + down, height) * width
        first = tl.exp(far * narrow) / (3.0 * a * a)
        second = tl.exp(far * middle) / (3.0 * b * b)
        third = tl.exp(far * wide) / (3.0 * d * d)
        for along in tl.static_range(-RADIUS, RADIUS + 1):
            away = 1.0 * along * along
            weight = first * tl.exp(away * narrow) + second * tl.exp(away * middle)
            weight += third * tl.exp(away * wide)
            source = sample + (row + _reflected(x + along, width))[:, None] * CHANNELS + c
            total += weight * tl.load(gradient + source, mask=inside, other=0.0)
    tl.store(result + sample + at[:, None] * CHANNELS + c, total, mask=inside)
    share = tl.sum(tl.sum(tl.where(inside, tl.abs(total), 0.0), axis=1), axis=0)
    part = n * tl.num_programs(0) + tl.program_id(0)
    tl.store(size + part, share / (pixels * CHANNELS))
