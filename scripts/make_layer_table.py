"""Write pipeline/engine/layers.json: every network's layers, their names, and what they measure.

    python scripts/make_layer_table.py

Run it after a network or a name changes; a test fails until then. Channels, strides and smallest
pictures are not written down by anyone: they come from running the networks on torch's meta device.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from pipeline.engine import layers, networks

# A layer as people know it: the name shown, torchvision's node or module, other names.
Names = Iterator[tuple[str, str, list[str]]]

# An inception block: Caffe's name of a convolution, Lucid's, the branch in either module.
_BRANCHES = (
    ("1x1", "1x1", "branch1", "b1"),
    ("3x3_reduce", "3x3_bottleneck", "branch2.0", "b3r"),
    ("3x3", "3x3", "branch2.1", "b3"),
    ("5x5_reduce", "5x5_bottleneck", "branch3.0", "b5r"),
    ("5x5", "5x5", "branch3.1", "b5"),
    ("pool", "pool", "branch4.0", "pool"),
    ("pool_proj", "pool_reduce", "branch4.1", "pp"),
)
_BLOCKS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")


def googlenet() -> Names:
    """Torchvision's GoogLeNet; Caffe's and Lucid's names as aliases."""
    yield "conv1", "conv1", ["conv1_7x7_s2", "conv1/7x7_s2", "conv2d0"]
    yield "maxpool1", "maxpool1", ["pool1", "pool1/3x3_s2", "maxpool0"]
    yield "conv2", "conv2", ["conv2_3x3_reduce", "conv2/3x3_reduce", "conv2d1"]
    yield "conv3", "conv3", ["conv2_3x3", "conv2/3x3", "conv2d2"]
    yield "maxpool2", "maxpool2", ["pool2", "pool2/3x3_s2"]
    for block in _BLOCKS:
        for caffe, lucid, branch, _ in _BRANCHES:
            aliases = [f"inception_{block}_{caffe}", f"inception_{block}/{caffe}"]
            node = f"inception{block}.{branch}"
            yield f"inception{block}_{caffe}", node, [*aliases, f"mixed{block}_{lucid}"]
        aliases = [f"inception_{block}", f"inception_{block}/output", f"mixed{block}", block]
        yield f"inception{block}", f"inception{block}", aliases
        if block in ("3b", "4e"):
            pool = int(block[0])
            yield f"maxpool{pool}", f"maxpool{pool}", [f"pool{pool}", f"pool{pool}/3x3_s2"]


def bvlc_googlenet() -> Names:
    """The original, whose names are Caffe's."""
    yield "conv1", "conv1", ["conv1_7x7_s2", "conv1/7x7_s2", "conv2d0"]
    yield "pool1", "pool1", ["pool1/3x3_s2", "maxpool1", "maxpool0"]
    yield "norm1", "norm1", ["pool1/norm1", "localresponsenorm0"]
    yield "conv2r", "conv2r", ["conv2_3x3_reduce", "conv2/3x3_reduce", "conv2d1"]
    yield "conv2", "conv2", ["conv2_3x3", "conv2/3x3", "conv2d2"]
    yield "norm2", "norm2", ["conv2/norm2", "localresponsenorm1"]
    yield "pool2", "pool2", ["pool2/3x3_s2", "maxpool2"]
    for block in _BLOCKS:
        for caffe, lucid, _, branch in _BRANCHES:
            aliases = [f"inception_{block}/{caffe}", f"inception{block}_{caffe}"]
            node = f"inception_{block}.{branch}"
            yield f"inception_{block}_{caffe}", node, [*aliases, f"mixed{block}_{lucid}"]
        aliases = [f"inception_{block}/output", f"inception{block}", f"mixed{block}", block]
        yield f"inception_{block}", f"inception_{block}", aliases
        if block in ("3b", "4e"):
            pool = int(block[0])
            yield f"pool{pool}", f"pool{pool}", [f"pool{pool}/3x3_s2", f"maxpool{pool}"]


