"""Pooling in planes and halves is pooling, and so is pooling by compiled kernels."""

import pytest
import torch
from torch import nn

from pipeline.engine import cpu_kernels, pooling
from pipeline.engine.operations import window_of

WAYS = [
    pooling,
    pytest.param(
        cpu_kernels,
        marks=pytest.mark.skipif(not cpu_kernels.library(), reason="kernels are not compiled here"),
    ),
]
LAYERS = {
    "overlapping": nn.MaxPool2d(3, 2),
    "with a border": nn.MaxPool2d(3, 2, padding=1),
    "beyond the border": nn.MaxPool2d(3, 2, ceil_mode=True),
    "around every pixel": nn.MaxPool2d(3, 1, padding=1),
    "side by side": nn.MaxPool2d(2),
    "side by side, beyond": nn.MaxPool2d(2, ceil_mode=True),
    "wide": nn.MaxPool2d((2, 3), (2, 3)),
}


@pytest.mark.parametrize("size", [(12, 18), (13, 17), (9, 10)])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("way", WAYS, ids=["torch", "c"])
def test_there_and_back_equal_torchs(way, name, n, size):
    x = torch.randn(n, 5, *size).relu().contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    wanted = LAYERS[name](x)
    g = torch.randn_like(wanted)
    (pulled,) = torch.autograd.grad(wanted, x, g)

    with torch.no_grad():
        window = window_of(LAYERS[name])
        y, places = way.max_pool(x, window, x.dtype)
        back = way.max_pool_backward(g, places, window, x.shape)

    assert torch.equal(y, wanted)
    torch.testing.assert_close(back, pulled)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert back.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not cpu_kernels.library(), reason="kernels are not compiled here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_no_gradient_passes_a_relu_that_let_nothing_through(name, dtype):
    before = torch.randn(2, 5, 13, 17).to(dtype).contiguous(memory_format=torch.channels_last)
    before[:, :, :6] -= 9  # whole windows of zeros
    exact = before.float().requires_grad_()
    wanted = LAYERS[name](exact.relu())
    g = torch.randn(wanted.shape).to(dtype)
    (pulled,) = torch.autograd.grad(wanted, exact, g.float())

    window = window_of(LAYERS[name])
    y, places = cpu_kernels.max_pool(before.relu(), window, dtype, rectified=True)
    back = cpu_kernels.max_pool_backward(g, places, window, before.shape)

    assert torch.equal(y.float(), wanted)
    assert (back[:, :, :4] == 0).all()
    torch.testing.assert_close(back, pulled.to(dtype))


def test_windows_side_by_side_are_planes_of_their_own():
    x = torch.randn(2, 3, 8, 6).contiguous(memory_format=torch.channels_last)
    _, places = pooling.max_pool(x, window_of(nn.MaxPool2d(2)), x.dtype)
    assert places.shape[0] == 2 * 4


@pytest.mark.parametrize("way", WAYS, ids=["torch", "c"])
def test_sums_in_bf16_are_rounded_once_where_they_are_small(way):
    """Nine gradients meet at one pixel: summed in bf16, the small ones would be lost."""
    x = torch.zeros(1, 1, 3, 4, dtype=torch.bfloat16)
    x[0, 0, 1, 1] = 1
    x = x.contiguous(memory_format=torch.channels_last)
    window = window_of(nn.MaxPool2d(3, 1, padding=1))
    y, places = way.max_pool(x, window, x.dtype)
    g = torch.full_like(y, 2**-9)
    g[0, 0, 0, 0] = 1
    assert way.max_pool_backward(g, places, window, x.shape)[0, 0, 1, 1] > 1 + 2**-7


@pytest.mark.parametrize("way", WAYS, ids=["torch", "c"])
def test_maxima_are_chosen_before_they_are_rounded(way):
    """Both round to the same bf16; the larger is the second."""
    x = torch.tensor([1.0, 1.0 + 2**-10]).view(1, 1, 1, 2)
    x = x.contiguous(memory_format=torch.channels_last)
    window = window_of(nn.MaxPool2d((1, 2)))
    y, places = way.max_pool(x, window, torch.bfloat16)
    assert y.dtype == torch.bfloat16
    assert way.max_pool_backward(y, places, window, x.shape).flatten().tolist() == [0, 1]
