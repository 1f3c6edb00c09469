"""How calm is a dreamed video? Our feedback against what others do, at equal strength of dream.

    python scripts/bench.py coherence [--frames 24] [--quick]

Every method dreams the same clips with BVLC GoogLeNet inception_4c; its step is tuned until its
mean activation is within 5 % of the shipped default's, because a weak dream flickers less for free.
Flicker is judged with the flow the render used, and with another one (Farneback, large windows); on
the clip whose motion is known exactly, with that.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.engine.ascent import StepSettings
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.objectives import Term
from pipeline.feedback.flow import FlowFeedback, warp
from pipeline.feedback.motion import find_motion
from pipeline.feedback.optical_flow import Flow, Motion, dis, enlarge
from pipeline.feedback.seed import to_pictures, to_tensor
from pipeline.feedback.ways import WayFinder
from pipeline.media.ffmpeg import Frame
from pipeline.media.ingest import ingest
from pipeline.media.working_copy import WorkingCopy
from pipeline.metrics import (
    Judge,
    coherence,
    farneback,
    high_frequency_energy,
    weakest_phase,
)
from pipeline.plan import batches, flow_lane
from pipeline.weights import load_network

SIZE = (320, 180)
CLIPS = ("cockatoo_720p_yuv444.mp4", "bbb_720p_5s.mp4", "static_camera_cars.mp4")
PAN = (2.5, 1.25)  # pixels a frame, of the clip of known motion
FIRST_ITERATIONS = 12
STEP = 2 / 255


@dataclass(frozen=True)
class Clip:
    """Frames, and their exact flow where it is known."""

    name: str
    frames: list[Frame]
    exact: Judge | None = None


@dataclass(frozen=True)
class Method:
    """A way to dream a video.

    Attributes:
        name: for the table.
        run: (clip, step) -> dreams.
        every: distance of its keyframes.
    """

    name: str
    run: Callable[[list[Frame], float], list[Frame]]
    every: int = 1


@dataclass(frozen=True)
class Row:
    """What one method reached on one clip."""

    clip: str
    method: str
    step: float
    activation: float
    own: float
    other: float
    warping_error: float
    seconds: float
    phase_activation: float
    phase_sharpness: float


def read_clips(assets: Path, folder: Path, count: int) -> list[Clip]:
    """The first frames of real clips, and a pan over a photo, whose motion is known exactly."""
    clips = []
    for name in CLIPS:
        part = folder / name
        part.mkdir()
        facts = ingest(assets / "clips" / name, part, frames=count, size=SIZE)
        with WorkingCopy(part, facts) as copy:
            clips.append(Clip(name.partition("_")[0], [copy.read(f) for f in range(len(copy))]))
    photo = cv2.imread(str(assets / "photos/city_1.jpg"), cv2.IMREAD_COLOR_RGB)
    photo = cv2.resize(photo, (640, 360), interpolation=cv2.INTER_AREA)

    def view(frame: int) -> Frame:
        matrix = np.array([[1, 0, -40 - PAN[0] * frame], [0, 1, -40 - PAN[1] * frame]])
        return np.asarray(cv2.warpAffine(photo, matrix, SIZE, flags=cv2.INTER_CUBIC), np.uint8)

    def exact(earlier: Frame, _: Frame) -> tuple[Flow, Flow]:
        flow = np.empty((*earlier.shape[:2], 2), np.float32)
        flow[:] = PAN
        return flow, -flow

    clips.append(Clip("known motion", [view(f) for f in range(count)], exact))
    return clips


def own_flow(earlier: Frame, later: Frame) -> tuple[Flow, Flow]:
    """The flow that our render uses, at the frames' size."""
    hops: Motion = find_motion(earlier, later, dis)
    backward, forward = (enlarge(hop, SIZE).flow for hop in hops)
    return backward, forward


