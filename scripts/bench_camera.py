"""How calm and how sharp is a zoom, by the distance of its keyframes?

A zoom from noise, dreamed with the embedded network: 1.03 and 0.3 degrees a frame at 24 fps.

- *Residual motion*: mean |frame - the frame before, moved with the camera|, of 0 to 255. What moves
  otherwise than the camera does: flicker, and new things growing.
- *Sharpness*: mean |frame - frame blurred with sigma 1.5|, of 0 to 255.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.build_feedback import make_feedback
from pipeline.config import config_from
from pipeline.feedback.camera import CameraFeedback, warp
from pipeline.frames import read_journal
from pipeline.inputs import open_inputs
from pipeline.renderer import render
from pipeline.runtime import resolve_runtime

CONFIG = {
    "name": "zoom",
    "seed": 7,
    "source": {"kind": "noise", "size": [320, 180], "fps": 24},
    "feedback": {"kind": "camera", "zoom": 1.03**24, "rotate": 0.3 * 24, "carry": 0.6},
    "dream": {"step": 3 / 255},
    "outputs": [],
}
SETTLED = 12  # frames until the first, stronger dream is left behind


@dataclass(frozen=True)
class Row:
    """What one distance of keyframes gives."""

    every: int
    iterations: int
    seconds: float
    residual_mean: float
    residual_max: float
    sharpness_mean: float
    sharpness_min: float
    activation: float


def run(folder: Path, *, frames: int = 73) -> list[Row]:
    """Render the zoom with keyframes every 1, 2, 3 and 4 frames."""
    rows = []
    for every, iterations in ((1, 3), (2, 4), (3, 6), (4, 6)):
        config = config_from(
            CONFIG,
            [
                f"source.frames={frames}",
                f"feedback.keyframe_every={every}",
                f"feedback.iterations={iterations}",
            ],
        )
        start = time.perf_counter()
        done = render(config, root=folder / str(every))
        seconds = time.perf_counter() - start
        pictures = [
            cv2.imread(str(done.folder / f"frames/{f:06d}.png")).astype(np.float32)
            for f in range(frames)
        ]
        inputs = open_inputs(config, done.folder, fresh=False)
        (feedback,) = make_feedback(inputs, resolve_runtime(config, (320, 180)))
        assert isinstance(feedback, CameraFeedback)
        residual = [
            np.abs(pictures[f] - moved(feedback, pictures[f - 1], f)).mean()
            for f in range(SETTLED, frames)
        ]
        sharp = [np.abs(p - cv2.GaussianBlur(p, (0, 0), 1.5)).mean() for p in pictures[SETTLED:]]
        strength = [r.strength for r in read_journal(done.folder) if r.strength]
        rows.append(
            Row(
                every,
                iterations,
                seconds,
                float(np.mean(residual)),
                float(np.max(residual)),
                float(np.mean(sharp)),
                float(np.min(sharp)),
                float(np.mean(strength[2:])),
            )
        )
        print(rows[-1], flush=True)
    return rows


def moved(feedback: CameraFeedback, before: np.ndarray, frame: int) -> np.ndarray:
    """The frame before as the camera sees it now."""
    hop = feedback.path.matrix(feedback.path.hop(frame - 1, frame))
    return warp(torch.from_numpy(before).permute(2, 0, 1), hop).permute(1, 2, 0).numpy()


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| keyframe every | iterations | seconds | residual motion mean, max | sharpness mean, min "
        "| activation |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.every} | {r.iterations} | {r.seconds:.0f} | {r.residual_mean:.1f}, "
        f"{r.residual_max:.1f} | {r.sharpness_mean:.1f}, {r.sharpness_min:.1f} "
        f"| {r.activation:.1f} |"
        for r in rows
    ]
    return "\n".join(lines)
