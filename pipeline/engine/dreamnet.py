"""DreamNet: the small network whose weights travel with the package.

BVLC GoogLeNet up to inception_4c, slimmed and taught to dream like it (scripts/train_dreamnet.py):
the same blocks with fewer channels. Of its two normalisations the first stays, with weights of its
own; the other one, and the pooling branches, cost more than a dream sees of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.engine.blocks import ConvReLU, DivisiveNorm, max_pool

WEIGHTS = Path(__file__).with_name("dreamnet.safetensors")


@dataclass(frozen=True)
class MixedWidths:
    """Output channels of the five convolutions of a block: 1x1 | 1x1-3x3 | 1x1-5x5."""

    b1: int
    b3r: int
    b3: int
    b5r: int
    b5: int

    @property
    def out(self) -> int:
        """Channels after concatenation."""
        return self.b1 + self.b3 + self.b5


@dataclass(frozen=True)
class Widths:
    """Output channels of every convolution.

    Most of a step's time goes into the large pictures of the first layers, so these are narrow:
    with the defaults a step to the deepest layer costs less than 40 % of BVLC GoogLeNet's.
    """

    conv1: int = 32
    conv2r: int = 32
    conv2: int = 112
    mixed3a: MixedWidths = MixedWidths(48, 48, 80, 16, 32)
    mixed3b: MixedWidths = MixedWidths(80, 64, 128, 16, 64)
    mixed4a: MixedWidths = MixedWidths(144, 64, 160, 16, 48)
    mixed4b: MixedWidths = MixedWidths(128, 80, 176, 16, 48)
    mixed4c: MixedWidths = MixedWidths(112, 96, 208, 16, 64)


WIDTHS = Widths()


class Mixed(nn.Module):
    """[1x1 | 1x1-3x3 | 1x1-5x5], ReLU after every convolution, concatenated.

    The three 1x1 convolutions that read the input are one (`reduce`), which is faster.
    """

    def __init__(self, inputs: int, widths: MixedWidths) -> None:
        super().__init__()
        self.shares = (widths.b1, widths.b3r, widths.b5r)
        self.reduce = ConvReLU(inputs, sum(self.shares), 1)
        self.b3 = ConvReLU(widths.b3r, widths.b3, 3)
        self.b5 = ConvReLU(widths.b5r, widths.b5, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, widths.out, H, W)."""
        b1, b3r, b5r = self.reduce(x).split(self.shares, 1)
        return torch.cat((b1, self.b3(b3r), self.b5(b5r)), 1)


class DreamNet(nn.Module):
    """The embedded network; every public submodule ends behind its ReLU.

    Args:
        widths: channels of every convolution; the shipped weights have the defaults.
    """

    def __init__(self, widths: Widths = WIDTHS) -> None:
        super().__init__()
        self.conv1 = ConvReLU(3, widths.conv1, 7, stride=2)
        self.pool1 = max_pool()
        self.norm1 = DivisiveNorm(widths.conv1)
        self.conv2r = ConvReLU(widths.conv1, widths.conv2r, 1)
        self.conv2 = ConvReLU(widths.conv2r, widths.conv2, 3)
        self.pool2 = max_pool()
        self.mixed3a = Mixed(widths.conv2, widths.mixed3a)
        self.mixed3b = Mixed(widths.mixed3a.out, widths.mixed3b)
        self.pool3 = max_pool()
        self.mixed4a = Mixed(widths.mixed3b.out, widths.mixed4a)
        self.mixed4b = Mixed(widths.mixed4a.out, widths.mixed4b)
        self.mixed4c = Mixed(widths.mixed4b.out, widths.mixed4c)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the deepest layer.

        Args:
            x: float (N, 3, H, W), RGB, (picture - 0.5) * 4 for a picture in [0, 1]; sides >= 16.

        Returns:
            The activation of mixed4c, (N, widths.mixed4c.out, about H/16, about W/16).
        """
        x = self.pool2(self.conv2(self.conv2r(self.norm1(self.pool1(self.conv1(x))))))
        x = self.pool3(self.mixed3b(self.mixed3a(x)))
        deepest: Tensor = self.mixed4c(self.mixed4b(self.mixed4a(x)))
        return deepest
