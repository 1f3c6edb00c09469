"""The decorrelating preconditioner against what it stands for: gradient descent in Lucid's z."""

import pytest
import torch

from pipeline.engine.ascent import smooth
from pipeline.engine.decorrelate import decorrelate

# Lucid, optvis/param/color.py.
LUCID = torch.tensor(((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03)))
SIZES = [(24, 40), (33, 17), (16, 16)]


def noise(size: tuple[int, int], seed: int = 0, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def from_white(z: torch.Tensor) -> torch.Tensor:
    """x = S z as Lucid has it: frequencies by 1 / max(f, lowest), colours mixed."""
    height, width = z.shape[2:]
    y, x = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    lowest = 2 / max(height, width)
    scale = lowest / torch.sqrt(y**2 + x**2).clamp_min(lowest)
    spread = torch.fft.irfft2(torch.fft.rfft2(z) * scale, s=(height, width))
    mixing = LUCID / LUCID.norm(dim=0).max()
    return torch.einsum("cd,ndhw->nchw", mixing, spread)


@pytest.mark.parametrize("size", SIZES)
def test_it_is_a_step_in_the_coordinates_in_which_photographs_are_white(size):
    z = noise(size).requires_grad_()
    target = noise(size, 1)
    (from_white(z) * target).sum().backward()
    torch.testing.assert_close(
        decorrelate(target), from_white(z.grad).detach(), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("size", SIZES)
def test_it_is_symmetric_and_never_turns_a_gradient_around(size):
    a, b = noise(size, 2, 1).double(), noise(size, 3, 1).double()
    forth = (a * decorrelate(b.float())).sum()
    back = (b * decorrelate(a.float())).sum()
    torch.testing.assert_close(forth, back, rtol=1e-4, atol=1e-4)
    for seed in range(8):
        g = noise(size, seed, 1)
        assert (g * decorrelate(g)).sum() > 0


def test_every_sample_is_its_own_and_shifts_go_through():
    batch = noise((20, 28), count=3)
    together = decorrelate(batch)
    for k in range(3):
        torch.testing.assert_close(together[k : k + 1], decorrelate(batch[k : k + 1]))
    moved = decorrelate(torch.roll(batch, (5, -9), (2, 3)))
    torch.testing.assert_close(moved, torch.roll(together, (5, -9), (2, 3)), atol=1e-6, rtol=1e-4)


def test_flat_grey_stays_flat_and_nearly_grey():
    flat = torch.ones(1, 3, 12, 20)
    result = decorrelate(flat)
    assert (result.amax((2, 3)) - result.amin((2, 3))).max() < 1e-5
    colour = result[0, :, 0, 0]
    assert colour.std() < 0.1 * colour.mean()


def test_fine_grain_gives_way_to_large_shapes():
    fine = torch.ones(1, 3, 32, 32)
    fine[..., ::2] = -1
    wave = torch.cos(2 * torch.pi * torch.arange(32) * 4 / 32).expand(1, 3, 32, 32)
    ratio = decorrelate(wave).abs().max() / decorrelate(fine).abs().max()
    assert ratio == pytest.approx((16 / 4) ** 2, rel=1e-3)


def test_it_is_a_way_of_smoothing():
    g = noise((20, 28))
    assert torch.equal(smooth(g, "decorrelate", [0.5, 0.5]), decorrelate(g))


@pytest.mark.cuda
def test_cuda_decorrelates_the_same(cuda):
    g = noise((33, 17))
    torch.testing.assert_close(decorrelate(g.to(cuda)).cpu(), decorrelate(g), atol=1e-5, rtol=1e-4)
