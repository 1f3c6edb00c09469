"""The layers one can dream at, and the names people know them by.

Read from a table that `scripts/make_layer_table.py` measures on the networks themselves, so that
`dream layers` and the check of a config need no torch. The table has two parts per network: the
layers people dream at, with the names that Caffe, Keras, Lucid and PyTorch gave them, and every
other node of the network under torchvision's name.
"""

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.engine.networks import find_node, spec
from pipeline.errors import ConfigError

TABLE = Path(__file__).with_name("layers.json")


@dataclass(frozen=True)
class Layer:
    """A place in a network where a dream can be climbed.

    Attributes:
        name: the name shown.
        node: torchvision's node name, or the module whose output the layer is.
        aliases: other names it is known by.
        channels: of its activation.
        stride: pixels of the picture per pixel of the activation; None where the activation sees
            the whole picture (behind global pooling).
        smallest: the smallest side of a picture, pixels, for which it can be computed.
    """

    name: str
    node: str
    aliases: tuple[str, ...]
    channels: int
    stride: int | None
    smallest: int


def layers(model: str) -> tuple[Layer, ...]:
    """List the layers people dream at, from the picture inwards.

    Raises:
        ConfigError: unknown `model`.
    """
    return tuple(
        Layer(name, node, tuple(aliases), channels, stride, smallest)
        for name, node, aliases, channels, stride, smallest in _table(model)["layers"]
    )


def main_layers(model: str) -> tuple[str, ...]:
    """Name the layers worth comparing: those that end a block or a stage of the network.

    Left out are poolings and normalisations, the branches inside a block, and convolutions whose
    ReLU is a layer too.

    Raises:
        ConfigError: unknown `model`.
    """
    names = [layer.name for layer in layers(model)]

    def inside_block(name: str) -> bool:
        starts = (name[: match.start()] for match in re.finditer(r"[._](?!\d+$)", name))
        return any(start in names for start in starts)

    return tuple(
        name
        for name in names
        if not re.search("pool|norm", name)
        and not inside_block(name)
        and not (name.startswith("conv") and name.replace("conv", "relu", 1) in names)
    )


def resolve(model: str, name: str) -> Layer:
    """Find a layer by its name, an alias, or any of torchvision's node names.

    Raises:
        ConfigError: unknown `model`, or no such layer.
    """
    known = layers(model)
    for layer in known:
        if name in (layer.name, layer.node, *layer.aliases):
            return layer
    nodes = {node: Layer(node, node, (), *facts) for node, *facts in _table(model)["nodes"]}
    node = find_node(nodes, name)
    if node is not None:
        return nodes[node]
    names = [each for layer in known for each in (layer.name, *layer.aliases)]
    close = get_close_matches(name, [*names, *nodes], 1)
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    raise ConfigError(
        f'"{name}" is not a layer of {model}. {hint}`dream layers {model}` lists all {len(known)}.'
    )


def _table(model: str) -> dict[str, list[list[Any]]]:
    spec(model)
    table: dict[str, list[list[Any]]] = _tables()[model]
    return table


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return tables
