"""Pooling in planes and halves is pooling."""

import pytest
import torch
from torch import nn

from pipeline.engine import pooling

LAYERS = {
    "overlapping": nn.MaxPool2d(3, 2),
    "with a border": nn.MaxPool2d(3, 2, padding=1),
    "beyond the border": nn.MaxPool2d(3, 2, ceil_mode=True),
    "around every pixel": nn.MaxPool2d(3, 1, padding=1),
    "side by side": nn.MaxPool2d(2),
    "side by side, beyond": nn.MaxPool2d(2, ceil_mode=True),
    "wide": nn.MaxPool2d((2, 3), (2, 3)),
    "spread": nn.MaxPool2d(2, 2, dilation=2),
}


@pytest.mark.parametrize("size", [(12, 18), (13, 17), (9, 10)])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_there_and_back_equal_torchs(name, n, size):
    x = torch.randn(n, 5, *size).relu().contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    wanted = LAYERS[name](x)
    g = torch.randn_like(wanted)
    (pulled,) = torch.autograd.grad(wanted, x, g)

    with torch.no_grad():
        y, places = pooling.max_pool(x, pooling.window(LAYERS[name]))
        back = pooling.max_pool_backward(g, places, x.shape)

    assert torch.equal(y, wanted)
    torch.testing.assert_close(back, pulled)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert back.is_contiguous(memory_format=torch.channels_last)


def test_windows_side_by_side_are_planes_of_their_own():
    x = torch.randn(2, 3, 8, 6).contiguous(memory_format=torch.channels_last)
    _, places = pooling.max_pool(x, pooling.window(nn.MaxPool2d(2)))
    assert places.shape[0] == 2 * 4


def test_sums_in_bf16_are_rounded_once_where_they_are_small():
    """Nine gradients meet at one pixel: summed in bf16, the small ones would be lost."""
    x = torch.zeros(1, 1, 3, 4, dtype=torch.bfloat16)
    x[0, 0, 1, 1] = 1
    x = x.contiguous(memory_format=torch.channels_last)
    y, places = pooling.max_pool(x, pooling.window(nn.MaxPool2d(3, 1, padding=1)))
    g = torch.full_like(y, 2**-9)
    g[0, 0, 0, 0] = 1
    assert pooling.max_pool_backward(g, places, x.shape)[0, 0, 1, 1] > 1 + 2**-7
