"""Feedback along optical flow: a video's dream is carried by what moves in the video.

What is carried is the detail, the dream minus its source: the seed is this frame's own source, as
sharp as ever, plus the parents' details brought to where their bearers are now.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.feedback.optical_flow import (
    FlowMethod,
    Hop,
    Motion,
    compose,
    enlarge,
    find_motion,
    sample,
)
from pipeline.feedback.seed import to_tensor
from pipeline.media.ffmpeg import Frame
from pipeline.plan import FrameId, Node

Read = Callable[[int], Frame]
T = TypeVar("T")


class _Ready(NamedTuple):
    """What a seed is made of but for the parents' dreams: sources, and the ways to the parents."""

    source: Frame
    parents: list[Frame]
    ways: list[Hop]


class FlowFeedback:
    """Seeds of video frames; the motion of coming frames is found in a background thread.

    Memory is bounded by `window`: about so many source frames and flows in either direction, and as
    many again that wait to be used.

    Args:
        method: finds the flow between neighbouring frames.
        carry: share of the detail that a keyframe keeps per frame of distance, 0 to 1.
        device: where the seeds are made.
        coming: the nodes that will be asked for, in order; without them nothing is made ahead.
        window: how many frames ahead to work; lanes * (keyframe_every + 1) covers the next
            keyframes and all frames between.
    """

    def __init__(
        self,
        method: FlowMethod,
        *,
        carry: float,
        device: torch.device | str = "cpu",
        coming: Iterable[Node] = (),
        window: int = 5,
    ) -> None:
        self._method = method
        self._carry = carry
        self._device = torch.device(device)
        self._coming = iter(coming)
        self._next: Node | None = None
        self._window = window
        self._reads: dict[int, Read] = {}
        self._pending: OrderedDict[FrameId, Future[_Ready]] = OrderedDict()
        # One thread: it works in the plan's order, and its caches need no lock.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="flow")
        self._frames: OrderedDict[FrameId, Frame] = OrderedDict()
        self._motions: OrderedDict[FrameId, Motion] = OrderedDict()
        self._ways: OrderedDict[tuple[FrameId, int], Hop] = OrderedDict()

    def seed(self, node: Node, source: Read, parents: Sequence[Frame]) -> Tensor:
        """Make a frame's seed, see `Feedback.seed`.

        Without parents it is the source. A keyframe inherits `carry` of its parent's detail per
        frame of distance. A frame between inherits both parents' details, weighed by nearness where
        both show it; it is nothing new, so it keeps all of them.
        """
        self._reads[node.id.input] = source
        ready = self._take(node)
        picture = to_tensor(ready.source, self._device)
        if not parents:
            return picture
        size = (picture.shape[2], picture.shape[1])
        ways = [enlarge(way, size) for way in ready.ways]
        details = [
            self._moved(dream, bare, way)
            for dream, bare, way in zip(parents, ready.parents, ways, strict=True)
        ]
        visible = [torch.from_numpy(way.visible).to(self._device) for way in ways]
        if len(details) == 1:
            kept = self._carry ** abs(node.id.frame - node.parents[0].frame)
            return picture + details[0] * (kept * visible[0])
        early, late = (parent.frame for parent in node.parents)
        near = (node.id.frame - early) / (late - early)
        return picture + blend(details, visible, near)

    def close(self) -> None:
        """Stop working ahead."""
        self._worker.shutdown(cancel_futures=True)

    def _moved(self, dream: Frame, source: Frame, way: Hop) -> Tensor:
        """Bring a parent's detail here: float32 [3, H, W]."""
        if self._device.type == "cpu":
            detail = (dream.astype(np.float32) - source) / np.float32(255)
            moved = sample(
                detail, way.flow, interpolation=cv2.INTER_CUBIC, border=cv2.BORDER_REFLECT
            )
            return torch.from_numpy(moved).permute(2, 0, 1)
        difference = to_tensor(dream, self._device) - to_tensor(source, self._device)
        return warp(difference, torch.from_numpy(way.flow).to(self._device))

    def _take(self, node: Node) -> _Ready:
        """Get what was prepared for a node, and set the thread to work on the next ones."""
        future = self._pending.pop(node.id, None) or self._worker.submit(self._prepare, node)
        self._work_ahead(node)
        return future.result()

    def _work_ahead(self, current: Node) -> None:
        while len(self._pending) < self._window:
            node = self._next or next(self._coming, None)
            self._next = None
            if node is None:
                return
            if node.id.input not in self._reads:  # a new input: wait until its source is known
                self._next = node
                return
            if node != current:
                self._pending[node.id] = self._worker.submit(self._prepare, node)

    # What follows runs in the background thread only.

    def _prepare(self, node: Node) -> _Ready:
        return _Ready(
            self._frame(node.id),
            [self._frame(parent) for parent in node.parents],
            [self._way(node.id, parent.frame) for parent in node.parents],
        )

    def _frame(self, frame: FrameId) -> Frame:
        read = self._reads[frame.input]
        return _remembered(self._frames, frame, lambda: read(frame.frame), self._window + 2)

    def _motion(self, later: FrameId) -> Motion:
        """Between a frame and the one before it."""

        def find() -> Motion:
            earlier = FrameId(later.input, later.frame - 1)
            return find_motion(self._frame(earlier), self._frame(later), self._method)

        return _remembered(self._motions, later, find, self._window)

    def _way(self, start: FrameId, end: int) -> Hop:
        """Where a frame's pixels are in another one, followed from neighbour to neighbour."""
        if start.frame > end:
            step, hop = -1, self._motion(start).backward
        else:
            step, hop = 1, self._motion(FrameId(start.input, start.frame + 1)).forward
        neighbour = FrameId(start.input, start.frame + step)
        if neighbour.frame == end:
            return hop
        return _remembered(
            self._ways,
            (start, end),
            lambda: compose(hop, self._way(neighbour, end)),
            2 * self._window,
        )


def blend(details: Sequence[Tensor], visible: Sequence[Tensor], near: float) -> Tensor:
    """Mix the details of two sides by nearness and visibility; nothing where neither shows.

    Args:
        details: of the earlier and the later parent, float32 [3, H, W].
        visible: how surely each shows what is here, float32 [H, W] in [0, 1].
        near: how near the later one is, 0 to 1.

    Returns:
        float32 [3, H, W].
    """
    first, second = (1 - near) * visible[0], near * visible[1]
    share = torch.maximum(*visible) / (first + second).clamp_min(1e-6)
    return details[0] * (first * share) + details[1] * (second * share)


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Sample a picture where a flow leads: bicubic, reflected border.

    Args:
        picture: float32 [3, H, W].
        flow: float32 [H, W, 2], pixels, x then y.

    Returns:
        float32 [3, H, W]; at x the picture at x + flow.
    """
    height, width = picture.shape[1:]
    x = torch.arange(width, device=picture.device) + flow[..., 0]
    y = torch.arange(height, device=picture.device)[:, None] + flow[..., 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(
        picture[None], grid[None], mode="bicubic", padding_mode="reflection", align_corners=False
    )[0]


def _remembered(known: "OrderedDict[K, T]", key: "K", make: Callable[[], T], capacity: int) -> T:
    """Get from a cache, or make and keep, dropping what was used longest ago."""
    if key not in known:
        known[key] = make()
    known.move_to_end(key)
    while len(known) > capacity:
        known.popitem(last=False)
    return known[key]


K = TypeVar("K", bound=Hashable)
