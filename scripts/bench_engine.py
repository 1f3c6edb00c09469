"""How fast is one dream? Ours against an engine written as the field writes it, on the same work.

The *baseline* runs the whole network with a hook on the layer, in float32 and NCHW, leaves the
gradients of the weights on, and rolls, clips and resizes in numpy and OpenCV on the host, a round
trip per step: what the popular scripts do, none of them named. Both dream the same octaves for the
same number of steps. They take turns, and the median of the turns counts.
"""

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.engine.ascent import StepSettings
from pipeline.engine.bvlc_googlenet import BvlcGoogLeNet
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.dreamnet import DreamNet
from pipeline.engine.layers import resolve
from pipeline.engine.networks import build, truncate
from pipeline.engine.objectives import Term
from pipeline.engine.octaves import octave_sizes
from pipeline.weights import find, load_state

REAL = {"bvlc_googlenet": "bvlc_googlenet_fp16.safetensors"}


@dataclass(frozen=True)
class Work:
    """One row of the table."""

    name: str
    model: str
    layer: str
    size: tuple[int, int]
    octaves: int
    ratio: float
    steps: int
    batch: int = 1


WORKS = (
    Work("A", "vgg16", "relu4_3", (600, 338), 4, 1.8, 10),
    Work("B", "bvlc_googlenet", "inception_4c", (640, 360), 4, 1.4, 10),
    Work("B of 4", "bvlc_googlenet", "inception_4c", (640, 360), 4, 1.4, 10, 4),
    Work("C", "bvlc_googlenet", "inception_4d_3x3_reduce", (512, 384), 2, 1 / 0.6, 51),
    Work("D", "inception_v3", "Mixed_6a", (640, 360), 4, 1.4, 10),
    Work("D", "resnet50", "layer3", (640, 360), 4, 1.4, 10),
    Work("D", "alexnet", "relu4", (640, 360), 4, 1.4, 10),
    Work("dreamnet", "dreamnet", "mixed4a", (640, 360), 4, 1.4, 10),
)
QUICK = tuple(work for work in WORKS if work.name in ("B", "dreamnet"))


@dataclass(frozen=True)
class Row:
    """Seconds per picture; `gflop` of one picture; shares of the measured convolution peak."""

    work: str
    model: str
    layer: str
    size: tuple[int, int]
    batch: int
    baseline: float
    fp32: float
    bf16: float
    path: str
    gflop: float
    share_fp32: float
    share_bf16: float
    peak_memory_mb: float


