"""Which kernels do what a step does besides convolving: Triton's on a GPU that it runs on."""

from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from pipeline.engine import torch_kernels
from pipeline.engine.torch_kernels import Window


class StepKernels(Protocol):
    """What a step does before and after the network: `torch_kernels` say how."""

    def shift(self, picture: Tensor, offsets: Tensor) -> Tensor:
        """Shift every sample circularly."""

    def cascade(self, gradient: Tensor, sigmas: Tensor, radius: int) -> tuple[Tensor, Tensor]:
        """Blur by three Gaussians, and measure what comes out."""

    def climb(
        self, shifted: Tensor, direction: Tensor, steps: Tensor, size: Tensor, offsets: Tensor
    ) -> Tensor:
        """Step along a direction, stay within [0, 1], and undo the shift."""


class Kernels(StepKernels, Protocol):
    """`torch_kernels`, whose functions say what they do, or `triton_kernels`."""

    NAME: str

    def rectify_(self, x: Tensor, bias: Tensor) -> Tensor:
        """Add a bias per channel and cut off below zero, in place."""

    def masked(self, g: Tensor, y: Tensor, arrived: Tensor | None = None) -> Tensor:
        """Keep a gradient where the ReLU let something through."""

    def max_pool(
        self, x: Tensor, window: Window, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Take the largest of every window, of ReLU(x + bias) if there is a bias."""

    def max_pool_backward(
        self, g: Tensor, places: Tensor, window: Window, shape: torch.Size
    ) -> Tensor:
        """Send a gradient to where the maxima stood."""

    def response_norm(
        self, x: Tensor, reach: int, scale: float, beta: float, bias: float
    ) -> Tensor:
        """Divide by the response of neighbouring channels."""

    def response_norm_backward(
        self, g: Tensor, x: Tensor, reach: int, scale: float, beta: float, bias: float
    ) -> Tensor:
        """Pull a gradient back through it."""


@cache
def kernels_for(device: torch.device) -> Kernels:
    """Choose, by trying: Triton has to be installed, with a compiler, for this very GPU."""
    if device.type == "cuda":
        try:
            from pipeline.engine import triton_kernels

            pixel = torch.zeros(1, 3, 1, 1, device=device)
            triton_kernels.shift(pixel, torch.zeros(1, 2, dtype=torch.int64, device=device))
        except Exception:  # of its many kinds, none matters: plain torch does the same
            return torch_kernels
        return triton_kernels
    return torch_kernels
