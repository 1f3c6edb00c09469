"""What this machine has, and what `auto` means on it: lines to paste into a bug report."""

import platform
from importlib.metadata import version

from pipeline.build import make_dreamer
from pipeline.config import config_from
from pipeline.errors import PipelineError
from pipeline.media.encode import describe_ffmpeg
from pipeline.runtime import describe, package_versions, resolve_runtime


def report() -> list[str]:
    """Describe the machine and the packages; dream one tiny step and try every video encoder."""
    import torch

    from pipeline.engine import capabilities

    versions = package_versions() | {
        name: version(name) for name in ("imageio-ffmpeg", "pydantic", "numpy")
    }
    level = torch.backends.cpu.get_cpu_capability()
    half = (
        capabilities.cost(capabilities.DTYPES[p], "cpu") or f"{p} is faster than fp32 on this CPU"
        for p in ("bf16", "fp16")
    )
    lines = [
        f"python   {platform.python_version()} on {platform.platform()}",
        f"packages {', '.join(f'{name} {each}' for name, each in versions.items())}",
        f"cpu      {capabilities.processor()}, {level}, {capabilities.threads()} threads",
        f"kernels  {capabilities.kernels()}",
        f"half     {'; '.join(half)}",
        f"gpu      {_gpus()}",
    ]
    for what, probe in (("dream", _dream), ("ffmpeg", describe_ffmpeg)):
        try:
            lines.append(f"{what:8s} {probe()}")
        except PipelineError as error:
            lines.append(f"{what:8s} does not work: {error}")
    return lines


def _gpus() -> str:
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return ", ".join(torch.cuda.get_device_name(i) for i in range(count))
    return "mps" if torch.backends.mps.is_available() else "none; the CPU dreams"


def _dream() -> str:
    import torch

    from pipeline.engine.ascent import StepSettings

    config = config_from({"name": "doctor", "source": {"kind": "noise", "size": [64, 64]}})
    resolved = resolve_runtime(config, (64, 64))
    dreamer, engine = make_dreamer(config, resolved)
    step = StepSettings(step=0.01, jitter=4, sigma=0.5, weights=(1.0,))
    for _ in range(2):  # a GPU's second dream of a size is recorded
        dreamer(torch.rand(1, 3, 64, 64), iterations=1, keys=[0], settings=[step])
    because = f"autograd, because {dreamer.refusal}" if dreamer.refusal else None
    return "; ".join(filter(None, [describe(resolved, engine), because, dreamer.slow_because]))
