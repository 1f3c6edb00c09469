import math
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.feedback.camera import CameraFeedback, CameraPath, coverage, warp
from pipeline.feedback.seed import to_tensor
from pipeline.plan import FrameId, Node

SIZE = (320, 180)


def constant(value: float):
    return lambda _: value


def path(
    *, zoom=1.0, rotate=0.0, move=(0.0, 0.0), centre=(0.5, 0.5), fps=24, size=SIZE
) -> CameraPath:
    rates = [v if callable(v) else constant(v) for v in (zoom, rotate, *move)]
    return CameraPath(
        zoom=rates[0],
        rotate=rates[1],
        move=(rates[2], rates[3]),
        centre=centre,
        fps=Fraction(fps),
        size=size,
    )


def place(camera: CameraPath, seconds: int, point: tuple[float, float]) -> np.ndarray:
    frames = round(seconds * camera.fps)
    return camera.matrix(camera.hop(0, frames)) @ (*point, 1)


MOTIONS = {
    "zoom": {"zoom": 1.6},
    "zoom out": {"zoom": 0.6},
    "turn": {"zoom": 1.2, "rotate": 30.0},
    "move": {"zoom": 1.3, "rotate": -20.0, "move": (0.05, -0.08), "centre": (0.3, 0.6)},
    "accelerate": {
        "zoom": lambda t: 1.2 + 0.4 * math.sin(float(t) * 3),
        "rotate": lambda t: 40 * float(t),
    },
}


@pytest.mark.parametrize("motion", MOTIONS.values(), ids=MOTIONS)
def test_the_path_does_not_depend_on_the_frame_rate(motion):
    ends = [
        place(path(**motion, fps=fps), 4, (50.0, 150.0))
        for fps in (24, 30, 60, Fraction(30000, 1001) * 2)
    ]
    for end in ends[1:3]:
        assert np.abs(end - ends[0]).max() < 0.5


def test_a_second_of_zoom_and_rotation_is_what_was_asked_for():
    camera = path(zoom=2.0, rotate=90.0)
    cx, cy = 159.5, 89.5
    # Anticlockwise as seen: what was right of the centre comes to stand above it.
    assert place(camera, 1, (cx + 10, cy)) == pytest.approx((cx, cy - 20))
    assert place(camera, 1, (cx, cy)) == pytest.approx((cx, cy))


def test_a_second_of_movement_is_a_share_of_the_picture():
    assert place(path(move=(0.25, 0.5)), 1, (10, 20)) == pytest.approx((10 + 80, 20 + 90))


def test_hops_compose_and_invert():
    camera = path(**MOTIONS["move"])
    there = camera.hop(3, 9)
    composed = camera.hop(3, 5).then(camera.hop(5, 9))
    assert abs(there.a - composed.a) < 1e-12
    assert abs(there.b - composed.b) < 1e-9
    back = there.then(camera.hop(9, 3))
    assert abs(back.a - 1) < 1e-12
    assert abs(back.b) < 1e-9


