"""Inception5h: TensorFlow's padding, the graph's names, and the normalisation a file brings."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.engine import networks
from pipeline.engine.assembly import random_state
from pipeline.engine.inception5h import BRANCHES, WIDTHS, Inception5h, remap_keys
from pipeline.errors import WeightsError


def public_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the names of the public conversion."""
    names = {branch: name for name, branch in BRANCHES.items()}
    state = {}
    for key, tensor in random_state(networks.spec("inception5h"), seed=seed).items():
        parts = key.split(".")
        if parts[0].startswith("mixed"):
            key = f"{parts[0]}_{names[parts[1]]}_pre_relu_conv.{parts[-1]}"
        elif parts[0].startswith("conv"):
            key = f"{parts[0]}_pre_relu_conv.{parts[-1]}"
        state[key] = tensor
    first = "conv2d0_pre_relu_conv.weight"
    state[first] = state[first][:, :, 1:, 1:].clone()
    return state


def as_described(state, x, lrn=(4, 1.0, 1e-4 / 9, 0.5)):
    """The architecture as written down for TensorFlow, in plain functions; for even sizes."""

    def conv(x, name, stride=1, pad=0):
        x = F.pad(x, pad) if isinstance(pad, tuple) else x
        weight, bias = (state[f"{name}_pre_relu_conv.{kind}"] for kind in ("weight", "bias"))
        return F.conv2d(x, weight, bias, stride, 0 if isinstance(pad, tuple) else pad).relu()

    def pool(x):
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)

    def norm(x):
        radius, bias, alpha, beta = lrn
        squares = F.pad(x.square(), (0, 0, 0, 0, radius, radius))
        total = sum(squares[:, k : k + x.shape[1]] for k in range(2 * radius + 1))
        return x / (bias + alpha * total) ** beta

    def mixed(x, block):
        pooled = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 1)
        name = f"mixed{block}"
        return torch.cat(
            [
                conv(x, f"{name}_1x1"),
                conv(conv(x, f"{name}_3x3_bottleneck"), f"{name}_3x3", pad=1),
                conv(conv(x, f"{name}_5x5_bottleneck"), f"{name}_5x5", pad=2),
                conv(pooled, f"{name}_pool_reduce"),
            ],
            1,
        )

    found = {}
    x = norm(pool(conv(x, "conv2d0", 2, (2, 3, 2, 3))))
    found["conv2d2"] = x = conv(conv(x, "conv2d1"), "conv2d2", pad=1)
    x = pool(norm(x))
    for block in WIDTHS:
        found[f"mixed{block}"] = x = mixed(x, block)
        if block in ("3b", "4e"):
            x = pool(x)
    head = "softmax2_pre_activation_matmul"
    found[head] = F.linear(x.mean((2, 3)), state[f"{head}.weight"], state[f"{head}.bias"])
    return found


@pytest.mark.parametrize("size", [(64, 96), (66, 70), (63, 81)])
def test_it_is_the_architecture_as_described(size):
    state = public_state()
    picture = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    wanted = as_described(state, picture * 255 - 117)
    network = networks.build("inception5h", state)
    cut = networks.truncate(network, list(wanted))
    with torch.no_grad():
        found = cut(picture - torch.tensor(network.mean).view(1, 3, 1, 1))
    for node, activation in zip(wanted, found, strict=True):
        torch.testing.assert_close(activation, wanted[node], rtol=1e-3, atol=1e-3)


def test_the_normalisation_is_the_files():
    state = public_state()
    settings = (5.0, 2.0, 0.03, 0.75)
    for k in (0, 1):
        state[f"localresponsenorm{k}.lrn"] = torch.tensor(settings)
    picture = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    network = networks.build("inception5h", state)
    with torch.no_grad():
        (found,) = networks.truncate(network, ["mixed3a"])(picture - 117 / 255)
    wanted = as_described(state, picture * 255 - 117, lrn=(5, *settings[1:]))["mixed3a"]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    other = as_described(state, picture * 255 - 117)["mixed3a"]
    assert (wanted - other).abs().max() > 0.01 * other.abs().max()


def test_the_modules_own_names_are_kept_and_auxiliary_heads_left_out():
    own = Inception5h(classes=3).state_dict()
    assert remap_keys(own | {"softmax0_pre_activation_matmul.bias": torch.zeros(1)}).keys() == (
        own.keys()
    )


def test_unknown_tensors_are_named():
    with pytest.raises(WeightsError, match=r"not the weights of inception5h.*1 unknown \(extra\)"):
        networks.build("inception5h", public_state() | {"extra": torch.zeros(1)})
