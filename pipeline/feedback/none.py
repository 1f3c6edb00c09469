"""The simplest feedback: no parents."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pipeline.feedback.seed import to_tensor
from pipeline.feedback.ways import Read, WayFinder
from pipeline.media.ffmpeg import Frame
from pipeline.plan import Node


class NoFeedback:
    """Every frame starts from its own source.

    Args:
        device: where the seeds are made.
        coming: the nodes whose seeds will be asked for, in order; they are read ahead.
        window: how many to read ahead.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        coming: Iterable[Node] = (),
        window: int = 1,
    ) -> None:
        self._device = device
        self._ways = WayFinder(None, coming=coming, window=window)

    def seed(self, node: Node, source: Read, parents: Sequence[Frame]) -> Tensor:
        """See `Feedback.seed`."""
        return to_tensor(self._ways.take(node, source).source, self._device)

    def undreamed(self, frame: int, source: Read) -> Tensor:
        """See `Feedback.undreamed`."""
        return to_tensor(source(frame), self._device)

    def close(self) -> None:
        """Stop reading ahead."""
        self._ways.close()