def grid_warp(picture: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
    """The same warp by torch's sampler, pixel by pixel."""
    height, width = picture.shape[1:]
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    y, x = np.mgrid[0:height, 0:width]
    u, v, _ = np.tensordot(back, np.stack([x, y, np.ones_like(x)]), axes=1)
    grid = np.stack([(2 * u + 1) / width - 1, (2 * v + 1) / height - 1], axis=-1)
    return F.grid_sample(
        picture[None], torch.from_numpy(grid)[None].float(), mode="bicubic",
        padding_mode="reflection", align_corners=False,
    )[0]  # fmt: skip


def test_the_warp_is_bicubic_with_a_reflected_border():
    picture = torch.rand(3, 90, 160, generator=torch.Generator().manual_seed(0))
    picture = F.avg_pool2d(picture[None], 3, 1, 1)[0]
    matrix = path(size=(160, 90), **MOTIONS["move"]).matrix(
        path(size=(160, 90), **MOTIONS["move"]).hop(0, 5)
    )
    # OpenCV places samples on a grid of 1/32 pixel.
    assert (warp(picture, matrix) - grid_warp(picture, matrix)).abs().mean() < 0.004


def test_the_warp_follows_the_path():
    picture = np.zeros((180, 320, 3), np.float32)
    picture[40:43, 60:63] = 1
    camera = path(**MOTIONS["turn"])
    hop = camera.matrix(camera.hop(0, 6))
    moved = warp(torch.from_numpy(picture).permute(2, 0, 1), hop)[0]
    y, x = np.unravel_index(cv2.GaussianBlur(moved.numpy(), (5, 5), 1.0).argmax(), moved.shape)
    assert (x, y) == pytest.approx(hop @ (61, 41, 1), abs=1)


@pytest.mark.parametrize("motion", [{"zoom": 0.3}, {"rotate": 45.0}, {"move": (3.0, 2.0)}], ids=str)
def test_no_border_is_ever_black(motion):
    camera = path(**motion)
    white = torch.ones(3, 180, 320)
    assert warp(white, camera.matrix(camera.hop(0, 24))).min() > 0.999


def test_coverage_is_zero_outside_and_one_inside():
    camera = path(zoom=0.5)
    matrix = camera.matrix(camera.hop(0, 24))  # the picture is now the middle half
    share = coverage(matrix, SIZE)
    assert share[:44].max() == 0
    assert share[:, :79].max() == 0
    assert share[90, 160] == 1
    assert (share.diff(dim=0).abs().max() < 0.25) & (share.diff(dim=1).abs().max() < 0.25)


def node(frame: int, *parents: int) -> Node:
    return Node(FrameId(0, frame), tuple(FrameId(0, p) for p in parents), 0, SIZE)


def scene(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).random((23, 40, 3), dtype=np.float32)
    return (cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(
        np.uint8
    )


def test_a_frame_between_is_made_from_both_sides():
    """If the later keyframe is the earlier one moved, so is a frame between them."""
    camera = path(zoom=2.0, rotate=10.0)
    feedback = CameraFeedback(camera)
    first = scene(1)
    later = (
        warp(
            torch.from_numpy(first).permute(2, 0, 1).float() / 255, camera.matrix(camera.hop(0, 4))
        )
        * 255
    )
    later = later.clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8)
    filled = feedback.seed(node(2, 0, 4), scene, [first, later])
    expected = warp(
        torch.from_numpy(first).permute(2, 0, 1).float() / 255, camera.matrix(camera.hop(0, 2))
    )
    assert (filled - expected).abs().mean() < 0.01


def test_the_border_of_the_inner_keyframe_is_not_seen():
    """A white keyframe inside a black one: the seam is a slope, nowhere a step."""
    camera = path(zoom=2.0, fps=8)
    black, white = np.zeros((180, 320, 3), np.uint8), np.full((180, 320, 3), 255, np.uint8)
    filled = CameraFeedback(camera).seed(node(2, 0, 4), scene, [black, white])
    assert filled[:, 90, 160].tolist() == pytest.approx([0.5] * 3, abs=0.01)
    assert filled[:, 0, 0].tolist() == pytest.approx([0] * 3, abs=0.01)
    assert filled.diff(dim=1).abs().max() < 0.08
    assert filled.diff(dim=2).abs().max() < 0.08


def test_nearness_decides():
    camera = path()
    black, white = np.zeros((180, 320, 3), np.uint8), np.full((180, 320, 3), 255, np.uint8)
    for frame in (1, 2, 3):
        filled = CameraFeedback(camera).seed(node(frame, 0, 4), scene, [black, white])
        assert filled[:, 90, 160].tolist() == pytest.approx([frame / 4] * 3, abs=0.01)


def test_a_keyframe_is_its_parent_moved_and_the_first_frame_its_source():
    camera = path(zoom=1.5)
    feedback = CameraFeedback(camera)
    first = feedback.seed(node(0), scene, [])
    assert torch.equal(
        (first * 255).round().to(torch.uint8), torch.from_numpy(scene(0)).permute(2, 0, 1)
    )
    moved = feedback.seed(node(3, 0), scene, [scene(1)])
    expected = warp(
        torch.from_numpy(scene(1)).permute(2, 0, 1).float() / 255, camera.matrix(camera.hop(0, 3))
    )
    assert torch.equal(moved, expected)


def test_the_end_of_a_loop_is_dissolved_into_its_beginning():
    """A keyframe and the frame that is seen in its place, half each, keep their contrast."""
    loop = replace(node(8, 4, 2), share=0.5)
    half = CameraFeedback(path()).seed(loop, scene, [scene(1), scene(2)])
    deviations = [to_tensor(scene(k), "cpu").std() for k in (1, 2)]
    assert half.std() == pytest.approx(np.mean(deviations), rel=1e-3)
    pictures = [to_tensor(scene(k), "cpu").flatten() for k in (1, 2)]
    near = [np.corrcoef(half.flatten(), p)[0, 1] for p in pictures]
    assert near == pytest.approx([0.7, 0.7], abs=0.1)
    whole = CameraFeedback(path()).seed(replace(loop, share=1.0), scene, [scene(1), scene(2)])
    assert (whole.flatten() - pictures[1]).abs().max() < 1e-5


def test_the_border_that_a_later_keyframe_does_not_show_comes_from_the_beginning():
    black, white = np.zeros((180, 320, 3), np.uint8), np.full((180, 320, 3), 255, np.uint8)
    fill = replace(node(6, 4, 8, 2), share=0.5)
    filled = CameraFeedback(path(zoom=2.0, fps=8)).seed(fill, scene, [black, black, white])
    assert filled[:, 0, 0].tolist() == pytest.approx([0.5] * 3, abs=0.02)
    assert filled[:, 90, 160].tolist() == pytest.approx([0] * 3, abs=0.02)


def test_contrast_fades_by_the_second_whatever_the_frame_rate():
    white = np.full((180, 320, 3), 255, np.uint8)
    for fps in (12, 24):
        feedback = CameraFeedback(path(fps=fps), carry=0.25)
        seed = feedback.seed(node(fps // 2, 0), scene, [white])
        assert seed.mean() == pytest.approx(0.5 + 0.5 * 0.5, abs=1e-5)
    assert feedback.seed(node(0), scene, []).std() > 0.1


@pytest.mark.cuda
def test_cuda_warps_the_same(cuda):
    camera = path(**MOTIONS["move"])
    matrix = camera.matrix(camera.hop(0, 5))
    picture = torch.from_numpy(scene(2)).permute(2, 0, 1).float() / 255
    assert (warp(picture.to(cuda), matrix).cpu() - warp(picture, matrix)).abs().mean() < 0.004