def inception5h() -> Names:
    """Google's graph, whose names are Lucid's; `_pre_relu` is a convolution without its ReLU."""
    yield "conv2d0", "conv2d0", ["conv1"]
    yield "maxpool0", "maxpool0", ["pool1"]
    yield "localresponsenorm0", "localresponsenorm0", ["norm1"]
    yield "conv2d1", "conv2d1", ["conv2r"]
    yield "conv2d2", "conv2d2", ["conv2"]
    yield "localresponsenorm1", "localresponsenorm1", ["norm2"]
    yield "maxpool1", "maxpool1", ["pool2"]
    for block in _BLOCKS:
        for _, lucid, _, branch in _BRANCHES:
            node = f"mixed{block}.{branch}"
            if branch != "pool":
                yield f"mixed{block}_{lucid}_pre_relu", f"{node}.conv", []
            yield f"mixed{block}_{lucid}", node, []
        aliases = [f"inception_{block}", f"inception_{block}/output", f"inception{block}", block]
        yield f"mixed{block}", f"mixed{block}", aliases
        if block in ("3b", "4e"):
            pool = {"3b": "maxpool4", "4e": "maxpool10"}[block]
            yield pool, pool, [f"pool{block[0]}"]


def dreamnet() -> Names:
    """The embedded network."""
    for name in ("conv1", "pool1", "norm1", "conv2r", "conv2", "pool2"):
        yield name, name, []
    for block in ("3a", "3b", "4a", "4b", "4c"):
        for branch in ("reduce", "b3", "b5"):
            yield f"mixed{block}.{branch}", f"mixed{block}.{branch}", [f"mixed{block}_{branch}"]
        yield f"mixed{block}", f"mixed{block}", [f"inception{block}", f"inception_{block}", block]
        if block == "3b":
            yield "pool3", "pool3", []


def inception_v3() -> Names:
    """Torchvision's InceptionV3; Keras counts its blocks."""
    for name in ("1a_3x3", "2a_3x3", "2b_3x3"):
        yield f"Conv2d_{name}", f"Conv2d_{name}", []
    yield "maxpool1", "maxpool1", ["MaxPool_3a_3x3"]
    for name in ("3b_1x1", "4a_3x3"):
        yield f"Conv2d_{name}", f"Conv2d_{name}", []
    yield "maxpool2", "maxpool2", ["MaxPool_5a_3x3"]
    for k, block in enumerate(("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")):
        yield f"Mixed_{block}", f"Mixed_{block}", [f"mixed{k}", f"mixed{block}", block]


def vgg(*convolutions: int) -> Names:
    """A VGG with so many convolutions before each pooling; `features` counts every layer."""
    index = 0
    for block, count in enumerate(convolutions, 1):
        for k in range(1, count + 1):
            yield f"conv{block}_{k}", f"features.{index}", [str(index)]
            # Keras's convolutions have their ReLU inside.
            aliases = [f"block{block}_conv{k}", str(index + 1)]
            yield f"relu{block}_{k}", f"features.{index + 1}", aliases
            index += 2
        yield f"pool{block}", f"features.{index}", [f"block{block}_pool", str(index)]
        index += 1


def resnet50() -> Names:
    """Torchvision's ResNet50; Keras counts the stem as block 1 and the units from 1."""
    yield "relu", "relu", ["conv1_relu"]
    yield "maxpool", "maxpool", ["pool1_pool"]
    for stage, units in enumerate((3, 4, 6, 3), 1):
        for unit in range(units - 1):
            name = f"layer{stage}.{unit}"
            yield name, name, [f"conv{stage + 1}_block{unit + 1}_out"]
        last = [f"layer{stage}.{units - 1}", f"conv{stage + 1}_block{units}_out"]
        yield f"layer{stage}", f"layer{stage}", last


def alexnet() -> Names:
    """Torchvision's AlexNet."""
    kinds = "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5"
    for index, name in enumerate(kinds.split()):
        yield name, f"features.{index}", [str(index)]


