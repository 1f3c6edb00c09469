"""A truncated network as a flat list of operations, run forward and backward."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from pipeline.engine import normalisations, operations
from pipeline.engine.blocks import LRN, DivisiveNorm
from pipeline.engine.convolutions import Kernel, PictureConv2d
from pipeline.engine.operations import Builders, Operation, UnsupportedError

ON_CPU = Builders(
    Kernel,
    operations.convolution,
    operations.relu,
    operations.max_pool,
    normalisations.response_norm,
    operations.siblings,
    operations.joined,
)


@dataclass(frozen=True)
class Step:
    """One operation, and the numbers of the values it reads and makes."""

    operation: Operation
    inputs: tuple[int, ...]
    results: tuple[int, ...]


class FlatNetwork:
    """A truncated network as a list of steps; value 0 is the picture.

    Args:
        module: from `networks.truncate`.
        builders: make the operations for the device that the module is on.

    Raises:
        UnsupportedError: an operation has no place in the list.
    """

    def __init__(self, module: fx.GraphModule, builders: Builders = ON_CPU) -> None:
        self._steps: list[Step] = []
        self._asked: tuple[int, ...] = ()
        numbers: dict[object, int] = {}
        done: set[object] = set()

        def number(nodes: Sequence[object]) -> tuple[int, ...]:
            return tuple(numbers.setdefault(node, len(numbers)) for node in nodes)

        for node in module.graph.nodes:
            if node.op == "placeholder":
                number([node])
            elif node.op == "output":
                self._asked = number(node.args[0])
            elif node not in done:
                chain, inputs = _chain(node, module), node.all_input_nodes
                siblings = _siblings(node, module)
                joined = _joined(node, module)
                results: Sequence[object]
                if len(siblings) > 1:
                    layers = [cast("nn.Conv2d", _layer(each[0], module)) for each in siblings]
                    operation, results = builders.siblings(layers), [each[1] for each in siblings]
                    chain = [link for each in siblings for link in each]
                elif builders.joined and joined and joined[0] in numbers:
                    other, chain = joined
                    layer = cast("nn.Conv2d", _layer(node, module))
                    operation, results = builders.joined(layer), [chain[-1]]
                    inputs = [*inputs, other]
                else:
                    operation, results = _operation(chain, module, builders)
                self._steps.append(Step(operation, number(inputs), number(results)))
                done.update(chain, results)
        self._count = len(numbers)
        last = {value: k for k, step in enumerate(self._steps) for value in step.inputs}
        self._spent = [
            [v for v in step.inputs if last[v] == k and v not in self._asked]
            for k, step in enumerate(self._steps)
        ]

    def forward(self, picture: Tensor) -> tuple[list[Tensor], list[Any]]:
        """Compute the activations asked for.

        Args:
            picture: float32 [N, 3, H, W] minus the mean, channels_last.

        Returns:
            The activations in the order asked, and what `backward` needs.
        """
        values: list[Tensor | None] = [picture] + [None] * (self._count - 1)
        tape = []
        for step, spent in zip(self._steps, self._spent, strict=True):
            inputs = [x for i in step.inputs if (x := values[i]) is not None]
            results, saved = step.operation.forward(*inputs)
            tape.append(saved)
            for i, result in zip(step.results, results, strict=True):
                values[i] = result
            for i in spent:
                values[i] = None
        return [x for i in self._asked if (x := values[i]) is not None], tape

    def backward(self, tape: list[Any], seeds: Sequence[Tensor]) -> Tensor:
        """Pull gradients at the activations asked for back to the picture.

        Args:
            tape: from `forward`; used up.
            seeds: one per activation.

        Returns:
            The gradient, [N, 3, H, W], in float32 or the network's precision.
        """
        gradients: list[Tensor | None] = [None] * self._count
        for i, seed in zip(self._asked, seeds, strict=True):
            there = gradients[i]
            gradients[i] = seed if there is None else there + seed
        for step in reversed(self._steps):
            saved = tape.pop()
            here = [gradients[i] for i in step.results]
            if all(g is None for g in here):
                continue
            for i in step.results:
                gradients[i] = None
            arrived = [gradients[i] for i in step.inputs]
            shares = step.operation.backward(here, saved, arrived)
            for i, share in zip(step.inputs, shares, strict=True):
                gradients[i] = share
        assert gradients[0] is not None  # for mypy: every activation depends on the picture
        return gradients[0]


def _chain(node: fx.Node, module: fx.GraphModule) -> list[fx.Node]:
    """Return a node and those behind it that are done with it: convolution, ReLU, pooling."""
    chain = [node]
    for first, second in pairwise((nn.Conv2d, nn.ReLU, nn.MaxPool2d)):
        (reader, *others) = chain[-1].users
        if others or not isinstance(_layer(chain[-1], module), first):
            break
        if not isinstance(_layer(reader, module), second):
            break
        chain.append(reader)
    return chain


def _joined(node: fx.Node, module: fx.GraphModule) -> tuple[fx.Node, list[fx.Node]] | None:
    """Return what is added to a convolution's result, if a ReLU follows, and the three of them."""
    if not isinstance(_layer(node, module), nn.Conv2d) or len(node.users) != 1:
        return None
    (sum_,) = node.users
    if sum_.target is not operator.add or len(sum_.users) != 1:
        return None
    others = [other for other in sum_.all_input_nodes if other is not node]
    (reader,) = sum_.users
    if len(others) != 1 or not isinstance(_layer(reader, module), nn.ReLU):
        return None
    return others[0], [node, sum_, reader]


