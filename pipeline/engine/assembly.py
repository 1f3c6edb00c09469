"""How a network is made: the bare architecture, flattened, loaded, everything constant folded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import dropwhile
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pipeline.engine import bvlc_googlenet, inception5h
from pipeline.engine.blocks import LRN, BinMeans, DivisiveNorm
from pipeline.engine.bvlc_googlenet import BvlcGoogLeNet
from pipeline.engine.dreamnet import DreamNet
from pipeline.engine.inception5h import LRN_SETTINGS, Inception5h
from pipeline.errors import WeightsError

if TYPE_CHECKING:
    from pipeline.engine.networks import NetworkSpec

# Torchvision has no such networks.
_OWN: dict[str, Callable[[int, Mapping[str, Tensor]], nn.Module]] = {
    "dreamnet": lambda *_: DreamNet(),
    "bvlc_googlenet": lambda classes, _: BvlcGoogLeNet(classes),
    "inception5h": lambda classes, state: Inception5h(classes, lrn=inception5h.lrn_settings(state)),
}
_KEYS = {
    "bvlc_googlenet": bvlc_googlenet.remap_keys,
    "inception5h": inception5h.remap_keys,
}
_COUNTER = "num_batches_tracked"  # BatchNorm's, of no use to a frozen network


def architecture(facts: NetworkSpec, state: Mapping[str, Tensor]) -> nn.Module:
    """Make the bare network, of as many classes as the weights have; its own are worth nothing."""
    head = state.get(f"{facts.head}.weight")
    classes = facts.classes if head is None else int(head.shape[0])
    if facts.name in _OWN:
        # Not on the meta device, which would lose LRN's constant; they are small.
        with torch.random.fork_rng(devices=[]):
            return _OWN[facts.name](classes, state).eval()

    from torchvision.models import get_model  # a second to import, and our own need none of it

    # No time and no random numbers for initial values, 140 million of them in a VGG.
    with torch.device("meta"):
        network = get_model(facts.name, weights=None, num_classes=classes, **facts.options)
        return cast("nn.Module", network).eval()


def random_state(
    facts: NetworkSpec, *, seed: int = 0, classifier: bool = True
) -> dict[str, Tensor]:
    """Draw weights for tests and for measuring speed, which does not depend on them.

    Weights follow He et al. 2015, so that activations keep their size through the layers; biases
    and BatchNorm's statistics are random too. The global random state is neither read nor written.

    Args:
        facts: of the network.
        seed: of the weights.
        classifier: draw its weights as well, which may be most of a network's.
    """
    rng = torch.Generator().manual_seed(seed)
    state = {}
    head = f"{facts.head.partition('.')[0]}."
    for key, like in architecture(facts, {}).state_dict().items():
        if not classifier and key.startswith(head):
            continue
        tensor = torch.empty(like.shape)
        if key.endswith("gamma"):  # of a divisive normalisation: not negative
            tensor.uniform_(0, 1 / len(tensor), generator=rng)
        elif like.dim() >= 2:
            tensor.normal_(0, (2 / like[0].numel()) ** 0.5, generator=rng)
        elif key.endswith(("weight", "running_var")):
            tensor.uniform_(0.5, 1.5, generator=rng)
        else:
            tensor.normal_(0, 0.1, generator=rng)
        state[key] = tensor
    # The network's input is of size 1 or 100, as `std` says; a picture's own deviation is .25.
    state[next(iter(state))] *= sum(facts.std) / 3 / 0.25
    return state


def own_keys(facts: NetworkSpec, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring a weight file's keys to the module's, without what is not needed."""
    if facts.name in _KEYS:
        return _KEYS[facts.name](state)
    return {
        key: tensor
        for key, tensor in state.items()
        if not key.startswith(facts.ignored) and not key.endswith(_COUNTER)
    }


def trace(network: nn.Module) -> tuple[fx.GraphModule, dict[str, str]]:
    """Flatten a network, with nothing in place and without dropout.

    Returns:
        The flat module, and torchvision's node names -> names in its graph, in the order of
        computation.
    """
    module = fx.GraphModule(network, _Tracer().trace(network)).eval()
    nodes = node_names(module.graph)
    for node in module.graph.nodes:
        if "inplace" in node.kwargs:
            node.update_kwarg("inplace", False)
        if node.op == "call_module":
            layer = module.get_submodule(node.target)
            if hasattr(layer, "inplace"):
                vars(layer)["inplace"] = False
            if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size not in (1, (1, 1)):
                bins = cast("tuple[int, int]", layer.output_size)
                module.set_submodule(node.target, BinMeans(bins).eval())
            if isinstance(layer, nn.Dropout | nn.Identity):
                _remove(node, nodes)
    module.recompile()
    module.delete_all_unused_submodules()
    return module, nodes


class _Tracer(fx.Tracer):
    """Takes normalisations of our own for one layer each."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Tell whether a module is not looked into."""
        return isinstance(module, LRN | DivisiveNorm) or super().is_leaf_module(module, name)


