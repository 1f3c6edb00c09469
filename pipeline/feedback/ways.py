"""Finds the ways along which frames inherit, ahead of time and in the background."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import reduce
from typing import NamedTuple, TypeVar

from pipeline.feedback.motion import find_motion
from pipeline.feedback.optical_flow import FlowMethod, Hop, Motion, compose, within
from pipeline.media.ffmpeg import Frame
from pipeline.plan import FrameId, Node

Read = Callable[[int], Frame]
T = TypeVar("T")
_Place = tuple[Read, int]  # inputs that are read by the same function share what is found

# OpenCV itself uses several threads for a flow; more than a few pairs at once gain nothing.
_MOST_WORKERS = 4


class Ways(NamedTuple):
    """What a frame inherits along.

    Attributes:
        source: the undreamed frame, uint8 RGB (H, W, 3).
        parents: the undreamed parents, likewise.
        hops: where the frame's pixels are in each parent; of the flow's size.
    """

    source: Frame
    parents: list[Frame]
    hops: list[Hop]


class WayFinder:
    """Reads coming frames and finds the motion between them while others are dreamed.

    At most `window` frames, as many motions and as many finished ways are kept. Frames are read by
    one thread and in the order of the plan, so that a video is decoded from front to back; motions
    are found by a few more. All bookkeeping is the caller's thread's.

    Args:
        method: finds the flow between two neighbouring frames; called from several threads. None
            where no frame has parents: frames are then only read ahead.
        coming: the nodes that will be asked for, in order; without them nothing is found ahead.
        window: how many frames to keep: lanes * (keyframe_every + 1) reads every frame once.
        workers: threads that find motions; None for a fourth of the cores, up to 4.
    """

    def __init__(
        self,
        method: FlowMethod | None,
        *,
        coming: Iterable[Node] = (),
        window: int = 5,
        workers: int | None = None,
    ) -> None:
        self._method = method
        self._coming = iter(coming)
        self._next = next(self._coming, None)
        self._window = window
        workers = workers or min(_MOST_WORKERS, max(1, (os.cpu_count() or 1) // 4))
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        # First in, first out: what a job waits for was submitted before it, so none waits forever.
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="flow")
        self._reads: dict[int, Read] = {}
        self._frames: OrderedDict[_Place, Future[Frame]] = OrderedDict()
        self._motions: OrderedDict[_Place, Future[Motion]] = OrderedDict()
        self._ways: dict[FrameId, Future[Ways]] = {}

    def take(self, node: Node, read: Read) -> Ways:
        """Get the ways of a node, and work on for the nodes after it.

        Args:
            node: each is taken once; in the order of `coming`, or else it has to wait.
            read: reads a frame of the node's input; it is called from another thread.

        Raises:
            Exception: what `read` or the flow method raised.
        """
        self._reads[node.id.input] = read
        found = self._ways.pop(node.id, None) or self._find(node)
        # A further input waits for its first node to be taken: its frames can be read from then on.
        while self._next and self._next.id.input in self._reads and len(self._ways) < self._window:
            if self._next.id != node.id:
                self._ways[self._next.id] = self._find(self._next)
            self._next = next(self._coming, None)
        return found.result()

    def close(self) -> None:
        """Drop what is waiting, wait for what is being done, and let go of what was found."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._reader.shutdown(cancel_futures=True)
        self._workers.shutdown()
        for found in (self._frames, self._motions, self._ways):
            found.clear()

    def _find(self, node: Node) -> Future[Ways]:
        ids, read = [node.id, *node.parents], self._reads[node.id.input]
        # Whichever way they are followed, frames are read and motions found from front to back.
        span = range(min(id.frame for id in ids), max(id.frame for id in ids) + 1)
        frames = {frame: self._frame(read, frame) for frame in span}
        motions = {frame: self._motion(read, frame) for frame in span[1:]}

        def followed(start: int, end: int) -> Hop:
            if end < start:
                hops = [motions[later].result().backward for later in range(start, end, -1)]
            else:
                hops = [motions[later].result().forward for later in range(start + 1, end + 1)]
            return within(reduce(compose, hops))

        def ways() -> Ways:
            source, *parents = [frames[id.frame].result() for id in ids]
            hops = [followed(node.id.frame, parent.frame) for parent in node.parents]
            return Ways(source, parents, hops)

        return self._workers.submit(ways)

    def _motion(self, read: Read, later: int) -> Future[Motion]:
        """Between a frame and the one before it."""
        assert self._method  # for mypy: there are parents
        method = self._method

        def submit() -> Future[Motion]:
            a, b = self._frame(read, later - 1), self._frame(read, later)
            return self._workers.submit(lambda: find_motion(a.result(), b.result(), method))

        return self._kept(self._motions, (read, later), submit)

    def _frame(self, read: Read, frame: int) -> Future[Frame]:
        return self._kept(self._frames, (read, frame), lambda: self._reader.submit(read, frame))

    def _kept(
        self,
        known: OrderedDict[_Place, Future[T]],
        key: _Place,
        submit: Callable[[], Future[T]],
    ) -> Future[T]:
        """Get what is known, or begin it; forget what was used longest ago."""
        future = known.get(key) or submit()
        known[key] = future
        known.move_to_end(key)
        while len(known) > self._window:
            known.popitem(last=False)
        return future
