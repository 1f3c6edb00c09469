"""Which frames depend on which, with how many iterations, and what is dreamed as one batch.

A render is a graph of frames. It is laid out as *lanes*, recursions that run side by side, each a
list of *stages*: frames that do not depend on one another and take the same number of iterations.
Dreams are chaotic, so which frames share a batch decides, by rounding, which picture comes out:
everything here is a pure function of its arguments, and resuming repeats the very same batches.
"""

import bisect
import math
from collections import defaultdict, deque
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
        share: above 0 near the end of a loop: how far the frame has become its last parent, which
            is the frame that the camera sees likewise near the beginning.
    """

    id: FrameId
    parents: tuple[FrameId, ...]
    iterations: int
    size: Size
    share: float = 0.0


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
    frames: int,
    *,
    size: Size,
    every: int,
    first_iterations: int,
    iterations: int,
    loop: int = 0,
    input: int = 0,
) -> Lane:
    """Chain keyframes; fill the frames between two of them, once both are there, from both sides.

    Args:
        frames: how many, >= 1.
        size: of all of them.
        every: distance of keyframes, >= 1.
        first_iterations: of frame 0, which has no parents.
        iterations: of the other keyframes.
        loop: by how many frames the end becomes the beginning again, at most half of them: behind
            the last frame comes frame `loop`. There keyframes take the fewer iterations the more
            of them is there already.
        input: index of the input they belong to.

    Returns:
        Stages in order.
    """
    stages: list[Stage] = [(Node(FrameId(input, 0), (), first_iterations, size),)]
    turn = frames - loop if loop else frames - 1  # seen as frame 0 was, if there is a loop

    keys = keyframes(0, turn, every)
    if loop:
        keys += keyframes(turn, frames, every)[1:]

    closed = keys[-2] if loop > every else frames  # the last keyframe; from it on all is turned

    def turned(frame: int) -> float:
        """How much of a frame is the beginning: slowly at both ends, so that no end is seen."""
        x = min(1.0, (frame - turn) / (closed - turn)) if frame > turn else 0.0
        return x * x * (3 - 2 * x)

    def stage(chosen: Sequence[int], sides: Sequence[int], iterations: int) -> Stage:
        nodes = []
        for frame in chosen:
            seen = [*sides, frame - turn] if frame > turn else sides
            lacking = 1 - turned(sides[0])
            share = 1 - (1 - turned(frame)) / lacking if lacking else 1.0
            parents = tuple(FrameId(input, f) for f in seen)
            nodes.append(Node(FrameId(input, frame), parents, iterations, size, share))
        return tuple(nodes)

    for earlier, later in pairwise(keys):
        sides = [earlier]
        if later < frames:
            due = math.ceil(iterations * (1 - turned(later)))
            stages.append(stage([later], sides, due))
            sides.append(later)
        if between := range(earlier + 1, later):
            stages.append(stage(between, sides, 0))
    return tuple(stages)


def flow_lane(
    shot: range,
    *,
    size: Size,
    every: int,
    first_iterations: int,
    iterations: int,
    refine: Sequence[int] = (),
    input: int = 0,
) -> Lane:
    """Chain the keyframes of one shot; make the frames between two of them from both sides.

    An interval is bisected, rounding down, level by level. The frames of level i that take
    `refine[i]` > 0 iterations inherit from the nearest dreamed frames of coarser levels. All others
    take none, and are filled from the nearest dreamed frames once those are there.

    Args:
        shot: its frames; nothing is inherited from any other.
        size: of all of them.
        every: distance of keyframes, >= 1; the last frame of the shot is always one.
        first_iterations: of the first frame, which has no parents.
        iterations: of the other keyframes.
        refine: iterations of the frames between, by level.
        input: index of the input they belong to.

    Returns:
        Stages in order.

    Raises:
        ValueError: a shot without frames.
    """
    if not shot:
        raise ValueError(f"a shot needs frames, got {shot}")
    keys = keyframes(shot[0], shot[-1], every)
    stages: list[Stage] = [(Node(FrameId(input, shot[0]), (), first_iterations, size),)]

    def inheriting(frames: Iterable[int], dreamed: list[int], iterations: int) -> Stage:
        nodes = []
        for frame in frames:
            i = bisect.bisect(dreamed, frame)
            parents = tuple(FrameId(input, f) for f in dreamed[i - 1 : i + 1])
            nodes.append(Node(FrameId(input, frame), parents, iterations, size))
        return tuple(nodes)

    for earlier, later in pairwise(keys):
        stages.append(inheriting([later], [earlier], iterations))
        dreamed = [earlier, later]
        for level, count in zip(_bisected(earlier, later), refine, strict=False):
            if count:
                stages.append(inheriting(level, dreamed, count))
                dreamed = sorted([*dreamed, *level])
        between = sorted(set(range(earlier, later)) - set(dreamed))
        if between:
            stages.append(inheriting(between, dreamed, 0))
    return tuple(stages)


def independent_lanes(sizes: Sequence[Size], *, iterations: int, input: int = 0) -> list[Lane]:
    """Frames without parents: each its own lane, all ready at once."""
    return [((Node(FrameId(input, f), (), iterations, s),),) for f, s in enumerate(sizes)]


def batches(lanes: Iterable[Lane], width: int) -> Iterator[Batch]:
    """Order the frames of all lanes into batches.

    `width` lanes run side by side, longest first; a finished one makes room for the next. What is
    no keyframe comes first, so that the lanes meet again at their next keyframes.

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
        active = [lane for lane in active if lane]
        if waiting and len(active) < width:
            continue
        # A keyframe has one parent; first and refined frames have none or two.
        early = [lane for lane in active if len(lane[0][0].parents) != 1]
        ready = [node for lane in early or active for node in lane.popleft()]
        groups: dict[tuple[Size, int], list[Node]] = {}
        for node in ready:
            groups.setdefault((node.size, node.iterations), []).append(node)
        for nodes in groups.values():
            yield from _split(nodes, width)


def remaining(plan: Iterable[Batch], done: Container[FrameId]) -> Iterator[Batch]:
    """The batches of which any frame is missing: a batch is redone whole, as it was composed."""
    return (batch for batch in plan if not all(node.id in done for node in batch.nodes))


def most_held(plan: Iterable[Batch]) -> dict[int, int]:
    """How many dreams of each input must be at hand at once: those made, and parents to come."""
    order = list(plan)
    last_use: dict[FrameId, int] = {}
    for i, batch in enumerate(order):
        for node in batch.nodes:
            last_use[node.id] = i
            last_use.update(dict.fromkeys(node.parents, i))
    held: dict[int, set[FrameId]] = defaultdict(set)
    most: dict[int, int] = defaultdict(int)
    for i, batch in enumerate(order):
        for node in batch.nodes:
            held[node.id.input] |= {node.id, *node.parents}
        for index in {node.id.input for node in batch.nodes}:
            most[index] = max(most[index], len(held[index]))
            held[index] = {frame for frame in held[index] if last_use[frame] > i}
    return most


def _bisected(earlier: int, later: int) -> Iterator[list[int]]:
    """Middles of an interval, then of its halves, and so on."""
    edges = [earlier, later]
    while level := [(a + b) // 2 for a, b in pairwise(edges) if b - a > 1]:
        yield level
        edges = sorted([*edges, *level])


def _split(nodes: Sequence[Node], width: int) -> Iterator[Batch]:
    for i in range(0, len(nodes), width):
        yield Batch(tuple(nodes[i : i + width]))
