"""Which frames depend on which, with how many iterations, and what is dreamed as one batch.

A render is a graph of frames. It is laid out as *lanes*, recursions that run side by side, each a
list of *stages*: frames that do not depend on one another and take the same number of iterations.
Dreams are chaotic, so which frames share a batch decides, by rounding, which picture comes out:
everything here is a pure function of its arguments, and resuming repeats the very same batches.
"""

from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

Size = tuple[int, int]

_DREAMED_PER_SECOND = 8  # calmer and cheaper than dreaming all, and still sharp (docs/design.md)


class FrameId(NamedTuple):
    """One frame of one input."""

    input: int
    frame: int


@dataclass(frozen=True)
class Node:
    """A frame to make.

    Attributes:
        id: which frame.
        parents: the frames it inherits from, in time order: none, one, or those on both sides.
        iterations: of gradient ascent per octave; 0: made from its parents alone.
        size: (width, height), pixels.
    """

    id: FrameId
    parents: tuple[FrameId, ...]
    iterations: int
    size: Size


Stage = tuple[Node, ...]
Lane = tuple[Stage, ...]


@dataclass(frozen=True)
class Batch:
    """Frames the engine works on at once: one size, one number of iterations."""

    nodes: tuple[Node, ...]

    @property
    def iterations(self) -> int:
        """Of gradient ascent, per octave."""
        return self.nodes[0].iterations


def keyframes(first: int, last: int, every: int) -> list[int]:
    """Frames first, first + every, ... and always the last one."""
    return [*range(first, last, every), last]


def keyframe_distance(every: int | str, fps: Fraction) -> int:
    """Resolve `keyframe_every`: a number as it is, "auto" for about 8 dreamed frames a second."""
    if isinstance(every, int):
        return every
    return max(1, round(fps / _DREAMED_PER_SECOND))


def camera_lane(
    frames: int, *, size: Size, every: int, first_iterations: int, iterations: int, input: int = 0
) -> Lane:
    """Chain keyframes; fill the frames between two of them, once both are there, from both sides.

    Args:
        frames: how many, >= 1.
        size: of all of them.
        every: distance of keyframes, >= 1.
        first_iterations: of frame 0, which has no parents.
        iterations: of the other keyframes.
        input: index of the input they belong to.

    Returns:
        Stages in order.
    """
    keys = keyframes(0, frames - 1, every)
    stages: list[Stage] = [(Node(FrameId(input, 0), (), first_iterations, size),)]
    for earlier, later in pairwise(keys):
        left, right = FrameId(input, earlier), FrameId(input, later)
        stages.append((Node(right, (left,), iterations, size),))
        between = range(earlier + 1, later)
        if between:
            fills = (Node(FrameId(input, f), (left, right), 0, size) for f in between)
            stages.append(tuple(fills))
    return tuple(stages)


def independent_lanes(sizes: Sequence[Size], *, iterations: int, input: int = 0) -> list[Lane]:
    """Frames without parents: each its own lane, all ready at once."""
    return [((Node(FrameId(input, f), (), iterations, s),),) for f, s in enumerate(sizes)]


def batches(lanes: Iterable[Lane], width: int) -> Iterator[Batch]:
    """Order the frames of all lanes into batches.

    `width` lanes run side by side, longest first; a finished one makes room for the next. Whatever
    needs no dreaming comes first, so that the lanes meet again where they dream.

    Args:
        lanes: in any order.
        width: how many run side by side, and the most frames in a batch.

    Yields:
        Batches; parents come in earlier batches than their children.
    """
    waiting = deque(sorted(lanes, key=len, reverse=True))
    active: list[deque[Stage]] = []
    while waiting or active:
        while waiting and len(active) < width:
            active.append(deque(waiting.popleft()))
        for lane in active:
            while lane and lane[0][0].iterations == 0:
                yield from _split(lane.popleft(), width)
        ready = [node for lane in active if lane for node in lane.popleft()]
        groups: dict[tuple[Size, int], list[Node]] = {}
        for node in ready:
            groups.setdefault((node.size, node.iterations), []).append(node)
        for nodes in groups.values():
            yield from _split(nodes, width)
        active = [lane for lane in active if lane]


def remaining(plan: Iterable[Batch], done: Container[FrameId]) -> Iterator[Batch]:
    """The batches of which any frame is missing: a batch is redone whole, as it was composed."""
    return (batch for batch in plan if not all(node.id in done for node in batch.nodes))


def _split(nodes: Sequence[Node], width: int) -> Iterator[Batch]:
    for i in range(0, len(nodes), width):
        yield Batch(tuple(nodes[i : i + width]))
