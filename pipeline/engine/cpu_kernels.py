"""What a step does on a CPU besides convolving, by the compiled kernels of `cpu_kernels.c`.

PyTorch has no fused operators for it, and its way back through a pooling uses one core a picture.
The kernels are compiled while the package is installed, for two levels of x86-64 or for 64-bit
Arm, if there is GCC or clang (build_kernels.py). Elsewhere PyTorch's operators do the work, up to a
third slower a dream.
"""

import ctypes
import platform
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from pipeline.engine.torch_kernels import Window, gaussians, step_lengths

NAME = "c"
VERSION = 3  # of the functions' arguments
REACH = 2  # of the normalisation, channels to either side
BETA = 0.75
MOST_CHANNELS = 2048


class _Pooling(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("n", "height", "width", "channels", "rows", "columns")),
        *((name, ctypes.c_int * 2) for name in ("size", "stride", "padding")),
    ]


@cache
def library() -> ctypes.CDLL | None:
    """Load the kernels for this CPU; None if they were not compiled, or it has no such level.

    Those that an older version of this file left in its folder are not loaded, nor for several
    threads those that were compiled without OpenMP: on one of two cores they take as long as
    PyTorch's operators on both.
    """
    for path in Path(__file__).parent.glob(f"_cpu_kernels_{level()}.*"):
        try:
            found = ctypes.CDLL(str(path))  # its threads are those of torch's OpenMP, loaded before
            if found.version() == VERSION and (found.openmp() or torch.get_num_threads() == 1):
                return found
        except (OSError, AttributeError):  # of another system, without OpenMP, without a version
            continue
    return None


def level() -> str:
    """Return the level of processors whose kernels serve here: avx2, avx512, neon or another."""
    if platform.machine().lower() in ("aarch64", "arm64"):  # every one of them has its vectors
        return "neon"
    # As torch sees it, so that ATEN_CPU_CAPABILITY holds here as well.
    return torch.backends.cpu.get_cpu_capability().lower()


def shift(picture: Tensor, offsets: Tensor) -> Tensor:
    """Shift every sample circularly: see `torch_kernels.shift`, as for the next two."""
    picture = lying(picture)
    to = torch.empty_like(picture)
    loaded().shift(address(picture), address(to), *_sides(picture), address(offsets))
    return to


def cascade(gradient: Tensor, sigmas: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Blur by the mean of three Gaussians, and measure what comes out."""
    gradient = lying(gradient)
    n, c, h, w = gradient.shape
    to, sums = torch.empty_like(gradient), torch.empty(n, h)
    taps = _taps(tuple(sigmas.tolist()), radius)
    if loaded().cascade(
        address(gradient), address(to), address(sums), *_sides(gradient), address(taps), radius
    ):
        raise MemoryError("no memory for one row of a picture")
    return to, sums / (c * h * w)


@lru_cache(1024)  # every frame has the same steps
def _taps(sigmas: tuple[float, ...], radius: int) -> Tensor:
    """The middle and one side of every Gaussian."""
    return gaussians(torch.tensor(sigmas), radius)[..., radius:].contiguous()


def climb(
    shifted: Tensor, direction: Tensor, steps: Tensor, size: Tensor, offsets: Tensor
) -> Tensor:
    """Step along a direction, stay within [0, 1], and undo the shift."""
    shifted, direction = lying(shifted), lying(direction)
    to, lengths = torch.empty_like(shifted), step_lengths(steps, size).contiguous()
    loaded().climb(
        address(shifted),
        address(direction),
        address(to),
        *_sides(shifted),
        address(lengths),
        address(offsets),
    )
    return to


def max_pool(
    x: Tensor, window: Window, result: torch.dtype, *, rectified: bool = False
) -> tuple[Tensor, Tensor]:
    """Take the largest of every window.

    Args:
        x: float32 or bfloat16 [N, C, H, W].
        window: of the pooling.
        result: precision of the maxima, x's or a lower one.
        rectified: x is a ReLU's result, and gradients are to be pulled back through that as well.

    Returns:
        The maxima, channels_last; and uint8, where in its window each stood, row by row (the first
        of equals), or NOWHERE for a zero of a ReLU.
    """
    x = lying(x)
    n, c = x.shape[:2]
    size = (n, c, *window.pooled(*x.shape[2:]))
    y = torch.empty(size, dtype=result, memory_format=torch.channels_last)
    places = torch.empty(size, dtype=torch.uint8, memory_format=torch.channels_last)
    told = (int(rectified), int(x.dtype == torch.bfloat16), int(result == torch.bfloat16))
    loaded().max_pool(address(x), address(y), address(places), pooling(x.shape, window), *told)
    return y, places


def max_pool_backward(g: Tensor, places: Tensor, window: Window, shape: torch.Size) -> Tensor:
    """Send gradients to where the maxima stood.

    Args:
        g: at the maxima, [N, C, rows, columns].
        places: from `max_pool`.
        window: of the pooling.
        shape: of its input.

    Returns:
        The gradient there, in g's precision, channels_last.
    """
    g = lying(g)
    to = torch.empty(shape, dtype=g.dtype, memory_format=torch.channels_last)
    half = int(g.dtype == torch.bfloat16)
    loaded().max_pool_backward(
        address(g), address(places), address(to), pooling(shape, window), half
    )
    return to


def response_norm(x: Tensor, scale: float, bias: float) -> Tensor:
    """Return x / (bias + scale * sum of x^2 over 5 channels) ** 0.75, channels_last."""
    x = lying(x)
    y = torch.empty_like(x)
    loaded().response_norm(address(x), address(y), *_normalised(x, scale, bias))
    return y


def response_norm_backward(g: Tensor, x: Tensor, scale: float, bias: float) -> Tensor:
    """Pull a gradient back through `response_norm` of x, channels_last: see `gradient.py`."""
    g, x = lying(g), lying(x)
    to = torch.empty_like(x)
    loaded().response_norm_backward(
        address(g), address(x), address(to), *_normalised(x, scale, bias)
    )
    return to


def loaded() -> ctypes.CDLL:
    """Return the kernels that `library` has found."""
    found = library()
    assert found is not None  # who calls has asked
    return found


def lying(x: Tensor) -> Tensor:
    """Bring a tensor into the order that the kernels read, channels_last."""
    return x.contiguous(memory_format=torch.channels_last)


def address(x: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor lies; null for None."""
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _sides(picture: Tensor) -> tuple[int, int, int, int]:
    n, c, h, w = picture.shape
    return n, h, w, c


def pooling(shape: torch.Size, window: Window) -> "ctypes._CArgObject":
    """Describe the pooling of a tensor of a shape, [N, C, H, W]."""
    n, c, h, w = shape
    if c > MOST_CHANNELS:
        raise ValueError(f"{c} channels")
    rows, columns = window.pooled(h, w)
    settings = window.size, window.stride, window.padding
    return ctypes.byref(_Pooling(n, h, w, c, rows, columns, *settings))


def _normalised(
    x: Tensor, scale: float, bias: float
) -> tuple[ctypes.c_long, int, ctypes.c_float, ctypes.c_float, int]:
    n, c, h, w = x.shape
    half = int(x.dtype == torch.bfloat16)
    return ctypes.c_long(n * h * w), c, ctypes.c_float(scale), ctypes.c_float(bias), half
