"""DreamNet: shapes, names, and the weights that travel with the package."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision.models.feature_extraction import create_feature_extractor

from pipeline.engine.dreamnet import WEIGHTS, DreamNet, MixedWidths, Widths


@pytest.fixture(scope="module")
def network():
    network = DreamNet()
    network.load_state_dict(load_file(WEIGHTS), strict=True)
    return network.eval()


def test_the_embedded_weights_are_small_half_floats(network):
    assert WEIGHTS.stat().st_size < 4_000_000
    with safe_open(WEIGHTS, "pt") as file:
        assert set(file.keys()) == set(network.state_dict())
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 96), (4, 6)), ((45, 80), (2, 5)), ((180, 320), (11, 20))]
)
def test_shapes(network, size, expected):
    with torch.no_grad():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 384, *expected)


@pytest.mark.parametrize("side", [16, 17, 23, 33])
def test_small_pictures_pass(network, side):
    with torch.no_grad():
        assert min(network(torch.zeros(1, 3, side, side)).shape) >= 1


def test_every_layer_is_rectified_and_alive(network):
    strides = {
        "conv1": 2,
        "conv2": 4,
        "mixed3a": 8,
        "mixed3b": 8,
        "mixed4a": 16,
        "mixed4b": 16,
        "mixed4c": 16,
    }
    x = (torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)) - 0.5) * 4
    with torch.no_grad():
        activations = create_feature_extractor(network, list(strides))(x)
    for name, stride in strides.items():
        a = activations[name]
        assert a.shape[2:] == (96 // stride, 128 // stride)
        assert (a >= 0).all()
        assert 0.02 < (a > 0).float().mean() < 0.98


def test_widths_shape_the_network():
    narrow = MixedWidths(4, 4, 6, 2, 4)
    widths = Widths(8, 8, 16, narrow, narrow, narrow, narrow, narrow)
    assert DreamNet(widths)(torch.zeros(1, 3, 32, 32)).shape == (1, narrow.out, 2, 2)
