"""The networks that dream: what is known about each, how it is built, and how it is cut.

A built network is a flat `torch.fx` graph made for one purpose, the gradient with respect to the
picture: evaluation mode, frozen, nothing in place, dropout and auxiliary heads gone, BatchNorm and
the input's normalisation folded into the convolutions. Layers go by torchvision's node names
(`inception4c`, `layer3.5.relu_2`, `features.22`); `layers.py` knows the names that people type.

The facts in `MODELS` need no torch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from pipeline.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor, fx

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class NetworkSpec:
    """What is known about a network before torch is imported.

    The network's own input is `(picture - mean) / std`, channels in `order`, for an RGB picture in
    [0, 1]; `mean` and `std` are given in RGB order whatever `order` is.

    Attributes:
        name: as in `dream.model`.
        default_layer: a layer that dreams well; a name of the layers table.
        mean: the picture that the network sees as zero.
        std: what the picture is divided by, after the mean is taken off.
        order: of the channels the first convolution reads.
        hub: torchvision's `Weights` enum member, or None where torchvision has no such network.
        file: name of the weight file: in the package, or in torch.hub's checkpoints directory.
        embedded: the file travels with the package.
        licence: of the weights.
        source: who made them.
        head: the classifier's module, whose output is the classes' logits; "" where there is none.
            Its size is the weight file's, networks trained on other classes are welcome.
        classes: how many the published classifier tells apart.
        imagenet: they are ImageNet's thousand, in the usual order.
        options: further arguments of torchvision's constructor.
        ignored: key prefixes of heads that a weight file may have and nothing here needs.
    """

    name: str
    default_layer: str
    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)
    order: Literal["RGB", "BGR"] = "RGB"
    hub: str | None = None
    file: str = ""
    embedded: bool = False
    licence: str = "BSD-3-Clause"
    source: str = "torchvision"
    head: str = "fc"
    classes: int = 1000
    imagenet: bool = True
    options: Mapping[str, bool] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


# torchvision's ports of Google's networks take a picture normalised by ImageNet's mean and std and
# rescale it to x * 2 - 1 inside `forward`; here that is simply their convention.
_HALF = (0.5, 0.5, 0.5)
_PORTED = {"aux_logits": False, "transform_input": False, "init_weights": False}

_SPECS = (
    NetworkSpec(
        "dreamnet",
        "mixed4c",
        mean=_HALF,
        std=(0.25, 0.25, 0.25),
        file="dreamnet.safetensors",
        embedded=True,
        head="",
        licence="MIT",
        source="this project",
    ),
    NetworkSpec(
        "bvlc_googlenet",
        "inception_4c",
        mean=(123 / 255, 117 / 255, 104 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
        order="BGR",
        file="bvlc_googlenet.pth",
        licence="unrestricted",
        source="BVLC (Caffe model zoo)",
    ),
    NetworkSpec(
        "inception5h",
        "mixed4c",
        mean=(117 / 255, 117 / 255, 117 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
        file="inception5h.pth",
        licence="Apache-2.0",
        source="Google (TensorFlow)",
        head="softmax2_pre_activation_matmul",
        classes=1008,
        imagenet=False,
    ),
    NetworkSpec(
        "googlenet",
        "inception4c",
        mean=_HALF,
        std=_HALF,
        hub="GoogLeNet_Weights.IMAGENET1K_V1",
        file="googlenet-1378be20.pth",
        options=_PORTED,
        ignored=("aux1.", "aux2."),
    ),
    NetworkSpec(
        "inception_v3",
        "Mixed_6a",
        mean=_HALF,
        std=_HALF,
        hub="Inception_V3_Weights.IMAGENET1K_V1",
        file="inception_v3_google-0cc3c7bd.pth",
        options=_PORTED,
        ignored=("AuxLogits.",),
    ),
    NetworkSpec(
        "vgg16",
        "relu4_3",
        hub="VGG16_Weights.IMAGENET1K_V1",
        file="vgg16-397923af.pth",
        head="classifier.6",
    ),
    NetworkSpec(
        "vgg19",
        "relu4_4",
        hub="VGG19_Weights.IMAGENET1K_V1",
        file="vgg19-dcbb9e9d.pth",
        head="classifier.6",
    ),
    NetworkSpec(
        "resnet50",
        "layer3",
        hub="ResNet50_Weights.IMAGENET1K_V1",
        file="resnet50-0676ba61.pth",
    ),
    NetworkSpec(
        "alexnet",
        "relu4",
        hub="AlexNet_Weights.IMAGENET1K_V1",
        file="alexnet-owt-7be5be79.pth",
        head="classifier.6",
    ),
    NetworkSpec(
        "squeezenet1_1",
        "fire8",
        hub="SqueezeNet1_1_Weights.IMAGENET1K_V1",
        file="squeezenet1_1-b8a52dc0.pth",
        head="classifier.1",
    ),
    NetworkSpec(
        "mobilenet_v3_large",
        "features.12",
        hub="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
        file="mobilenet_v3_large-8738ca79.pth",
        head="classifier.3",
    ),
)
MODELS: dict[str, NetworkSpec] = {facts.name: facts for facts in _SPECS}


@dataclass(frozen=True)
class Network:
    """A network ready to be dreamed with.

    Attributes:
        name: key in `MODELS`.
        module: maps `image - mean`, float32 [N, 3, H, W] with the image RGB in [0, 1], to the
            network's last output. Zero padding therefore means the mean picture, as in training.
        mean: see `module`.
        nodes: torchvision's node names in the order they are computed -> names in `module.graph`.
            A convolution and the BatchNorm folded into it are one node under both names.
        missing: modules of `module` for which the weight file had nothing.
    """

    name: str
    module: fx.GraphModule
    mean: Triple
    nodes: Mapping[str, str]
    missing: frozenset[str] = frozenset()


def spec(name: str) -> NetworkSpec:
    """Look a network up.

    Raises:
        ConfigError: there is none of that name.
    """
    if name in MODELS:
        return MODELS[name]
    close = get_close_matches(name, MODELS, 1)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    raise ConfigError(f'"{name}" is not a model. {hint}`dream models` lists all {len(MODELS)}.')


def build(name: str, state: Mapping[str, Tensor] | None, *, seed: int = 0) -> Network:
    """Make a network that is frozen, folded and on the CPU in float32.

    Args:
        name: key in `MODELS`.
        state: the weights, in any float dtype, with the keys of torchvision or of the network's
            known conversions. It may stop early (a file without the classifier): `truncate` then
            accepts the layers up to there. None: random ones.
        seed: of the random weights.

    Returns:
        The network. The tensors of `state` may be shared, and are never written to.

    Raises:
        ConfigError: unknown `name`.
        WeightsError: the weights are another network's, or have holes.
    """
    from pipeline.engine import assembly

    facts = spec(name)
    state = assembly.own_keys(
        facts, assembly.random_state(facts, seed=seed) if state is None else state
    )
    module, nodes = assembly.trace(assembly.architecture(facts, state))
    missing = assembly.load(module, state, name)
    assembly.fold_batchnorm(module, nodes)
    assembly.fold_input(module, facts.std, facts.order)
    return Network(name, _released(module.requires_grad_(False)), facts.mean, nodes, missing)


def skeleton(name: str) -> Network:
    """Make a network on torch's meta device: shapes without weights or arithmetic.

    Raises:
        ConfigError: unknown `name`.
    """
    from pipeline.engine import assembly

    facts = spec(name)
    module, nodes = assembly.trace(assembly.architecture(facts, {}).to("meta"))
    assembly.fold_batchnorm(module, nodes)
    return Network(name, module.requires_grad_(False), facts.mean, nodes)


def find_node(nodes: Iterable[str], name: str) -> str | None:
    """Find a node by its name or by the module whose output it is (`layer3`: its last node)."""
    found = None
    for node in nodes:
        if node == name:
            return node
        if node.startswith(f"{name}."):
            found = node
    return found


def truncate(network: Network, nodes: Sequence[str]) -> fx.GraphModule:
    """Cut a network after the deepest of the nodes asked for.

    Args:
        network: from `build`; it is left as it is.
        nodes: torchvision node names, or modules' (see `find_node`).

    Returns:
        A module of its own (no tensor is shared with `network`) that maps `image - mean`,
        [N, 3, H, W], to one activation per entry of `nodes`, as a tuple in that order, and holds
        nothing that they do not need.

    Raises:
        ConfigError: a node that the network does not have.
        WeightsError: the weights end before a node.
    """
    from torch import fx

    whole = network.module.graph
    by_name = {node.name: node for node in whole.nodes}
    wanted = []
    for name in nodes:
        found = find_node(network.nodes, name)
        if found is None:
            raise ConfigError(f'"{name}" is not a node of {network.name}')
        wanted.append(by_name[network.nodes[found]])

    needed = {node for node in whole.nodes if node.op == "placeholder"} | set(wanted)
    for node in reversed(whole.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    if lost := [str(n.target) for n in whole.nodes if n in needed and n.target in network.missing]:
        raise WeightsError(
            f'the weights given for {network.name} end before "{lost[0]}", which '
            f"{', '.join(nodes)} needs: choose an earlier layer or a complete file"
        )

    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in whole.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in wanted))
    return _released(copy.deepcopy(fx.GraphModule(network.module, graph, f"{network.name}_cut")))


def _released(module: fx.GraphModule) -> fx.GraphModule:
    """Let a finished network's weights go with the last that refers to it.

    Its graph refers back to it, for checks while it is edited: they would stay, together, until
    Python looks for such circles, which is seldom.
    """
    module.graph.owning_module = None
    return module
