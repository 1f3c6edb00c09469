"""DreamNet: the small network whose weights travel with the package.

A student of BVLC GoogLeNet up to inception_4c (scripts/train_dreamnet.py): the same strides and
kinds of block with fewer channels. The 5x5 branch is two 3x3 convolutions (Szegedy et al. 2015);
there is no LRN and no pooling branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.engine.blocks import ConvReLU, max_pool

WEIGHTS = Path(__file__).with_name("dreamnet.safetensors")


@dataclass(frozen=True)
class MixedWidths:
    """Output channels of the six convolutions of a block: 1x1 | 1x1-3x3 | 1x1-3x3-3x3."""

    b1: int
    b2r: int
    b2: int
    b3r: int
    b3a: int
    b3b: int

    @property
    def out(self) -> int:
        """Channels after concatenation."""
        return self.b1 + self.b2 + self.b3b


@dataclass(frozen=True)
class Widths:
    """Output channels of every convolution.

    Most of a step's time goes into the large pictures of the first layers, so these are narrow:
    with the defaults a step to the deepest layer costs a third of BVLC GoogLeNet's.
    """

    conv1: int = 24
    conv2r: int = 32
    conv2: int = 96
    mixed3a: MixedWidths = MixedWidths(48, 64, 80, 16, 32, 32)
    mixed3b: MixedWidths = MixedWidths(80, 80, 128, 24, 48, 48)
    mixed4a: MixedWidths = MixedWidths(96, 80, 160, 24, 64, 64)
    mixed4b: MixedWidths = MixedWidths(96, 80, 160, 24, 64, 64)
    mixed4c: MixedWidths = MixedWidths(96, 96, 192, 32, 96, 96)


WIDTHS = Widths()


class Mixed(nn.Module):
    """[1x1 | 1x1-3x3 | 1x1-3x3-3x3], ReLU after every convolution, concatenated.

    The three 1x1 convolutions that read the input are one (`reduce`), which is faster.
    """

    def __init__(self, inputs: int, widths: MixedWidths) -> None:
        super().__init__()
        self.shares = (widths.b1, widths.b2r, widths.b3r)
        self.reduce = ConvReLU(inputs, sum(self.shares), 1)
        self.b2 = ConvReLU(widths.b2r, widths.b2, 3)
        self.b3a = ConvReLU(widths.b3r, widths.b3a, 3)
        self.b3b = ConvReLU(widths.b3a, widths.b3b, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, widths.out, H, W)."""
        b1, b2r, b3r = self.reduce(x).split(self.shares, 1)
        return torch.cat((b1, self.b2(b2r), self.b3b(self.b3a(b3r))), 1)


class DreamNet(nn.Module):
    """The embedded network; every public submodule ends behind its ReLU.

    Args:
        widths: channels of every convolution; the shipped weights have the defaults.
    """

    def __init__(self, widths: Widths = WIDTHS) -> None:
        super().__init__()
        self.conv1 = ConvReLU(3, widths.conv1, 7, stride=2)
        self.pool1 = max_pool()
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
        x = self.pool2(self.conv2(self.conv2r(self.pool1(self.conv1(x)))))
        x = self.pool3(self.mixed3b(self.mixed3a(x)))
        deepest: Tensor = self.mixed4c(self.mixed4b(self.mixed4a(x)))
        return deepest
