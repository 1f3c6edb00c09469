"""Convert the frozen TensorFlow graph of Inception5h to a weight file.

    python scripts/convert_weights.py tensorflow_inception_graph.pb inception5h.safetensors

The graph is a protocol buffer; the few messages that hold weights are read here, so that TensorFlow
is not needed, and nothing in the file is run. Weights get the names of the public PyTorch
conversion; each normalisation's settings go beside them as NAME.lrn.
"""

import argparse
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from pipeline.engine.inception5h import HEAD, LRN_SETTINGS
from pipeline.engine.networks import build
from pipeline.errors import PipelineError, WeightsError
from pipeline.terminal import escape_what_cannot_be_shown

Field = tuple[int, int | bytes]  # its number, and what it holds

# Wire types: https://protobuf.dev/programming-guides/encoding
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DT_FLOAT = 1
# TensorFlow leaves out what has its default (tensorflow/core/ops/nn_ops.cc).
_LRN_DEFAULTS = {"depth_radius": 5.0, "bias": 1.0, "alpha": 1.0, "beta": 0.5}
_AUXILIARY = ("softmax0", "softmax1", "head0", "head1", "nn0", "nn1")


def fields(message: bytes) -> Iterator[Field]:
    """Read the fields of a message: varints as int, everything else as its bytes.

    Raises:
        ValueError: the message is torn, or is none.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(message):
            raise ValueError("it ends within a field")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("it ends within a number")


def constants(graph: bytes) -> tuple[dict[str, NDArray[np.float32]], dict[str, list[float]]]:
    """Read a GraphDef's weights and normalisations.

    Args:
        graph: the file's bytes.

    Returns:
        The float tensors of its Const nodes by name, and depth radius, bias, alpha and beta of its
        LRN nodes by name.

    Raises:
        ValueError: not a GraphDef, or a damaged one.
    """
    weights, normalisations = {}, {}
    for number, node in fields(graph):
        if number != 1 or isinstance(node, int):  # GraphDef.node
            continue
        name, op, attributes = "", "", {}
        for kind, value in fields(node):
            if isinstance(value, int):
                continue
            if kind == 1:  # NodeDef.name
                name = value.decode()
            elif kind == 2:  # NodeDef.op
                op = value.decode()
            elif kind == 5:  # NodeDef.attr, a map
                entry = dict(fields(value))
                attributes[_bytes(entry[1]).decode()] = dict(fields(_bytes(entry.get(2, b""))))
        if op == "Const" and (tensor := _tensor(_bytes(attributes["value"][8]))) is not None:
            weights[name] = tensor
        elif op == "LRN":
            normalisations[name] = [
                _number(attributes[key]) if key in attributes else default
                for key, default in _LRN_DEFAULTS.items()
            ]
    return weights, normalisations


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message is expected")
    return value


def _number(attribute: Mapping[int, int | bytes]) -> float:
    """An AttrValue that is an integer or a float."""
    if 3 in attribute:
        return float(attribute[3])
    (number,) = struct.unpack("<f", _bytes(attribute[4]))
    return float(number)


def _tensor(message: bytes) -> NDArray[np.float32] | None:
    """A TensorProto of floats; None for one of anything else."""
    shape: list[int] = []
    content, dtype = b"", 0
    for number, value in fields(message):
        if number == 1:  # dtype
            dtype = int(value) if isinstance(value, int) else 0
        elif number == 2:  # tensor_shape, whose dim has a size
            dims = [dict(fields(_bytes(dim))) for kind, dim in fields(_bytes(value)) if kind == 2]
            shape = [int(dim.get(1, 0)) for dim in dims]
        elif number in (4, 5):  # tensor_content, float_val: packed, or one at a time
            content += _bytes(value)
    if dtype != _DT_FLOAT:
        return None
    values = np.frombuffer(content, "<f4")
    count = int(np.prod(shape, dtype=np.int64))
    if 0 < len(values) < count:  # the last value stands for all that follow
        values = np.pad(values, (0, count - len(values)), mode="edge")
    if len(values) != count:
        raise ValueError(f"{len(values)} values for a tensor of {shape}")
    return values.reshape(shape)


def converted(graph: bytes) -> dict[str, Tensor]:
    """Turn a GraphDef into the state of `inception5h`, float32.

    Raises:
        ValueError: not a GraphDef, or a damaged one.
    """
    weights, normalisations = constants(graph)
    state = {f"{name}{LRN_SETTINGS}": torch.tensor(each) for name, each in normalisations.items()}
    for name, values in weights.items():
        layer, _, kind = name.rpartition("_")
        if kind not in ("w", "b") or layer.startswith(_AUXILIARY):
            continue
        tensor = torch.from_numpy(values.copy())
        key = f"{HEAD}." if layer == "softmax2" else f"{layer}_pre_relu_conv."
        if kind == "b":
            state[f"{key}bias"] = tensor
        elif tensor.ndim == 4:  # height, width, in, out
            state[f"{key}weight"] = tensor.permute(3, 2, 0, 1).contiguous()
        else:
            state[f"{key}weight"] = tensor.T.contiguous()
    return state


def convert(source: Path, target: Path) -> None:
    """Convert a file, and see that a network can be made of it.

    Raises:
        WeightsError: it is not the graph of Inception5h.
    """
    try:
        state = converted(source.read_bytes())
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise WeightsError(f"{source}: not readable as a TensorFlow graph ({error})") from error
    try:
        build("inception5h", state)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    save_file(state, target)


def main() -> int:
    """Run from the command line."""
    escape_what_cannot_be_shown()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("graph", type=Path, help="tensorflow_inception_graph.pb")
    parser.add_argument("weights", type=Path, help="the .safetensors file to write")
    options = parser.parse_args()
    try:
        convert(options.graph, options.weights)
    except PipelineError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.weights}  {options.weights.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
