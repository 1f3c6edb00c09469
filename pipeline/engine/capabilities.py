"""What this machine can do, found out by trying: precisions, compiled kernels, threads.

The processor, the build of PyTorch and the environment (ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA)
decide together which convolutions have kernels here and whether these are any faster, so a small
convolution is run in each precision instead of reading the processor's flags. Whatever depends on
the answers asks this module. Each is found when it is first asked for, and kept.
"""

import os
import platform
import time
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.engine import cpu_kernels
from pipeline.engine.convolutions import Kernel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# A layer of the size that networks have: .1 GFLOP, a millisecond or two.
_CHANNELS, _SIDE = 64, 40
_ATTEMPTS = 5
# What a kind of device is called, and what it computes fast where another precision is slow.
_INSTEAD = {"cpu": ("CPU", "fp32"), "cuda": ("GPU", "fp16")}
# A container's share of the processors: microseconds of their time in every so many on the clock.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@cache
def has_convolution(dtype: torch.dtype) -> bool:
    """Whether oneDNN, called as the hand-written gradient calls it, convolves in a precision.

    It is asked for one small convolution, whose result has to be float32's up to rounding.
    """
    x, weight = _layer()
    wanted = F.conv2d(x, weight, padding=1)
    kernel = Kernel(weight.to(dtype), None, (1, 1))
    try:
        found = kernel(x.to(dtype)).float()
    except (RuntimeError, AttributeError):  # no kernel; no oneDNN in this build; no such operator
        return False
    return float((found - wanted).norm()) < 0.02 * float(wanted.norm())


@cache
def is_fast(dtype: torch.dtype, kind: str) -> bool:
    """Whether the hardware gains by a lower precision, rather than emulating it at a loss.

    Args:
        dtype: the precision.
        kind: of the device: cpu, cuda or mps.
    """
    if dtype == torch.float32:
        return True
    if kind == "cuda":
        return dtype == torch.float16 or torch.cuda.get_device_capability() >= (8, 0)
    return kind == "cpu" and has_convolution(dtype) and _gain(dtype) > 1


def cost(dtype: torch.dtype, kind: str) -> str | None:
    """Say in one line what a precision costs where it is emulated; None where it pays.

    Args:
        dtype: the precision.
        kind: of the device; of others than cpu and cuda nothing is known.
    """
    if kind not in _INSTEAD or is_fast(dtype, kind):
        return None
    where, instead = _INSTEAD[kind]
    return f"{name_of(dtype)} has no fast convolution on this {where}: {instead} is faster here"


def name_of(dtype: torch.dtype) -> str:
    """Return what a precision is called in a config."""
    return next((name for name, known in DTYPES.items() if known == dtype), str(dtype))


def kernels() -> str:
    """Say which kernels do what a step does besides convolving on the CPU."""
    library = cpu_kernels.library()
    if library is None:
        return "PyTorch's operators (none in C were compiled for this CPU, or not with OpenMP)"
    shared = "on all cores" if library.openmp() else "on one core"
    return f"C, for {cpu_kernels.level()}, {shared}"


def processor() -> str:
    """Return the name of the CPU, as the system tells it."""
    info = Path("/proc/cpuinfo")  # Linux, where `platform` knows little more than "x86_64"
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def threads() -> int:
    """Count the threads that may work at once.

    As many as OMP_NUM_THREADS says; else as there are processors, less those that the process is
    kept off (its affinity) or that its container has no share of.
    """
    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdecimal() and int(told):
        return int(told)
    allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # no such control group; "max", which is no limit
        return allowed


def _gain(dtype: torch.dtype) -> float:
    """How many times as fast as float32's a convolution is, each at its best of several turns."""
    layer = _layer()
    ways = {each: [tensor.to(each) for tensor in layer] for each in (torch.float32, dtype)}
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(_ATTEMPTS):
        for each, (x, weight) in ways.items():
            start = time.perf_counter()
            F.conv2d(x, weight, padding=1)
            seconds[each] = min(seconds[each], time.perf_counter() - start)
    return seconds[torch.float32] / seconds[dtype]


def _layer() -> tuple[Tensor, Tensor]:
    """A picture's activation and a layer's weights, float32, channels_last."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand((1, _CHANNELS, _SIDE, _SIDE), generator=rng)
    weight = torch.rand((_CHANNELS, _CHANNELS, 3, 3), generator=rng) - 0.5
    return (
        x.contiguous(memory_format=torch.channels_last),
        weight.contiguous(memory_format=torch.channels_last),
    )
