import itertools
import threading

import numpy as np
import pytest

from pipeline.feedback.ways import WayFinder
from pipeline.plan import FrameId, Node, batches, flow_lane, remaining

SIZE = (48, 32)
STEP = np.float32([2, 1])


def flat(earlier, later):
    """A flow that is known: every frame is the one before it, moved by a step; at half size."""
    flow = np.broadcast_to(STEP, (16, 24, 2)).copy()
    return flow, -flow


def frame(index: int) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), index % 256, np.uint8)


class Reader:
    """Remembers what was read, and by whom."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, index: int) -> np.ndarray:
        self.read.append(index)
        self.threads.add(threading.current_thread().name)
        return frame(index)


def lanes(*shots: range, every: int = 4, refine=(), input: int = 0):
    return [
        flow_lane(
            shot, size=SIZE, every=every, first_iterations=2, iterations=1, refine=refine,
            input=input,
        )
        for shot in shots
    ]  # fmt: skip


def in_order(plan) -> list[Node]:
    return [node for batch in plan for node in batch.nodes]


@pytest.fixture
def finder():
    made: list[WayFinder] = []

    def make(*arguments, **settings) -> WayFinder:
        made.append(WayFinder(*arguments, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("refine", [(), (1, 1)], ids=str)
def test_every_frame_is_read_once_from_front_to_back(finder, workers, width, refine):
    shots = [range(21), range(21, 30), range(30, 31), range(31, 44)]
    nodes = in_order(batches(lanes(*shots, refine=refine), width))
    read, window = Reader(), width * 5
    ways = finder(flat, coming=nodes, window=window, workers=workers)
    for node in nodes:
        found = ways.take(node, read)
        assert (found.source == node.id.frame).all()
        assert [int(p[0, 0, 0]) for p in found.parents] == [p.frame for p in node.parents]
        for hop, parent in zip(found.hops, node.parents, strict=True):
            assert np.allclose(hop.flow, (node.id.frame - parent.frame) * STEP)
        assert len(ways._frames) <= window
        assert len(ways._motions) <= window
        assert len(ways._ways) <= window
    assert sorted(read.read) == list(range(44))
    for shot in shots:
        mine = [f for f in read.read if f in shot]
        assert mine == sorted(mine)
    assert len(read.threads) == 1


def test_work_goes_on_while_others_dream(finder):
    nodes = in_order(batches(lanes(range(9)), 1))
    read = Reader()
    ways = finder(flat, coming=nodes, window=5)
    ways.take(nodes[0], read)
    ways.take(nodes[1], read)
    ways._workers.submit(lambda: None).result(5)  # what was submitted before it is done
    assert set(read.read) >= set(range(9))
    assert all(future.done() for future in ways._ways.values())


def test_a_render_that_was_stopped_finds_its_ways(finder):
    plan = list(batches(lanes(range(30), range(30, 50)), 2))
    ids = [node.id for node in in_order(plan)]
    for done in (ids[:17], ids[::3]):
        left = in_order(remaining(plan, set(done)))
        ways = finder(flat, coming=left, window=10)
        for node in left:
            found = ways.take(node, frame)
            assert (found.source == node.id.frame).all()
            assert len(found.hops) == len(node.parents)


def test_nodes_that_were_not_announced_are_found_too(finder):
    ways = finder(flat)
    for index, parents in ((3, ()), (9, (3,)), (6, (3, 9)), (4, (3, 6))):
        node = Node(FrameId(2, index), tuple(FrameId(2, p) for p in parents), 1, SIZE)
        assert len(ways.take(node, frame).hops) == len(parents)


def test_several_inputs_are_kept_apart(finder):
    plan = lanes(range(9)) + lanes(range(6), input=1)
    nodes = in_order(batches(plan, 2))
    ways = finder(flat, coming=nodes, window=10)
    readers = [lambda f: frame(f), lambda f: frame(f + 100)]
    for node in nodes:
        found = ways.take(node, readers[node.id.input])
        assert (found.source == node.id.frame + 100 * node.id.input).all()


def test_what_goes_wrong_behind_is_raised_in_front(finder):
    def torn(index: int) -> np.ndarray:
        if index == 6:
            raise OSError("torn")
        return frame(index)

    nodes = in_order(batches(lanes(range(9)), 1))
    ways = finder(flat, coming=nodes)
    for node in nodes[:5]:
        ways.take(node, torn)
    with pytest.raises(OSError, match="torn"):
        ways.take(nodes[5], torn)


def test_closing_drops_what_waits():
    started = threading.Event()
    release = threading.Event()

    def slow(earlier, later):
        started.set()
        release.wait(5)
        return flat(earlier, later)

    nodes = in_order(batches(lanes(range(40), every=8), 1))
    ways = WayFinder(slow, coming=nodes, window=9, workers=1)
    ways.take(nodes[0], frame)
    assert started.wait(5)
    waiting = list(ways._ways.values())
    threading.Timer(0.05, release.set).start()
    ways.close()
    assert any(future.cancelled() for future in waiting)
    assert not any(t.name.startswith(("flow", "read")) for t in threading.enumerate())


def test_chains_follow_the_motion_of_every_pair(finder):
    """Motions that differ from pair to pair add up, either way."""
    steps = np.float32([[0, 0], [1, 0], [0, 2], [3, 1], [0, -1]])

    def uneven(earlier, later):
        flow = np.broadcast_to(steps[int(later[0, 0, 0])], (32, 48, 2)).copy()
        return flow, -flow

    ways = finder(uneven)
    for start, end in itertools.permutations(range(5), 2):
        node = Node(FrameId(0, start), (FrameId(0, end),), 1, SIZE)
        (hop,) = ways.take(node, frame).hops
        low, high = sorted((start, end))
        whole = steps[low + 1 : high + 1].sum(0) * (1 if end < start else -1)
        assert np.allclose(hop.flow[8:-8, 8:-8], whole)
