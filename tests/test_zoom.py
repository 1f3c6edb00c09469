"""A long zoom stays alive: it neither fades, burns out, freezes nor turns to noise."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.build_feedback import make_feedback
from pipeline.config import config_from
from pipeline.feedback.camera import warp
from pipeline.frames import read_journal
from pipeline.inputs import open_inputs
from pipeline.renderer import render
from pipeline.runtime import resolve_runtime

CONFIG = {
    "name": "zoom",
    "seed": 2,
    "source": {"kind": "noise", "size": [320, 180], "fps": 24},
    # 1.03 and 0.3 degrees a frame
    "feedback": {
        "kind": "camera",
        "zoom": 1.03**24,
        "rotate": 0.3 * 24,
        "iterations": 3,
    },
    "dream": {"step": 3 / 255, "color": "match"},
    "outputs": [],
}


def frame(folder: Path, index: int) -> np.ndarray:
    return cv2.imread(str(folder / f"frames/{index:06d}.png"), cv2.IMREAD_COLOR_RGB)


@pytest.mark.parametrize("frames", [120, pytest.param(300, marks=pytest.mark.slow)])
def test_a_zoom_stays_alive(tmp_path, frames):
    config = config_from(CONFIG, ["feedback.keyframe_every=1", f"source.frames={frames}"])
    zoom = render(config, root=tmp_path).folder
    pictures = [frame(zoom, f) for f in range(frames)]
    check_brightness_and_contrast_stay(pictures)
    check_activation_stays(zoom, frames)
    check_it_keeps_inventing(config, zoom, pictures)
    check_no_border_is_black(pictures)


def check_brightness_and_contrast_stay(pictures):
    assert all(0.35 <= p.mean() / 255 <= 0.6 for p in pictures[::3])
    assert all(0.15 <= p.std() / 255 <= 0.32 for p in pictures[3::3])


def check_activation_stays(zoom, frames):
    strength = {r.frame: r.strength for r in read_journal(zoom)}
    usual = np.mean([strength[f] for f in range(20, 41)])
    # A frame may be weak; a second of them is not.
    seconds = [np.mean([strength[f + k] for k in range(24)]) for f in range(20, frames - 24)]
    assert min(seconds) >= 0.7 * usual


def check_it_keeps_inventing(config, zoom, pictures):
    inputs = open_inputs(config, zoom, fresh=False)
    camera = make_feedback(inputs, resolve_runtime(config, (320, 180)))[0].path
    for late in range(48, len(pictures), 28):
        early = torch.from_numpy(pictures[late - 48]).permute(2, 0, 1).float()
        moved = warp(early, camera.matrix(camera.hop(late - 48, late)))
        now = torch.from_numpy(pictures[late]).permute(2, 0, 1)
        assert np.corrcoef(moved.flatten(), now.flatten())[0, 1] < 0.9


def check_no_border_is_black(pictures):
    for picture in pictures[::20]:
        edges = (picture[0], picture[-1], picture[:, 0], picture[:, -1])
        assert all(edge.max(axis=1).mean() > 60 for edge in edges)
