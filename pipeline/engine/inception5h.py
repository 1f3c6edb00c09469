"""Inception5h: Google's own GoogLeNet, the TensorFlow graph that most DeepDream tutorials use.

`scripts/convert_weights.py` makes a weight file of the graph; the public PyTorch conversion,
`inception5h.pth`, names the tensors alike. Nodes go by the graph's names.

TensorFlow's "SAME" padding puts the odd pixel to the right and below. Pooling does so by itself
when it rounds sizes up, since what lies outside never is the largest. The first convolution, of 7x7
taps padded (2, 3), is one of 8x8 taps padded 3 whose first row and column are zero. As in the
PyTorch conversion, sides are padded as TensorFlow pads even ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.engine.blocks import LRN, ConvReLU, max_pool
from pipeline.engine.bvlc_googlenet import Inception, InceptionWidths

WIDTHS = {
    "3a": InceptionWidths(64, 96, 128, 16, 32, 32),
    "3b": InceptionWidths(128, 128, 192, 32, 96, 64),
    "4a": InceptionWidths(192, 96, 204, 16, 48, 64),
    "4b": InceptionWidths(160, 112, 224, 24, 64, 64),
    "4c": InceptionWidths(128, 128, 256, 24, 64, 64),
    "4d": InceptionWidths(112, 144, 288, 32, 64, 64),
    "4e": InceptionWidths(256, 160, 320, 32, 128, 128),
    "5a": InceptionWidths(256, 160, 320, 48, 128, 128),
    "5b": InceptionWidths(384, 192, 384, 48, 128, 128),
}
BRANCHES = {
    "1x1": "b1",
    "3x3_bottleneck": "b3r",
    "3x3": "b3",
    "5x5_bottleneck": "b5r",
    "5x5": "b5",
    "pool_reduce": "pp",
}
"""The graph's name of each convolution of a block -> that of `Inception`."""

HEAD = "softmax2_pre_activation_matmul"
LRN_SETTINGS = ".lrn"
"""Ends the key of a tensor [depth radius, bias, alpha, beta], as the graph gives them."""

_CONV = "_pre_relu_conv"
_AUXILIARY = ("softmax0", "softmax1", "head0", "head1", "nn0", "nn1")
_NORMALISATIONS = ("localresponsenorm0", "localresponsenorm1")
# As in the public conversion: alpha 1e-4 over a window of nine channels.
_USUAL_LRN = (4.0, 1.0, 1e-4 / 9, 0.5)


class Inception5h(nn.Module):
    """The graph without its auxiliary heads and softmax.

    Args:
        classes: outputs of the classifier; 0 leaves it out and `forward` returns the 1024 means.
        lrn: by name of a normalisation, its depth radius, bias, alpha (per element) and beta.
    """

    def __init__(
        self, classes: int = 1008, *, lrn: Mapping[str, tuple[float, ...]] | None = None
    ) -> None:
        super().__init__()
        settings = {name: (lrn or {}).get(name, _USUAL_LRN) for name in _NORMALISATIONS}
        self.conv2d0 = ConvReLU(3, 64, 7, stride=2)
        self.conv2d0.conv = nn.Conv2d(3, 64, 8, stride=2, padding=3)  # see above
        self.maxpool0 = max_pool()
        self.localresponsenorm0 = _normalisation(64, settings["localresponsenorm0"])
        self.conv2d1 = ConvReLU(64, 64, 1)
        self.conv2d2 = ConvReLU(64, 192, 3)
        self.localresponsenorm1 = _normalisation(192, settings["localresponsenorm1"])
        self.maxpool1 = max_pool()
        self.mixed3a = Inception(192, WIDTHS["3a"])
        self.mixed3b = Inception(WIDTHS["3a"].out, WIDTHS["3b"])
        self.maxpool4 = max_pool()
        self.mixed4a = Inception(WIDTHS["3b"].out, WIDTHS["4a"])
        self.mixed4b = Inception(WIDTHS["4a"].out, WIDTHS["4b"])
        self.mixed4c = Inception(WIDTHS["4b"].out, WIDTHS["4c"])
        self.mixed4d = Inception(WIDTHS["4c"].out, WIDTHS["4d"])
        self.mixed4e = Inception(WIDTHS["4d"].out, WIDTHS["4e"])
        self.maxpool10 = max_pool()
        self.mixed5a = Inception(WIDTHS["4e"].out, WIDTHS["5a"])
        self.mixed5b = Inception(WIDTHS["5a"].out, WIDTHS["5b"])
        self.avgpool0 = nn.AdaptiveAvgPool2d(1)
        self.softmax2_pre_activation_matmul = (
            nn.Linear(WIDTHS["5b"].out, classes) if classes else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Classify.

        Args:
            x: float (N, 3, H, W), RGB in 0..255 minus 117.

        Returns:
            Logits (N, classes), before the softmax.
        """
        x = self.localresponsenorm0(self.maxpool0(self.conv2d0(x)))
        x = self.localresponsenorm1(self.conv2d2(self.conv2d1(x)))
        x = self.mixed3b(self.mixed3a(self.maxpool1(x)))
        x = self.mixed4b(self.mixed4a(self.maxpool4(x)))
        x = self.mixed4e(self.mixed4d(self.mixed4c(x)))
        x = self.mixed5b(self.mixed5a(self.maxpool10(x)))
        logits: Tensor = self.softmax2_pre_activation_matmul(self.avgpool0(x).flatten(1))
        return logits


def _normalisation(channels: int, settings: tuple[float, ...]) -> LRN:
    radius, bias, alpha, beta = settings
    size = 2 * round(radius) + 1
    return LRN(channels, size=size, alpha=alpha * size, beta=beta, bias=bias)


def lrn_settings(state: Mapping[str, Tensor]) -> dict[str, tuple[float, ...]]:
    """Read the normalisations' settings that a converted file carries."""
    return {
        key.removesuffix(LRN_SETTINGS): tuple(tensor.float().tolist())
        for key, tensor in state.items()
        if key.endswith(LRN_SETTINGS)
    }


def remap_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict to this module's keys.

    Accepts `mixed3a_3x3_pre_relu_conv.weight` and the module's own `mixed3a.b3.conv.weight`; the
    first convolution may have 7x7 taps or the module's 8x8. Auxiliary heads are left out, and
    names of neither kind are kept, so that strict loading reports them.

    Args:
        state: tensors by name; neither it nor they are changed.

    Returns:
        The same tensors under the module's names.
    """
    own = {
        _module_key(key): tensor for key, tensor in state.items() if not key.startswith(_AUXILIARY)
    }
    first = own.get("conv2d0.conv.weight")
    if first is not None and first.shape[2:] == (7, 7):
        own["conv2d0.conv.weight"] = F.pad(first, (1, 0, 1, 0))
    return own


def _module_key(key: str) -> str:
    layer, _, kind = key.rpartition(".")
    if not layer.endswith(_CONV):
        return key
    layer = layer.removesuffix(_CONV)
    block, _, branch = layer.partition("_")
    if branch:
        layer = f"{block}.{BRANCHES.get(branch, branch)}"
    return f"{layer}.conv.{kind}"