def squeezenet1_1() -> Names:
    """Torchvision's SqueezeNet 1.1; Caffe's names."""
    yield "conv1", "features.0", []
    yield "relu1", "features.1", ["relu_conv1"]
    yield "pool1", "features.2", []
    for fire, index in enumerate((3, 4, 6, 7, 9, 10, 11, 12), 2):
        node = f"features.{index}"
        for branch in ("squeeze", "expand1x1", "expand3x3"):
            caffe = f"fire{fire}/relu_{branch}" + ("1x1" if branch == "squeeze" else "")
            yield f"fire{fire}_{branch}", f"{node}.{branch}_activation", [caffe]
        yield f"fire{fire}", node, [f"fire{fire}/concat", str(index)]
        if index in (4, 7):
            yield f"pool{fire}", f"features.{index + 1}", [str(index + 1)]
    yield "relu10", "classifier.2", ["relu_conv10"]


def mobilenet_v3_large() -> Names:
    """Torchvision's MobileNetV3, which has no other names."""
    for index in range(17):
        yield f"features.{index}", f"features.{index}", [str(index)]


NAMES = {
    "dreamnet": dreamnet,
    "bvlc_googlenet": bvlc_googlenet,
    "inception5h": inception5h,
    "googlenet": googlenet,
    "inception_v3": inception_v3,
    "vgg16": lambda: vgg(2, 2, 3, 3, 3),
    "vgg19": lambda: vgg(2, 2, 4, 4, 4),
    "resnet50": resnet50,
    "alexnet": alexnet,
    "squeezenet1_1": squeezenet1_1,
    "mobilenet_v3_large": mobilenet_v3_large,
}


def shapes(module: fx.GraphModule, side: int) -> dict[str, torch.Size]:
    """Shapes of the activations that a square picture of that side reaches, by graph name."""
    values: dict[fx.Node, Any] = {}
    run = fx.Interpreter(module)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = torch.empty(1, 3, side, side, device="meta")
        elif node.op != "output" and all(before in values for before in node.all_input_nodes):
            run.env = values
            try:
                values[node] = run.run_node(node)
            except (RuntimeError, ValueError):  # too small for this layer
                continue
    tensors = {node.name: value for node, value in values.items() if isinstance(value, Tensor)}
    return {name: tensor.shape for name, tensor in tensors.items() if tensor.numel()}


def measure(module: fx.GraphModule) -> dict[str, tuple[int, int | None, int]]:
    """Channels, stride and smallest picture of every activation, by name in the graph."""
    small, large = shapes(module, 512), shapes(module, 1024)
    smallest: dict[str, int] = {}
    side = 0
    while len(smallest) < len(large):
        side += 1
        for name in shapes(module, side).keys() - smallest.keys():
            smallest[name] = side
    facts = {}
    for name, shape in large.items():
        grown = math.prod(shape[2:]) ** 0.5 - math.prod(small[name][2:]) ** 0.5
        facts[name] = shape[1], round(512 / grown) if grown else None, smallest[name]
    return facts


def table(model: str) -> dict[str, list[list[Any]]]:
    """One network's part of the file."""
    network = networks.skeleton(model)
    facts = measure(network.module)

    def row(node: str) -> list[Any]:
        name = networks.find_node(network.nodes, node)
        if name is None:
            raise ValueError(f"{model} has no node {node}")
        return list(facts[network.nodes[name]])

    return {
        "layers": [[name, node, also, *row(node)] for name, node, also in NAMES[model]()],
        "nodes": [[node, *row(node)] for node, name in network.nodes.items() if name in facts],
    }


def text() -> str:
    """The whole file: JSON with one layer per line, so that a change shows as one."""
    models = []
    for model in networks.MODELS:
        parts = []
        for part, rows in table(model).items():
            lines = ",\n".join(f"   {json.dumps(row)}" for row in rows)
            parts.append(f'  "{part}": [\n{lines}\n  ]')
        models.append(f' "{model}": {{\n' + ",\n".join(parts) + "\n }")
    return "{\n" + ",\n".join(models) + "\n}\n"


if __name__ == "__main__":
    layers.TABLE.write_text(text(), encoding="utf-8")
