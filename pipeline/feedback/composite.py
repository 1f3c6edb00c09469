"""What of a dream is kept: where the mask lets it through, and in whose colours.

A frame is stored as `undreamed + mask * detail`. Its children inherit the detail itself, that is,
what is stored divided by the mask again: along a soft edge nothing is masked twice, so a dream does
not fade a little more with every frame that inherits it, and what moves across the edge fades in
and out there, and only there.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from pipeline.feedback.color import Look, keep_chroma, match
from pipeline.feedback.seed import Feedback, stacked, to_pictures, to_tensor, upload
from pipeline.media.ffmpeg import Frame
from pipeline.media.masks import Mask
from pipeline.plan import FrameId, Node

Read = Callable[[int], Frame]

# Below this share of a mask a dream is let fade in earnest: dividing 8-bit values by less would
# enlarge their rounding, and beyond it nothing is dreamed.
_THINNEST = 0.25


class Composite:
    """Seeds with their masks taken off, dreams with their masks and colours put on.

    Args:
        feedbacks: of every input: makes seeds.
        sources: of every input: reads an undreamed frame by number, uint8 RGB [H, W, 3].
        masks: of every input; none if everything is dreamed.
        keep_colors: of every input: take only the luma of a dream, see `keep_chroma`.
        wanted: of every input: tells the look a frame is to have, see `match`; None for its own.
        chroma_may_grow: see `match`.
        recent: how many undreamed frames and masks to keep.
        device: where the pictures are.
    """

    def __init__(
        self,
        feedbacks: Sequence[Feedback],
        *,
        sources: Sequence[Read],
        masks: Sequence[Mask],
        keep_colors: Sequence[bool],
        wanted: Sequence[Callable[[int], Look | None] | None],
        chroma_may_grow: bool,
        recent: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self._feedbacks = feedbacks
        self._sources = sources
        self._masks = masks
        self._keep_colors = keep_colors
        self._wanted = wanted
        self._chroma_may_grow = chroma_may_grow
        self._device = device
        self._undreamed = lru_cache(recent)(self._read_undreamed)
        self._mask = lru_cache(recent)(self._read_mask)

    def seed(self, node: Node, parents: Sequence[Frame]) -> Tensor:
        """Make a seed of the stored frames of a node's parents, float32 [3, H, W]."""
        whole = [self._unmasked(id, each) for id, each in zip(node.parents, parents, strict=True)]
        index = node.id.input
        return self._feedbacks[index].seed(node, self._sources[index], whole)

    def reach(self, nodes: Sequence[Node]) -> Tensor | None:
        """Where steps go: float32 [N, 1, H, W] in [0, 1], or None for everywhere."""
        if not self._masks:
            return None
        return torch.stack([(self._mask(n.id) / _THINNEST).clamp(max=1) for n in nodes])[:, None]

    def finish(self, nodes: Sequence[Node], dreams: Tensor) -> Tensor:
        """Bring dreams to what is stored.

        Args:
            nodes: N frames.
            dreams: float32 [N, 3, H, W] in [0, 1].

        Returns:
            float32 [N, 3, H, W] in [0, 1].
        """
        if not (self._masks or any(self._keep_colors) or any(self._wanted)):
            return dreams
        return stacked(
            self._finished(node.id, dream) for node, dream in zip(nodes, dreams, strict=True)
        )

    def close(self) -> None:
        """Stop whatever works in the background, and let go of what is kept for other frames."""
        for feedback in self._feedbacks:
            feedback.close()
        self._undreamed.cache_clear()
        self._mask.cache_clear()

    def _finished(self, id: FrameId, dream: Tensor) -> Tensor:
        if self._keep_colors[id.input]:
            dream = keep_chroma(dream, self._undreamed(id))
        wanted = self._wanted[id.input]
        look = wanted and wanted(id.frame)
        if look is not None:
            dream = match(dream, look, chroma_may_grow=self._chroma_may_grow)
        return torch.lerp(self._undreamed(id), dream, self._mask(id)) if self._masks else dream

    def _unmasked(self, id: FrameId, stored: Frame) -> Frame:
        if not self._masks:
            return stored
        undreamed, mask = self._undreamed(id), self._mask(id)
        detail = (to_tensor(stored, self._device) - undreamed) / mask.clamp_min(_THINNEST)
        return to_pictures((undreamed + detail).clamp(0, 1)[None])[0]

    def _read_undreamed(self, id: FrameId) -> Tensor:
        return self._feedbacks[id.input].undreamed(id.frame, self._sources[id.input])

    def _read_mask(self, id: FrameId) -> Tensor:
        """float32 [H, W] in [0, 1]."""
        height, width = self._undreamed(id).shape[1:]
        field = self._masks[id.input].read(id.frame, (width, height))
        return upload(field, self._device)
