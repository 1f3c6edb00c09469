"""BVLC GoogLeNet: the network of the first DeepDream (Szegedy et al. 2014, the Caffe model zoo).

The weights come from outside; two namings of the same tensors are in circulation and both load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.engine.blocks import LRN, ConvReLU, max_pool


@dataclass(frozen=True)
class InceptionWidths:
    """Output channels of the six convolutions of an inception block."""

    b1: int
    b3r: int
    b3: int
    b5r: int
    b5: int
    pp: int

    @property
    def out(self) -> int:
        """Channels after concatenation."""
        return self.b1 + self.b3 + self.b5 + self.pp


# Szegedy et al. 2014, table 1.
WIDTHS = {
    "3a": InceptionWidths(64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(192, 96, 208, 16, 48, 64),
    "4b": InceptionWidths(160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5b": InceptionWidths(384, 192, 384, 48, 128, 128),
}

# Layer names of the Caffe conversion `bvlc_googlenet.pth` -> the module's.
_CAFFE_LAYERS = {
    "conv1_7x7_s2": "conv1",
    "conv2_3x3_reduce": "conv2r",
    "conv2_3x3": "conv2",
    "loss3_classifier": "fc",
}
_CAFFE_BRANCHES = {
    "1x1": "b1",
    "3x3_reduce": "b3r",
    "3x3": "b3",
    "5x5_reduce": "b5r",
    "5x5": "b5",
    "pool_proj": "pp",
}
_AUXILIARY_HEADS = ("loss1", "loss2")


class Inception(nn.Module):
    """[1x1 | 1x1-3x3 | 1x1-5x5 | maxpool3/1-1x1], ReLU after every convolution, concatenated."""

    def __init__(self, inputs: int, widths: InceptionWidths) -> None:
        super().__init__()
        self.b1 = ConvReLU(inputs, widths.b1, 1)
        self.b3r = ConvReLU(inputs, widths.b3r, 1)
        self.b3 = ConvReLU(widths.b3r, widths.b3, 3)
        self.b5r = ConvReLU(inputs, widths.b5r, 1)
        self.b5 = ConvReLU(widths.b5r, widths.b5, 5)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.pp = ConvReLU(inputs, widths.pp, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, widths.out, H, W)."""
        return torch.cat(
            (self.b1(x), self.b3(self.b3r(x)), self.b5(self.b5r(x)), self.pp(self.pool(x))), 1
        )


class BvlcGoogLeNet(nn.Module):
    """The Caffe GoogLeNet without its auxiliary heads and dropout.

    Args:
        classes: outputs of the classifier; 0 leaves it out and `forward` returns the 1024 means.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = ConvReLU(3, 64, 7, stride=2)
        self.pool1 = max_pool()
        self.norm1 = LRN(64)
        self.conv2r = ConvReLU(64, 64, 1)
        self.conv2 = ConvReLU(64, 192, 3)
        self.norm2 = LRN(192)
        self.pool2 = max_pool()
        self.inception_3a = Inception(192, WIDTHS["3a"])
        self.inception_3b = Inception(WIDTHS["3a"].out, WIDTHS["3b"])
        self.pool3 = max_pool()
        self.inception_4a = Inception(WIDTHS["3b"].out, WIDTHS["4a"])
        self.inception_4b = Inception(WIDTHS["4a"].out, WIDTHS["4b"])
        self.inception_4c = Inception(WIDTHS["4b"].out, WIDTHS["4c"])
        self.inception_4d = Inception(WIDTHS["4c"].out, WIDTHS["4d"])
        self.inception_4e = Inception(WIDTHS["4d"].out, WIDTHS["4e"])
        self.pool4 = max_pool()
        self.inception_5a = Inception(WIDTHS["4e"].out, WIDTHS["5a"])
        self.inception_5b = Inception(WIDTHS["5a"].out, WIDTHS["5b"])
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS["5b"].out, classes) if classes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Classify.

        Args:
            x: float (N, 3, H, W), BGR in 0..255 minus the mean (104, 117, 123); sides >= 32.

        Returns:
            Logits (N, classes), before the softmax.
        """
        x = self.pool1(self.conv1(x))
        x = self.conv2(self.conv2r(self.norm1(x)))
        x = self.pool2(self.norm2(x))
        x = self.inception_3b(self.inception_3a(x))
        x = self.inception_4b(self.inception_4a(self.pool3(x)))
        x = self.inception_4e(self.inception_4d(self.inception_4c(x)))
        x = self.inception_5b(self.inception_5a(self.pool4(x)))
        logits: Tensor = self.fc(self.mean(x).flatten(1))
        return logits


def remap_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict to this module's keys.

    Accepts `inception_3a.b3r.weight`, the Caffe conversion's `inception_3a_3x3_reduce.weight`, and
    the module's own `inception_3a.b3r.conv.weight`. Auxiliary heads (`loss1*`, `loss2*`) are left
    out; the last classifier becomes `fc`. Names of neither kind are kept, so that strict loading
    reports them.

    Args:
        state: tensors by name; neither it nor they are changed.

    Returns:
        The same tensors under the module's names.
    """
    return {
        _module_key(key): tensor
        for key, tensor in state.items()
        if not key.startswith(_AUXILIARY_HEADS)
    }


def _module_key(key: str) -> str:
    layer, _, kind = key.rpartition(".")
    layer = _CAFFE_LAYERS.get(layer, layer)
    if layer.startswith("inception_") and "." not in layer:
        block, branch = layer[: len("inception_3a")], layer[len("inception_3a_") :]
        layer = f"{block}.{_CAFFE_BRANCHES.get(branch, branch)}"
    if layer == "fc" or layer.endswith(".conv"):
        return f"{layer}.{kind}"
    return f"{layer}.conv.{kind}"


def load(state: Mapping[str, Tensor]) -> BvlcGoogLeNet:
    """Build the network from a weight file's tensors, in float32.

    The classifier takes its size from the file (GoogLeNets trained on other data have other class
    counts) and is left out where the file has none.

    Args:
        state: tensors in either naming of `remap_keys`, any float dtype.

    Returns:
        The network in evaluation mode.

    Raises:
        RuntimeError: tensors are missing, unknown, or of another shape; the message lists them.
    """
    remapped = remap_keys(state)
    head = remapped.get("fc.weight")
    network = BvlcGoogLeNet(classes=0 if head is None else head.shape[0])
    network.load_state_dict(remapped, strict=True)
    return network.eval()