def _siblings(node: fx.Node, module: fx.GraphModule) -> list[list[fx.Node]]:
    """Return the chains of all 1x1 convolutions that read what this one reads, if it is one."""
    readers = [reader for reader in node.all_input_nodes[0].users if reader.op != "output"]
    chains = [_chain(reader, module) for reader in readers]
    alike = [chain for chain in chains if len(chain) == 2 and _is_pointwise(chain[0], module)]
    return alike if any(chain[0] is node for chain in alike) else []


def _is_pointwise(node: fx.Node, module: fx.GraphModule) -> bool:
    layer = _layer(node, module)
    if not isinstance(layer, nn.Conv2d) or isinstance(layer, PictureConv2d):
        return False
    plain = layer.groups == 1 and layer.padding == (0, 0)
    return plain and (*layer.kernel_size, *layer.stride) == (1, 1, 1, 1)


def _operation(
    chain: Sequence[fx.Node], module: fx.GraphModule, builders: Builders
) -> tuple[Operation, Sequence[object]]:
    """Translate a chain of nodes; also name the values that it makes, by the nodes they are."""
    node, *behind = chain
    layer = _layer(node, module)
    if isinstance(layer, nn.Conv2d):
        pool = cast("nn.MaxPool2d", _layer(behind[1], module)) if len(behind) == 2 else None
        return builders.convolution(layer, relu=bool(behind), pool=pool), [chain[-1]]
    match layer:
        case nn.ReLU():
            return builders.relu(layer), [node]
        case nn.MaxPool2d():
            return builders.max_pool(layer), [node]
        case LRN():
            return builders.response_norm(layer), [node]
        case DivisiveNorm():
            return normalisations.divisive_norm(layer, builders.kernel), [node]
        case nn.AvgPool2d():
            return operations.avg_pool(layer), [node]
    inputs = node.all_input_nodes
    if node.target is torch.cat and 1 in (*node.args[1:], node.kwargs.get("dim")):
        return operations.cat(), [node]
    if node.target is operator.add and len(inputs) == 2:
        return operations.add(), [node]
    if node.op == "call_method" and node.target == "split" and node.args[2:] == (1,):
        sizes = cast("tuple[int, ...]", node.args[1])
        parts = {reader.args[1]: reader for reader in node.users}
        return operations.split(sizes), [parts.get(k, (node, k)) for k in range(len(sizes))]
    raise UnsupportedError(f"{node.target}")


def _layer(node: fx.Node, module: fx.GraphModule) -> nn.Module | None:
    """Return the layer that a node applies, as a module even if it was called as a function."""
    if node.op == "call_module":
        return module.get_submodule(str(node.target))
    make = _FUNCTIONS.get(node.target)
    return make(*node.args[1:], **node.kwargs) if make else None


_FUNCTIONS: dict[Any, Callable[..., nn.Module]] = {
    F.relu: nn.ReLU,
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
}
