"""What a feedback is, and the simplest one: no parents."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from pipeline.media.ffmpeg import Frame
from pipeline.plan import Node


class Feedback(Protocol):
    """Makes what a frame's dream starts from out of its source and its parents' dreams."""

    def seed(self, node: Node, source: Callable[[int], Frame], parents: Sequence[Frame]) -> Tensor:
        """Make one frame's seed.

        Args:
            node: the frame.
            source: reads an undreamed frame by number, uint8 RGB [H, W, 3].
            parents: the dreams of `node.parents`, in that order, uint8 RGB [H, W, 3].

        Returns:
            float32 [3, H, W] on the engine's device.
        """
        ...

    def close(self) -> None:
        """Stop whatever works in the background."""
        ...


class NoFeedback:
    """Every frame starts from its own source.

    Args:
        device: where the seeds are made.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = device

    def seed(self, node: Node, source: Callable[[int], Frame], parents: Sequence[Frame]) -> Tensor:
        """See `Feedback.seed`."""
        return to_tensor(source(node.id.frame), self._device)

    def close(self) -> None:
        """Nothing works in the background."""


def to_tensor(picture: Frame, device: torch.device | str) -> Tensor:
    """uint8 [H, W, 3] -> float32 [3, H, W] in [0, 1]."""
    return torch.from_numpy(picture).to(device).permute(2, 0, 1).float() / 255


def to_pictures(dreams: Tensor) -> list[Frame]:
    """float32 [N, 3, H, W] in [0, 1] -> N of uint8 [H, W, 3], rounded."""
    rounded = (dreams * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return list(rounded.cpu().numpy())
