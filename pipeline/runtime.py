"""Where and how a render runs: what `auto` means here, decided once and repeated when resumed."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from cv2 import __version__ as cv2_version

from pipeline.config import Config
from pipeline.errors import ConfigError, ResumeError
from pipeline.ingested import MOST_LANES

# Measured: these keep at least 95 % of the objective that float32 reaches (docs/design.md).
_KEEPS_BF16 = frozenset({"bvlc_googlenet", "dreamnet"})
# Pictures of one batch, in pixels: beyond it a CPU gains nothing, and a GPU fills its memory.
_BATCH_PIXELS = {"cpu": 1_000_000, "cuda": 8_000_000, "mps": 2_000_000}


@dataclass(frozen=True)
class Resolved:
    """What `auto` became, and what else decides the bytes of a render; kept in its manifest.

    Attributes:
        device: cpu, cuda:N or mps.
        precision: fp32, bf16 or fp16.
        batch: the most frames dreamed at once, and lanes side by side.
        tile: largest side of a tile, pixels; None for whole pictures.
        chunk: most tiles in the network at once; None for all of a batch.
        threads: of the CPU.
        deterministic: CUDA kernels that repeat to the byte.
        versions: of the packages that compute.
    """

    device: str
    precision: str
    batch: int
    tile: int | None
    chunk: int | None
    threads: int
    deterministic: bool
    versions: dict[str, str]


def resolve_runtime(
    config: Config, size: tuple[int, int], recorded: Mapping[str, Any] | None = None
) -> Resolved:
    """Decide what `auto` means on this machine, or repeat what an earlier run decided.

    Args:
        config: of the render.
        size: (width, height) of its frames.
        recorded: what an earlier run of this render resolved.

    Raises:
        ConfigError: a device that this machine does not have.
        ResumeError: the earlier run had other packages, or a device that is not here.
    """
    import torch

    from pipeline.engine import capabilities

    versions = package_versions()
    if recorded is not None:
        return _reuse(recorded, versions)
    runtime = config.runtime
    device = runtime.device
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if device == "cuda":
        device = "cuda:0"
    _check_device(device)
    kind = device.partition(":")[0]
    precision: str = runtime.precision
    if precision == "auto":
        keeps = config.dream.model in _KEEPS_BF16
        precision = "bf16" if keeps and capabilities.is_fast(torch.bfloat16, kind) else "fp32"
    fits = _BATCH_PIXELS[kind] // (size[0] * size[1])
    return Resolved(
        device=device,
        precision=precision,
        batch=runtime.batch if isinstance(runtime.batch, int) else min(max(1, fits), MOST_LANES),
        tile=runtime.tile if isinstance(runtime.tile, int) else None,
        chunk=None,
        threads=runtime.threads if isinstance(runtime.threads, int) else capabilities.threads(),
        deterministic=runtime.deterministic,
        versions=versions,
    )


def _reuse(recorded: Mapping[str, Any], versions: Mapping[str, str]) -> Resolved:
    resolved = Resolved(**recorded)
    try:
        _check_device(resolved.device)
    except ConfigError as error:
        raise ResumeError(f"this render was begun on {resolved.device}: {error}") from error
    was = resolved.versions
    if differing := [
        f"{k} {v} (here {versions.get(k)})" for k, v in was.items() if versions.get(k) != v
    ]:
        raise ResumeError(
            f"this render was begun with {', '.join(differing)}, so its frames would not match; "
            "install those, or --overwrite to start again"
        )
    return resolved


def _check_device(device: str) -> None:
    import torch

    kind, _, index = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError("runtime.device: cuda is not available here; use auto or cpu")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"runtime.device: {device} is not here; there are {torch.cuda.device_count()} devices"
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("runtime.device: mps is not available here; use auto or cpu")


def package_versions() -> dict[str, str]:
    """Versions of the packages that compute."""
    # OpenCV goes by four names on PyPI: the module is asked, not the package.
    return {"torch": version("torch"), "torchvision": version("torchvision"), "opencv": cv2_version}


def describe(resolved: Resolved, engine: Mapping[str, str]) -> str:
    """One line: where and how it dreams."""
    tiles = f", tiles of {resolved.tile}" if resolved.tile else ""
    return (
        f"dreaming with {engine['model']} on {resolved.device} in {resolved.precision} "
        f"({engine['gradient']} gradient{tiles}, {resolved.threads} threads)"
    )