def run(assets: Path, *, quick: bool) -> list[Row]:
    """Measure every row."""
    peaks = {dtype: convolution_peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
    print({str(dtype): f"{peak / 1e9:.0f} GFLOP/s" for dtype, peak in peaks.items()}, flush=True)
    rows = []
    for work in QUICK if quick else WORKS:
        state = load_state(assets / "weights" / REAL[work.model]) if work.model in REAL else None
        if work.model == "dreamnet":
            state = load_state(find("dreamnet").path)
        network = build(work.model, state)
        layer = resolve(work.model, work.layer)
        dreamers = {
            name: Dreamer(
                network,
                [Term(layer.node)],
                octaves=work.octaves,
                ratio=work.ratio,
                smallest=layer.smallest,
                dtype=dtype,
            )
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        }
        ways: dict[str, Callable[[], object]] = {
            name: partial(
                dreamer,
                smooth_noise(work),
                iterations=work.steps,
                keys=list(range(work.batch)),
                settings=[StepSettings(0.01, 32, 0.5, (1.0,))] * work.batch,
            )
            for name, dreamer in dreamers.items()
        }
        ways["baseline"] = baseline(work, layer.smallest)
        flops = flops_of_baseline(work, layer.smallest) / work.batch
        times = interleaved(ways, turns=3 if quick else 5)
        each = {name: seconds / work.batch for name, seconds in times.items()}
        rows.append(
            Row(
                work.name,
                work.model,
                work.layer,
                work.size,
                work.batch,
                each["baseline"],
                each["fp32"],
                each["bf16"],
                dreamers["bf16"].path,
                flops / 1e9,
                flops / each["fp32"] / peaks[torch.float32],
                flops / each["bf16"] / peaks[torch.bfloat16],
                resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            )
        )
        print(rows[-1], flush=True)
    return rows


def interleaved(ways: dict[str, Callable[[], object]], *, turns: int) -> dict[str, float]:
    """Median wall seconds of each way, one turn each after a turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def smooth_noise(work: Work) -> torch.Tensor:
    """Pictures to start from; speed does not depend on what they show."""
    width, height = work.size
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(work.batch, 3, height // 8, width // 8, generator=generator)
    return F.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1)


def baseline(work: Work, smallest: int) -> Callable[[], np.ndarray]:
    """Dream as the field does it: one picture after the other."""
    network = published(work.model)
    found: list[torch.Tensor] = []
    place = resolve(work.model, work.layer).node
    network.get_submodule(place).register_forward_hook(lambda _, __, out: found.append(out))
    pictures = smooth_noise(work).permute(0, 2, 3, 1).numpy()
    sizes = octave_sizes(work.size, work.octaves, work.ratio)

    def step(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y, x = rng.integers(-32, 33, 2)
        rolled = np.roll(image, (y, x), (0, 1))
        tensor = torch.from_numpy(rolled.transpose(2, 0, 1)[None].copy()).requires_grad_()
        found.clear()
        network(tensor)
        loss = F.mse_loss(found[0], torch.zeros_like(found[0]))
        loss.backward()
        gradient = tensor.grad
        assert gradient is not None
        blurred = sum(torch_blur(gradient, sigma) for sigma in (0.75, 1.5, 3.0))
        g = blurred[0].numpy().transpose(1, 2, 0)
        rolled = np.clip(rolled + 0.01 * g / (np.abs(g).mean() + 1e-8), 0, 1)
        network.zero_grad()  # they were computed for nothing
        return np.roll(rolled, (-y, -x), (0, 1))

    def dream() -> np.ndarray:
        rng = np.random.default_rng(0)
        for picture in pictures:
            detail = np.zeros_like(picture)
            for size in sizes:
                if min(size) < smallest:
                    continue
                base = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                start = base + cv2.resize(detail, size, interpolation=cv2.INTER_LINEAR)
                image = start
                for _ in range(work.steps):
                    image = step(image, rng)
                detail = image - base
        return detail

    return dream


def published(model: str) -> nn.Module:
    """The whole network as it is published, with weights of its own."""
    own: dict[str, Callable[[], nn.Module]] = {
        "bvlc_googlenet": BvlcGoogLeNet,
        "dreamnet": DreamNet,
    }
    if model in own:
        return own[model]().eval()
    return torchvision.models.get_model(model, weights=None).eval()


def torch_blur(gradient: torch.Tensor, sigma: float) -> torch.Tensor:
    """A 9 x 9 Gaussian as a depthwise convolution."""
    x = torch.arange(-4, 5, dtype=torch.float32)
    line = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(gradient, (4, 4, 4, 4), mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, 9, 9), groups=3)


def flops_of_baseline(work: Work, smallest: int) -> float:
    """What the work needs at least: the cut network forward, and back to the picture."""
    layer = resolve(work.model, work.layer)
    module = truncate(build(work.model, None), [layer.node])
    total = 0.0
    for width, height in octave_sizes(work.size, work.octaves, work.ratio):
        if min(width, height) < smallest:
            continue
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, 3, height, width))
        # Back to the picture takes a convolution of the same size for each on the way there.
        total += 2 * counter.get_total_flops() * work.steps
    return total * work.batch


def convolution_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a large 3 x 3 convolution, the best of several."""
    x = torch.rand(1, 256, 56, 100).to(dtype).to(memory_format=torch.channels_last)
    conv = nn.Conv2d(256, 256, 3, padding=1, bias=False).to(dtype)
    conv = conv.to(memory_format=torch.channels_last)
    best = 0.0
    with torch.no_grad():
        conv(x)
        for _ in range(15):
            start = time.perf_counter()
            conv(x)
            best = max(best, 2 * 9 * 256 * 256 * 56 * 100 / (time.perf_counter() - start))
    return best


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| work | network, layer | size | baseline s | fp32 s | bf16 s | fp32 | bf16 | GFLOP "
        "| share of peak fp32, bf16 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.work} | {r.model} {r.layer} | {r.size[0]}x{r.size[1]} | {r.baseline:.2f} "
        f"| {r.fp32:.2f} | {r.bf16:.2f} | {r.baseline / r.fp32:.1f}x | {r.baseline / r.bf16:.1f}x "
        f"| {r.gflop:.0f} | {r.share_fp32:.0%}, {r.share_bf16:.0%} |"
        for r in rows
    ]
    return "\n".join(lines)
