"""A first convolution by compiled kernels is the convolution, ReLU and pooling that torch does."""

import copy

import pytest
import torch
from torch import nn

from pipeline.engine import cpu_kernels, stem
from pipeline.engine.convolutions import PictureConv2d, pair
from pipeline.engine.operations import window_of

pytestmark = pytest.mark.skipif(not cpu_kernels.library(), reason="kernels are not compiled here")

LAYERS = {
    "googlenet": (nn.Conv2d(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, ceil_mode=True)),
    "inception5h": (nn.Conv2d(3, 64, 8, 2, 3), nn.MaxPool2d(3, 2, ceil_mode=True)),
    "resnet": (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, padding=1)),
    "inception v3": (nn.Conv2d(3, 32, 3, 2), None),
    "vgg": (nn.Conv2d(3, 64, 3, 1, 1), None),
    "wide": (nn.Conv2d(3, 96, (3, 5), (3, 1), (0, 2)), nn.MaxPool2d(2)),
}
SIZES = [(41, 67), (36, 30), (11, 9)]  # the last are fewer columns than are done at once


def made(name, dtype):
    """A layer with its pooling, as a network of a precision has it; and its kernels."""
    layer, pool = LAYERS[name]
    own = layer if dtype == torch.float32 else PictureConv2d(layer, dtype)
    window = window_of(pool) if pool else None
    return layer, pool, stem.Stem(own, pair(layer.padding), pair(layer.stride), window)


def lying(x):
    return x.contiguous(memory_format=torch.channels_last)


def picture(n, size, seed=0):
    numbers = torch.rand((n, 3, *size), generator=torch.Generator().manual_seed(seed))
    return lying(numbers - 0.5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_there_and_back_equal_torchs(name, n, size):
    layer, pool, kernels = made(name, torch.float32)
    x = picture(n, size)
    y, places = kernels.forward(x)
    whole = layer(x).relu()
    torch.testing.assert_close(y, pool(whole) if pool else whole, rtol=1e-5, atol=1e-5)
    g = lying(torch.randn(y.shape))
    back = kernels.backward(g, y, places, x.shape)

    # From where the kernels saw a maximum: of two that are equal but for rounding, either is one.
    sent = torch.where(y > 0, g, 0)
    if pool:
        sent = cpu_kernels.max_pool_backward(sent, places, window_of(pool), whole.shape)
    pulled = torch.nn.grad.conv2d_input(x.shape, layer.weight, sent, layer.stride, layer.padding)
    torch.testing.assert_close(back, pulled, rtol=1e-4, atol=1e-5)
    for tensor in (y, back):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_half_precision_rounds_what_it_hands_on_and_nothing_else(name):
    layer, pool, kernels = made(name, torch.bfloat16)
    x = picture(2, (41, 67))
    y, places = kernels.forward(x)
    plain, _ = made(name, torch.float32)[2].forward(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), plain, rtol=2**-8, atol=1e-6)

    g = lying(torch.randn(y.shape).bfloat16())
    back = kernels.backward(g, y, places, x.shape)
    rounded = copy.deepcopy(layer)
    rounded.weight.copy_(layer.weight.bfloat16())
    window = window_of(pool) if pool else None
    twin = stem.Stem(rounded, pair(layer.padding), pair(layer.stride), window)
    wanted = twin.backward(g.float(), y.float(), places, x.shape)
    assert back.dtype == torch.float32
    # Where gradients meet below a pooling, their sum is rounded once.
    assert float((back - wanted).norm() / wanted.norm()) < (3e-3 if pool else 1e-5)


@torch.no_grad()
def test_the_number_of_threads_changes_no_bit():
    _, _, kernels = made("googlenet", torch.bfloat16)
    x = picture(2, (61, 45))
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            y, places = kernels.forward(x)
            found.append((y, places, kernels.backward(y, y, places, x.shape)))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@torch.no_grad()
def test_gradients_that_do_not_lie_in_order_are_read_as_they_are_meant():
    _, _, kernels = made("vgg", torch.float32)
    x = picture(1, (20, 24))
    y, places = kernels.forward(x)
    g = torch.randn(y.shape)  # channels first
    back = kernels.backward(g, y, places, x.shape)
    assert torch.equal(back, kernels.backward(lying(g), y, places, x.shape))


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(3, 20, 3), nn.Conv2d(4, 64, 3), nn.Conv2d(3, 64, 11, 4, 2)],
    ids=["few channels", "no picture", "long strides"],
)
def test_other_convolutions_are_left_to_others(layer):
    assert not stem.fits(layer)


def test_without_kernels_none_fits(monkeypatch):
    monkeypatch.setattr(cpu_kernels, "library", lambda: None)
    assert not stem.fits(LAYERS["vgg"][0])
