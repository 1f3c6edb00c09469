import pytest
import torch
import torch.nn.functional as F

from pipeline.engine.ascent import blur
from pipeline.engine.pyramid import merge, pyramid, resize


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(0))


def test_enlarging_on_a_cpu_is_torchs_bicubic_kernel(picture):
    expected = F.interpolate(picture, size=(52, 70), mode="bicubic", align_corners=False)
    torch.testing.assert_close(resize(picture, (70, 52)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(70, 52), (36, 26), (36, 40)])
def test_resizing_is_linear(picture, size):
    other = torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(1))
    whole = resize(picture + 0.3 * other, size)
    assert whole.shape == (2, 3, size[1], size[0])
    torch.testing.assert_close(
        whole, resize(picture, size) + 0.3 * resize(other, size), atol=1e-5, rtol=1e-4
    )


def test_shrinking_does_not_alias():
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 1
    small = resize(stripes, (20, 20))
    # Away from the border, where the filter is cut off, only the mean is left.
    assert small[..., 3:-3].std() < 0.02


def test_a_flat_picture_stays_flat():
    flat = torch.full((1, 3, 31, 47), 0.3)
    for size in ((60, 40), (20, 11)):
        torch.testing.assert_close(resize(flat, size), torch.full((1, 3, size[1], size[0]), 0.3))


def test_the_coarsest_octave_starts_from_the_seed(picture):
    for how in ("detail", "replace", "blend"):
        assert merge(picture, None, None, how=how, blend=0.5) is picture


def test_merges(picture):
    started = resize(picture, (36, 26))
    dreamed = started + 0.1 * torch.rand_like(started)
    added = resize(dreamed - started, (50, 37))
    large = resize(dreamed, (50, 37))
    torch.testing.assert_close(
        merge(picture, started, dreamed, how="detail", blend=0.5), picture + added
    )
    torch.testing.assert_close(merge(picture, started, dreamed, how="replace", blend=0.5), large)
    torch.testing.assert_close(
        merge(picture, started, dreamed, how="blend", blend=0.2), 0.2 * picture + 0.8 * large
    )


@pytest.mark.cuda
def test_cuda_agrees(picture, cuda):
    for size in ((70, 52), (36, 26)):
        torch.testing.assert_close(
            resize(picture.to(cuda), size).cpu(), resize(picture, size), atol=1e-4, rtol=1e-4
        )


def test_recursive_octaves_blur_before_they_shrink(picture):
    sizes = [(25, 18), (35, 26), (50, 37)]
    plain = list(pyramid(picture, sizes))
    recursive = list(pyramid(picture, sizes, blurred=1.0))
    for levels in (plain, recursive):
        assert [tuple(level.shape[:1:-1]) for level in levels] == sizes
        assert torch.equal(levels[-1], picture)
    torch.testing.assert_close(plain[0], resize(picture, sizes[0]))
    finer = torch.cat([blur(p, 1.0, 3) for p in recursive[1].split(1)])
    torch.testing.assert_close(recursive[0], resize(finer, sizes[0]))
    assert recursive[0].std() < 0.7 * plain[0].std()
