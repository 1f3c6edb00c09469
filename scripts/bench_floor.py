"""The floor of a dream: the operations it cannot do without, over what this machine multiplies.

No engine that convolves as the network says runs faster than `gflop / peak` seconds.
"""

import time

import torch
import torch.nn.functional as F
from bench_works import Work
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.engine import capabilities
from pipeline.engine.blocks import LRN
from pipeline.engine.convolutions import Kernel
from pipeline.engine.networks import skeleton, truncate
from pipeline.engine.octaves import usable_octaves

# Channels, rows and columns of 3 x 3 convolutions as they stand in these networks.
_SHAPES = ((192, 90, 160), (256, 56, 100), (512, 28, 50))
_GPU_BATCH = 16
_REPEATS = 8


def gflop(work: Work) -> float:
    """What one dream of one picture needs at least, 10^9 operations.

    The network's convolutions up to the layer, forward; and back to the picture one more of the
    same size for each. Counted on shapes alone; response normalisation, which some engines compute
    as a convolution, is left out.
    """
    module = truncate(skeleton(work.model), [work.layer.node])
    for name, layer in list(module.named_modules()):
        if isinstance(layer, LRN):
            module.set_submodule(name, nn.Identity())
    total = 0
    for width, height in usable_octaves(work.size, work.octaves, work.ratio, work.layer.smallest):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, 3, height, width, device="meta"))
        total += 2 * counter.get_total_flops() * work.steps
    return total / 1e9


def peak(precision: str, device: str) -> float:
    """The most 10^9 operations a second of any of a few large convolutions, measured now."""
    return max(_rate(shape, capabilities.DTYPES[precision], device) for shape in _SHAPES)


@torch.no_grad()
def _rate(shape: tuple[int, int, int], dtype: torch.dtype, device: str) -> float:
    channels, height, width = shape
    batch = 1 if device == "cpu" else _GPU_BATCH
    last = torch.channels_last
    x = torch.rand(batch, channels, height, width, device=device).to(dtype, memory_format=last)
    weight = torch.rand(channels, channels, 3, 3, device=device).to(dtype, memory_format=last)
    kernel = Kernel(weight, None, (1, 1))  # its weights are packed once

    def convolve() -> None:
        if device == "cpu":
            kernel(x)
        else:
            F.conv2d(x, weight, padding=1)
            torch.cuda.synchronize()

    operations = 2 * 9 * channels * channels * height * width * batch
    convolve()
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        convolve()
        best = min(best, time.perf_counter() - start)
    return operations / best / 1e9
