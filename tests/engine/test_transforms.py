"""Turning what the network is shown, and the way back of the gradient."""

import cmath
import math
import random

import pytest
import torch
import torch.nn.functional as F

from pipeline.engine.ascent import StepSettings, ascend, blur
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.objectives import Term
from pipeline.engine.transforms import random_turn, turned, turned_back

TURNS = [1, cmath.rect(1.1, math.radians(8)), cmath.rect(0.9, math.radians(-15)), 1j]


def pictures(count: int = 4, size: tuple[int, int] = (60, 80)) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(count, 3, size[0] // 4, size[1] // 4, generator=rng)
    return F.interpolate(small, size=size, mode="bicubic").clamp(0, 1)


def torchs(picture: torch.Tensor, turn: complex, outside: str = "reflection") -> torch.Tensor:
    """The same motion as torch does it."""
    height, width = picture.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    back = 1 / complex(turn)
    from_x, from_y = back.real * x - back.imag * y, back.imag * x + back.real * y
    grid = torch.stack([2 * from_x / width, 2 * from_y / height], -1)[None].float()
    return F.grid_sample(picture, grid, "bilinear", outside, align_corners=False)


def test_turns_are_a_pure_function_within_their_range():
    random.seed(1)
    first = [random_turn(7, 2, i, rotate=10, scale=1.2) for i in range(200)]
    random.seed(2)
    assert first == [random_turn(7, 2, i, rotate=10, scale=1.2) for i in range(200)]
    assert first != [random_turn(8, 2, i, rotate=10, scale=1.2) for i in range(200)]
    assert first != [random_turn(7, 1, i, rotate=10, scale=1.2) for i in range(200)]
    angles = [math.degrees(cmath.phase(turn)) for turn in first]
    assert -10 <= min(angles) < -9 < 9 < max(angles) <= 10
    assert 1 / 1.2 <= min(map(abs, first)) < 0.86 < 1.17 < max(map(abs, first)) <= 1.2 + 1e-9
    assert random_turn(7, 2, 3, rotate=0, scale=1) == 1
    assert cmath.phase(random_turn(7, 2, 3, rotate=0, scale=1.2)) == 0


def test_every_sample_is_turned_by_its_own():
    batch = pictures()
    seen = turned(batch, TURNS)
    for k, turn in enumerate(TURNS):
        # OpenCV interpolates at 32nds of a pixel.
        torch.testing.assert_close(
            seen[k : k + 1], torchs(batch[k : k + 1], turn), atol=0.01, rtol=0
        )
    assert torch.equal(seen[0], batch[0])
    assert turned(batch, [1] * 4) is batch


def test_a_quarter_turn_is_exact():
    square = pictures(1, (48, 48))
    torch.testing.assert_close(turned(square, [1j]), torch.rot90(square, -1, (2, 3)))
    torch.testing.assert_close(turned_back(turned(square, [1j]), [1j]), square)


@pytest.mark.parametrize("turn", TURNS)
def test_the_way_back_points_where_the_exact_gradient_does(dreamnet, turn):
    """The exact one is autograd's, through the resampling: its adjoint."""
    picture = pictures(1, (96, 128))
    gradient = ImageGradient(dreamnet, [Term("mixed3b")])
    plain = picture.clone().requires_grad_()
    shown = torchs(plain, turn)
    slope, _ = gradient(shown.detach(), torch.ones(1, 1))
    (exact,) = torch.autograd.grad(shown, plain, slope)
    back = turned_back(slope, [turn])
    inner = (..., slice(24, -24), slice(32, -32))  # away from the reflected border
    smooth = [blur(g, 1.0, 3)[inner].flatten() for g in (exact, back)]
    assert torch.cosine_similarity(*smooth, dim=0) > 0.97
    assert smooth[0].norm() / smooth[1].norm() == pytest.approx(abs(turn) ** 2, rel=0.15)


def test_nothing_comes_back_from_where_nothing_was_shown():
    back = turned_back(torch.ones(1, 3, 40, 40), [2.0])  # the middle quarter, enlarged
    assert (back[..., :8, :] == 0).all()
    assert (back[..., 12:28, 12:28] == 1).all()


def test_a_turning_batch_of_four_is_four_batches_of_one(dreamnet):
    gradient = ImageGradient(dreamnet, [Term("mixed3b")])
    batch = pictures()
    knobs = [
        StepSettings(
            step=0.01,
            jitter=4,
            sigma=0.5,
            weights=(1.0,),
            decay=0.3 * k,
            variation=0.2 * k,
            rotate=5.0 * k,
            scale=1 + 0.1 * k,
            blur=0.3 * k,
        )
        for k in range(4)
    ]
    options = {"octave": 1, "iterations": 2, "blur_every": 2}
    keys = [11, 12, 13, 14]
    together, _ = ascend(batch, gradient, keys=keys, settings=knobs, **options)
    for k in range(4):
        alone, _ = ascend(
            batch[k : k + 1], gradient, keys=[keys[k]], settings=[knobs[k]], **options
        )
        assert (together[k : k + 1] - alone).norm() <= 1e-4 * (alone - batch[k : k + 1]).norm()


def test_ascent_climbs_while_it_turns(dreamnet):
    gradient = ImageGradient(dreamnet, [Term("mixed4a")])
    picture = 0.4 + 0.2 * pictures(1)
    _, before = gradient(picture, torch.ones(1, 1))
    knobs = [StepSettings(0.01, 8, 0.5, (1.0,), rotate=10, scale=1.1)]
    climbed, _ = ascend(picture, gradient, keys=[1], octave=0, iterations=12, settings=knobs)
    _, after = gradient(climbed, torch.ones(1, 1))
    assert after > 1.5 * before


@pytest.mark.cuda
def test_cuda_turns_the_same(cuda):
    batch = pictures()
    for way in (turned, turned_back):
        torch.testing.assert_close(
            way(batch.to(cuda), TURNS).cpu(), way(batch, TURNS), atol=0.01, rtol=0
        )
