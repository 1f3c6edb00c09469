"""A TensorFlow graph, written here field by field, becomes a weight file."""

import runpy
import struct
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.engine import networks
from pipeline.engine.assembly import random_state
from pipeline.engine.inception5h import BRANCHES
from pipeline.errors import WeightsError
from pipeline.weights import load_network

SCRIPT = Path(__file__).parents[2] / "scripts/convert_weights.py"
NAMES = {branch: name for name, branch in BRANCHES.items()}


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | float | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: bytes) -> bytes:
    return field(5, field(1, name) + field(2, value))


def const(name: str, values: np.ndarray, *, dtype: int = 1, way: str = "content") -> bytes:
    dims = b"".join(field(2, field(1, side)) for side in values.shape)
    data = values.astype("<f4").tobytes()
    content = {
        "content": field(4, data),
        "packed": field(5, data),
        "single": b"".join(field(5, float(v)) for v in values.flat),
        "repeated": field(5, float(values.flat[0])),
    }[way]
    tensor = field(1, dtype) + field(2, dims) + content
    return field(
        1,
        field(1, name) + field(2, "Const") + attribute("dtype", field(6, dtype))
        + attribute("value", field(8, tensor)),
    )  # fmt: skip


def lrn(name: str, **settings: int | float) -> bytes:
    values = b"".join(
        attribute(key, field(3 if isinstance(value, int) else 4, value))
        for key, value in settings.items()
    )
    node = field(1, name) + field(2, "LRN") + field(3, "before") + values
    return field(1, node + field(99, b"of another version"))


@cache
def graph() -> tuple[bytes, dict[str, torch.Tensor]]:
    """A whole Inception5h as TensorFlow would have it, and its weights by their own names."""
    state = random_state(networks.spec("inception5h"))
    first = state["conv2d0.conv.weight"]
    first[:, :, 0], first[:, :, :, 0] = 0, 0  # the row and column that TensorFlow does not have
    nodes = [
        lrn("localresponsenorm0", depth_radius=5, bias=1.0, alpha=2e-4, beta=0.5),
        lrn("localresponsenorm1", alpha=3e-4),
        const("softmax0_w", np.ones((4, 2))),
        const("avgpool0/reshape/shape", np.ones(2), dtype=3),
        field(1, field(1, "input") + field(2, "Placeholder")),
        field(4, field(1, 26)),
    ]
    for key, tensor in state.items():
        parts = key.split(".")
        layer, kind = parts[0], parts[-1][0]
        if layer.startswith("mixed"):
            layer = f"{layer}_{NAMES[parts[1]]}"
        values = tensor.numpy()
        if key == "conv2d0.conv.weight":
            values = values[:, :, 1:, 1:]
        if values.ndim == 4:
            values = values.transpose(2, 3, 1, 0)
        elif kind == "w":
            layer, values = "softmax2", values.T
        elif layer.startswith("softmax2"):
            layer = "softmax2"
        way = {"conv2d0_b": "packed", "conv2d1_b": "single"}.get(f"{layer}_{kind}", "content")
        nodes.append(const(f"{layer}_{kind}", values, way=way))
    return b"".join(nodes), state


def test_a_graph_becomes_a_weight_file(script, tmp_path, monkeypatch, capsys):
    data, state = graph()
    source, target = tmp_path / "graph.pb", tmp_path / "inception5h.safetensors"
    source.write_bytes(data)
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", str(source), str(target)])
    assert script["main"]() == 0
    assert "MB" in capsys.readouterr().out
    network, _ = load_network("inception5h", target)
    settings = network.module.localresponsenorm0, network.module.localresponsenorm1
    assert [(round(n.scale, 7), n.bias, n.beta) for n in settings] == [
        (2e-4, 1.0, 0.5),
        (3e-4, 1.0, 0.5),  # what is left out has TensorFlow's default
    ]
    assert settings[0].band[:, 20].sum() == 11
    judge = networks.build("inception5h", state)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 117 / 255
    with torch.no_grad():
        a, b = (networks.truncate(n, ["conv2d0"])(picture)[0] for n in (network, judge))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    weights = network.module.state_dict()
    for key, tensor in judge.module.state_dict().items():
        assert torch.equal(weights[key], tensor), key


def test_one_value_may_stand_for_all(script):
    weights, _ = script["constants"](const("a_w", np.full((2, 3), 0.25), way="repeated"))
    assert np.array_equal(weights["a_w"], np.full((2, 3), 0.25, np.float32))


@pytest.mark.parametrize("content", [b"", b"not a graph at all", b"\x0a\xff\xff\xff\x7f12", None])
def test_what_is_no_graph_is_refused_in_one_line(script, tmp_path, content):
    path = tmp_path / "graph.pb"
    path.write_bytes(graph()[0][:-1000] if content is None else content)
    with pytest.raises(WeightsError) as caught:
        script["convert"](path, tmp_path / "out.safetensors")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_file_that_is_not_there(script, tmp_path):
    with pytest.raises(WeightsError, match="not readable"):
        script["convert"](tmp_path / "none.pb", tmp_path / "out.safetensors")