def node_names(graph: fx.Graph) -> dict[str, str]:
    """Name the nodes of a traced network as torchvision's feature extraction does.

    A layer has its path, a function that of the module that calls it and its own name; whatever
    comes several times is numbered.

    Returns:
        The names -> the nodes' own, in the order of computation.
    """
    names: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        name = str(node.target)
        if node.op != "call_module":
            inside = [path for path, _ in node.meta.get("nn_module_stack", {}).values() if path]
            name = ".".join([*inside[-1:], node.name])
        name = re.sub(r"_[0-9]+$", "", name)
        names[f"{name}_{seen[name]}" if seen[name] else name] = node.name
        seen[name] += 1
    return names


def load(module: fx.GraphModule, state: Mapping[str, Tensor], name: str) -> frozenset[str]:
    """Put weights into a flat module.

    Args:
        module: from `trace`.
        state: with the module's keys. It may end early, between two layers, and nowhere else.
        name: of the network, for the message.

    Returns:
        The modules at the end for which there were no weights; they are moved to the meta device.

    Raises:
        WeightsError: tensors are missing, unknown, or of another shape; the message names some.
    """
    # What the architecture was made with is no weight.
    state = {key: tensor for key, tensor in state.items() if not key.endswith(LRN_SETTINGS)}
    expected = {
        key: tensor.shape
        for key, tensor in module.state_dict().items()
        if not key.endswith(_COUNTER)
    }
    absent = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    misshapen = [
        f"{key} is {tuple(tensor.shape)}, not {tuple(expected[key])}"
        for key, tensor in state.items()
        if key in expected and tensor.shape != expected[key]
    ]
    missing = _cut_off(module, absent)
    if unknown or misshapen or (absent and missing is None):
        faults = (("missing", absent), ("unknown", unknown), ("misshapen", misshapen))
        found = "; ".join(f"{len(keys)} {what} ({_some(keys)})" for what, keys in faults if keys)
        raise WeightsError(f"these are not the weights of {name}: tensors {found}")
    module.load_state_dict({k: t.float() for k, t in state.items()}, strict=False, assign=True)
    for target in missing or ():
        module.get_submodule(target).to("meta")
    return frozenset(missing or ())


def fold_batchnorm(module: fx.GraphModule, nodes: dict[str, str]) -> None:
    """Merge every BatchNorm, whose statistics are constants here, into the convolution before it.

    Args:
        module: from `trace`; changed.
        nodes: from `trace`; the BatchNorm's names come to mean the convolution.
    """
    for node in module.graph.nodes:
        norm = module.get_submodule(node.target) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        before = node.all_input_nodes[0]
        conv = module.get_submodule(before.target)
        if not isinstance(conv, nn.Conv2d) or len(before.users) != 1:
            raise NotImplementedError(f"{node.target} does not follow a convolution of its own")
        assert norm.running_mean is not None  # for mypy: a network in evaluation mode has both
        assert norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        _remove(node, nodes)
    module.recompile()
    module.delete_all_unused_submodules()


def fold_input(module: fx.GraphModule, std: Sequence[float], order: str) -> None:
    """Make the first convolution read `picture - mean` in RGB.

    The mean stays outside: folded into the bias it would turn zero padding into black.

    Args:
        module: whose first convolution reads `(picture - mean) / std`; changed.
        std: one per channel, in RGB order.
        order: of the channels that the first convolution reads, "RGB" or "BGR".
    """
    picture = next(node for node in module.graph.nodes if node.op == "placeholder")
    (first,) = picture.users
    conv = module.get_submodule(first.target)
    assert isinstance(conv, nn.Conv2d)  # for mypy
    weight = conv.weight.flip(1) if order == "BGR" else conv.weight
    conv.weight = nn.Parameter(weight / torch.tensor(std).view(1, 3, 1, 1))


def _remove(node: fx.Node, nodes: dict[str, str]) -> None:
    """Take a node out of its graph; its names now mean its input."""
    before = node.all_input_nodes[0]
    node.replace_all_uses_with(before)
    node.graph.erase_node(node)
    for name in [name for name, target in nodes.items() if target == node.name]:
        nodes[name] = before.name


def _cut_off(module: fx.GraphModule, absent: Collection[str]) -> list[str] | None:
    """List the layers behind the end of a weight file; None if it does not simply end."""
    keys = {
        node.target: [
            f"{node.target}.{key}" for key in module.get_submodule(node.target).state_dict()
        ]
        for node in module.graph.nodes
        if node.op == "call_module"
    }
    keys = {layer: [k for k in own if not k.endswith(_COUNTER)] for layer, own in keys.items()}
    layers = [layer for layer, own in keys.items() if own]
    behind = list(dropwhile(lambda layer: not any(k in absent for k in keys[layer]), layers))
    torn = any(key not in absent for layer in behind for key in keys[layer])
    if torn or len(behind) == len(layers):
        return None
    # A convolution without its BatchNorm is no layer.
    split = behind and isinstance(module.get_submodule(behind[0]), nn.BatchNorm2d)
    return None if split else behind


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
