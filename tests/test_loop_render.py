"""A zoom that repeats without a seam."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.build_feedback import make_feedback
from pipeline.config import config_from
from pipeline.feedback.camera import warp
from pipeline.inputs import open_inputs
from pipeline.media.gif import read_gif
from pipeline.renderer import render
from pipeline.runtime import resolve_runtime

SIZE, FRAMES, LOOP = (128, 72), 36, 12
CONFIG = {
    "name": "loop",
    "seed": 7,
    "source": {"kind": "noise", "size": SIZE, "frames": FRAMES, "fps": 24},
    "feedback": {
        "kind": "camera",
        "zoom": 2.0,
        "rotate": 8,
        "carry": 0.6,
        "iterations": 4,
        "loop": LOOP,
    },
    "dream": {"iterations": 12},
    "outputs": [{"kind": "gif", "width": 64, "max_fps": 50}, {"kind": "png", "frames": [0, 23]}],
    "runtime": {"threads": 1},
}


def frame(folder: Path, number: int) -> torch.Tensor:
    picture = cv2.imread(str(folder / f"frames/{number:06d}.png"), cv2.IMREAD_COLOR_RGB)
    return torch.from_numpy(picture).permute(2, 0, 1).float()


@pytest.mark.parametrize("every", [1, 3])
def test_the_seam_of_a_loop_is_no_larger_than_the_step_between_any_two_frames(tmp_path, every):
    config = config_from(CONFIG, [f"feedback.keyframe_every={every}"])
    done = render(config, root=tmp_path)
    inputs = open_inputs(config, done.folder, fresh=False)
    camera = make_feedback(inputs, resolve_runtime(config, SIZE))[0].path
    matrix = camera.matrix(camera.hop(0, 1))

    def residual(earlier: int, later: int) -> float:
        moved = warp(frame(done.folder, earlier), matrix)
        return float((moved - frame(done.folder, later)).abs().mean())

    ordinary = [residual(f, f + 1) for f in range(LOOP, FRAMES - LOOP)]
    seam = residual(FRAMES - 1, LOOP)
    assert seam <= 1.1 * max(ordinary)
    assert max(residual(f, f + 1) for f in range(FRAMES - LOOP, FRAMES - 1)) < 5 * max(ordinary)
    without = config_from(CONFIG, [f"feedback.keyframe_every={every}", "name=cut", "outputs=[]"])
    cut = without.model_copy(update={"feedback": without.feedback.model_copy(update={"loop": 0})})
    folder = render(cut, root=tmp_path).folder
    jump = warp(frame(folder, FRAMES - 1), matrix) - frame(folder, LOOP)
    assert jump.abs().mean() > 4 * seam
    for number in range(FRAMES - LOOP + 1):
        assert torch.equal(frame(folder, number), frame(done.folder, number))


def test_outputs_leave_out_what_the_end_became_and_resuming_gives_the_same_bytes(tmp_path):
    done = render(config_from(CONFIG), root=tmp_path)
    gif, first, last = done.outputs
    assert len(read_gif(gif)) == FRAMES - LOOP
    for path, number in ((first, LOOP), (last, FRAMES - 1)):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(picture, frame(done.folder, number).permute(1, 2, 0))
    frames = {p: p.read_bytes() for p in (done.folder / "frames").iterdir()}
    for number in (5, 27, 30, 34):
        (done.folder / f"frames/{number:06d}.png").unlink()
    render(config_from(CONFIG), root=tmp_path)
    assert {p: p.read_bytes() for p in (done.folder / "frames").iterdir()} == frames
