"""What the engine is measured at: the defaults of the field's programs, and our own.

- A: a 600 pixel wide picture through VGG16, four octaves of 1.8, ten steps each; four at once.
- B: BVLC GoogLeNet as the first DeepDream used it. C: the same network, two octaves and 51 steps.
- D: other networks at B's work. E: B at other sizes. F: B in batches.
- S: what this project ships.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from pipeline.config import config_from
from pipeline.engine import capabilities
from pipeline.engine.ascent import StepSettings
from pipeline.engine.dreamer import Dream, Dreamer
from pipeline.engine.layers import Layer, resolve
from pipeline.engine.networks import Network, build
from pipeline.engine.objectives import Term
from pipeline.runtime import Resolved, resolve_runtime
from pipeline.weights import find, load_state

_REAL = {
    "bvlc_googlenet": "bvlc_googlenet_fp16.safetensors",
    "inception_v3": "inception_v3_2015_to_Mixed_7a_fp16.safetensors",
}
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Work:
    """One row of the table: `batch` pictures, `steps` steps at each of `octaves` sizes."""

    name: str
    model: str
    at: str
    size: tuple[int, int]
    octaves: int = 4
    ratio: float = 1.4
    steps: int = 10
    batch: int = 1

    @property
    def layer(self) -> Layer:
        """Where it dreams."""
        return resolve(self.model, self.at)


def _b(name: str, size: tuple[int, int] = (640, 360), batch: int = 1) -> Work:
    return Work(name, "bvlc_googlenet", "inception_4c", size, batch=batch)


WORKS = (
    Work("A", "vgg16", "relu4_3", (600, 338), ratio=1.8),
    Work("A/batch", "vgg16", "relu4_3", (600, 338), ratio=1.8, batch=4),
    Work("A/small", "vgg16", "relu4_3", (320, 240), ratio=1.8),
    _b("B"),
    Work("C", "bvlc_googlenet", "inception_4d_3x3_reduce", (512, 384), 2, 1 / 0.6, 51),
    Work("D/inception_v3", "inception_v3", "Mixed_6a", (640, 360)),
    Work("D/resnet50", "resnet50", "layer3", (640, 360)),
    Work("D/alexnet", "alexnet", "relu4", (640, 360)),
    *(_b(f"E/{w}x{h}", (w, h)) for w, h in ((320, 180), (1280, 720), (1920, 1080))),
    *(_b(f"F/{n}", batch=n) for n in (1, 2, 4, 8, 16)),
    Work("S", "dreamnet", "mixed4a", (640, 360), octaves=3),
)
QUICK = ("B", "E/320x180", "S")


def precisions(device: str) -> list[str]:
    """Those that the machine has convolutions for."""
    return [
        precision
        for precision in PRECISIONS
        if device == "cuda" or capabilities.has_convolution(capabilities.DTYPES[precision])
    ]


def kind_of(device: str) -> str:
    """Which of the kinds of machine that are told apart (`bench_results.KINDS`) this one is."""
    return "-".join([device, *precisions(device)[1:]]) if device == "cpu" else device


def weights_of(model: str) -> tuple[Network, str]:
    """Build a network with its real weights where they are at hand, else with random ones.

    Speed does not depend on them. DREAM_ASSETS is a folder of real ones.

    Returns:
        The network, and "real" or "random".
    """
    assets = os.environ.get("DREAM_ASSETS")
    path = Path(assets) / "weights" / _REAL[model] if assets and model in _REAL else None
    if model == "dreamnet":
        path = find(model).path
    if path is None or not path.is_file():
        return build(model, None), "random"
    return build(model, load_state(path)), "real"


def ours(work: Work, network: Network, precision: str, device: str) -> Dreamer:
    """Our engine at a row's work."""
    return Dreamer(
        network,
        [Term(work.layer.node)],
        octaves=work.octaves,
        ratio=work.ratio,
        smallest=work.layer.smallest,
        device=device,
        dtype=capabilities.DTYPES[precision],
    )


def dream_of(work: Work, dreamer: Dreamer) -> Callable[[], Dream]:
    """One whole dream of a row's pictures."""
    return partial(
        dreamer,
        pictures(work),
        iterations=work.steps,
        keys=list(range(work.batch)),
        settings=[StepSettings(0.01, 32, 0.5, (1.0,))] * work.batch,
    )


def pictures(work: Work) -> torch.Tensor:
    """Smooth noise, float32 [N, 3, H, W]; speed does not depend on what a picture shows."""
    width, height = work.size
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(work.batch, 3, height // 8, width // 8, generator=generator)
    return F.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1)


def automatic(work: Work, device: str) -> Resolved:
    """What a render of such frames would choose for itself on this device."""
    config = config_from(
        {
            "name": "bench",
            "source": {"kind": "noise", "size": list(work.size)},
            "dream": {"model": work.model},
            "runtime": {"device": device},
        }
    )
    return resolve_runtime(config, work.size)