class Bench:
    """A dreamer and the methods that use it."""

    def __init__(self, assets: Path) -> None:
        weights = assets / "weights/bvlc_googlenet_fp16.safetensors"
        network, _ = load_network("bvlc_googlenet", weights)
        self.dreamer = Dreamer(
            network, [Term("inception_4c")], octaves=3, smallest=32, dtype=torch.bfloat16
        )
        self.judge_dreamer = Dreamer(
            network, [Term("inception_4c")], octaves=1, smallest=32, dtype=torch.bfloat16
        )
        self.methods = [
            Method("frames apart", functools.partial(self.plain, share=0.0)),
            Method("linear blend .85", functools.partial(self.plain, share=0.15)),
            Method("whole picture warped .5", self.warped),
            Method("ours, every frame", functools.partial(self.ours, every=1, iterations=2)),
            Method(
                "ours, keyframe every 2", functools.partial(self.ours, every=2, iterations=3), 2
            ),
            Method(
                "ours, keyframe every 4", functools.partial(self.ours, every=4, iterations=3), 4
            ),
            Method(
                "ours, keyframe every 8", functools.partial(self.ours, every=8, iterations=6), 8
            ),
        ]

    def dream(self, seed: torch.Tensor, frame: int, iterations: int, step: float) -> Frame:
        """Dream one frame."""
        knobs = StepSettings(step=step, jitter=32, sigma=0.5, weights=(1.0,))
        done = self.dreamer(seed[None], iterations=iterations, keys=[frame], settings=[knobs])
        return to_pictures(done.pictures)[0]

    def plain(self, frames: list[Frame], step: float, *, share: float) -> list[Frame]:
        """Every frame on its own, or blended with the last dream (the common practice)."""
        dreams: list[Frame] = []
        for f, frame in enumerate(frames):
            seed = to_tensor(frame, "cpu")
            if share and dreams:
                seed = (1 - share) * seed + share * to_tensor(dreams[-1], "cpu")
            dreams.append(self.dream(seed, f, 6, step))
        return dreams

    def warped(self, frames: list[Frame], step: float) -> list[Frame]:
        """The last dream as a whole, warped to this frame and blended half and half."""
        dreams: list[Frame] = []
        for f, frame in enumerate(frames):
            seed = to_tensor(frame, "cpu")
            if dreams:
                way = enlarge(find_motion(frames[f - 1], frame, dis).backward, SIZE)
                moved = warp(to_tensor(dreams[-1], "cpu"), torch.from_numpy(way.flow))
                seed = seed + 0.5 * torch.from_numpy(way.visible) * (moved - seed)
            dreams.append(self.dream(seed, f, 3 if dreams else FIRST_ITERATIONS, step))
        return dreams

    def ours(self, frames: list[Frame], step: float, *, every: int, iterations: int) -> list[Frame]:
        """Keyframes chained along the flow, the frames between filled from both sides."""
        lane = flow_lane(
            range(len(frames)),
            size=SIZE,
            every=every,
            first_iterations=FIRST_ITERATIONS,
            iterations=iterations,
        )
        plan = list(batches([lane], 1))
        feedback = FlowFeedback(
            WayFinder(
                dis, coming=[node for batch in plan for node in batch.nodes], window=every + 1
            ),
            carry=0.9 if every == 1 else 0.97,
        )
        dreams: dict[int, Frame] = {}
        for node in (node for batch in plan for node in batch.nodes):
            parents = [dreams[parent.frame] for parent in node.parents]
            seed = feedback.seed(node, lambda f: frames[f], parents)
            dreams[node.id.frame] = self.dream(seed, node.id.frame, node.iterations, step)
        feedback.close()
        return [dreams[f] for f in range(len(frames))]

    def activation(self, dreams: Sequence[Frame]) -> list[float]:
        """Mean square of inception_4c in each frame."""
        knobs = StepSettings(step=0.0, jitter=0, sigma=0.5, weights=(1.0,))
        return [
            float(
                self.judge_dreamer(
                    to_tensor(d, "cpu")[None], iterations=1, keys=[0], settings=[knobs]
                ).strength
            )
            for d in dreams
        ]

    def tuned(self, method: Method, clip: Clip, target: float | None, attempts: int) -> Row:
        """Run a method until its activation is within 5 % of the target."""
        step, low, high = STEP, 0.0, float("inf")
        for _ in range(attempts):
            start = time.perf_counter()
            dreams = method.run(clip.frames, step)
            seconds = (time.perf_counter() - start) / len(clip.frames)
            strengths = self.activation(dreams)
            reached = float(np.mean(strengths))
            if target is None or abs(reached / target - 1) <= 0.05:
                break
            low, high = (max(low, step), high) if reached < target else (low, min(high, step))
            guess = step * (target / reached) ** 0.8
            step = guess if low < guess < high else (low + high) / 2
        own = coherence(dreams, clip.frames, own_flow)
        other = coherence(dreams, clip.frames, clip.exact or farneback)
        phases = [
            weakest_phase(values, method.every, first=method.every) if method.every > 1 else 1.0
            for values in (strengths, [high_frequency_energy(d) for d in dreams])
        ]
        return Row(
            clip.name,
            method.name,
            step,
            reached,
            own.flicker,
            other.flicker,
            other.warping_error,
            seconds,
            *phases,
        )


def run(assets: Path, folder: Path, *, frames: int = 25, attempts: int = 4) -> list[Row]:
    """Measure every method on every clip; prints rows as they come."""
    bench = Bench(assets)
    default = bench.methods[5]
    rows = []
    for clip in read_clips(assets, folder, frames):
        target = bench.tuned(default, clip, None, 1).activation
        for method in bench.methods:
            rows.append(bench.tuned(method, clip, target, attempts))
            print(rows[-1], flush=True)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Markdown: flicker by the render's own flow / by another, and time against frames apart."""
    clips = list(dict.fromkeys(row.clip for row in rows))
    lines = [
        "| method | " + " | ".join(clips) + " | time |",
        "|---|" + "---|" * (len(clips) + 1),
    ]
    apart = {row.clip: row for row in rows if row.method == "frames apart"}
    for name in dict.fromkeys(row.method for row in rows):
        mine = {row.clip: row for row in rows if row.method == name}
        cells = [f"{mine[c].own:.2f} / {mine[c].other:.2f}" for c in clips]
        ratio = float(np.median([mine[c].seconds / apart[c].seconds for c in clips]))
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio:.2f}x |")
    return "\n".join(lines)
