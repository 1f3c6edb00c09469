import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan import (
    Batch,
    FrameId,
    Lane,
    batches,
    camera_lane,
    independent_lanes,
    keyframe_distance,
    keyframes,
    remaining,
)

SIZES = st.tuples(st.integers(16, 64), st.integers(16, 64))


@st.composite
def lanes(draw: st.DrawFn) -> list[Lane]:
    """Lanes of several inputs: chains behind cameras, and pictures without parents."""
    result: list[Lane] = []
    for index in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            result.append(
                camera_lane(
                    draw(st.integers(1, 30)),
                    size=draw(SIZES),
                    every=draw(st.integers(1, 9)),
                    first_iterations=draw(st.integers(1, 20)),
                    iterations=draw(st.integers(1, 6)),
                    input=index,
                )
            )
        else:
            sizes = draw(st.lists(SIZES, min_size=1, max_size=8))
            result += independent_lanes(sizes, iterations=draw(st.integers(1, 6)), input=index)
    return result


@given(lanes(), st.integers(1, 8))
def test_every_frame_once_and_parents_first(plan, width):
    laid = [node.id for lane in plan for stage in lane for node in stage]
    order = list(batches(plan, width))
    made: set[FrameId] = set()
    for batch in order:
        ids = {node.id for node in batch.nodes}
        assert 1 <= len(batch.nodes) <= width
        assert len({(node.size, node.iterations) for node in batch.nodes}) == 1
        assert not ids & made
        assert all(parent in made for node in batch.nodes for parent in node.parents)
        made |= ids
    assert sorted(made) == sorted(laid)


@given(lanes(), st.integers(1, 8), st.data())
def test_what_remains_is_whole_batches_of_the_same_plan(plan, width, data):
    order = list(batches(plan, width))
    ids = [node.id for batch in order for node in batch.nodes]
    done = data.draw(st.sets(st.sampled_from(ids)))
    left = list(remaining(order, done))
    assert [b for b in order if b in left] == left
    missing = set(ids) - done
    assert missing <= {node.id for batch in left for node in batch.nodes}
    assert all(any(node.id in missing for node in batch.nodes) for batch in left)


@given(st.integers(1, 200), st.integers(1, 20))
def test_keyframes_are_evenly_spaced_and_include_the_last(frames, every):
    keys = keyframes(0, frames - 1, every)
    assert keys[0] == 0
    assert keys[-1] == frames - 1
    assert len(set(keys)) == len(keys)
    assert all(b - a == every for a, b in itertools.pairwise(keys[:-1]))
    assert keys[-1] - keys[-2:][0] <= every


def test_a_camera_lane_fills_between_keyframes():
    lane = camera_lane(6, size=(32, 16), every=3, first_iterations=20, iterations=4)
    shown = [[(n.id.frame, [p.frame for p in n.parents], n.iterations) for n in s] for s in lane]
    assert shown == [
        [(0, [], 20)],
        [(3, [0], 4)],
        [(1, [0, 3], 0), (2, [0, 3], 0)],
        [(5, [3], 4)],
        [(4, [3, 5], 0)],
    ]


def test_one_frame_is_one_keyframe():
    (batch,) = batches(
        [camera_lane(1, size=(32, 16), every=4, first_iterations=9, iterations=4)], 1
    )
    assert isinstance(batch, Batch)
    assert batch.iterations == 9


def test_lanes_of_equal_length_dream_together():
    pair = [
        camera_lane(9, size=(32, 16), every=4, first_iterations=20, iterations=4, input=i)
        for i in (0, 1)
    ]
    dreamed = [b for b in batches(pair, 2) if b.iterations]
    assert [len(b.nodes) for b in dreamed] == [2, 2, 2]


@pytest.mark.parametrize(
    ("every", "fps", "distance"),
    [(5, 24, 5), ("auto", 24, 3), ("auto", 30, 4), ("auto", 60, 8), ("auto", 8, 1), ("auto", 1, 1)],
)
def test_auto_keeps_about_eight_dreamed_frames_a_second(every, fps, distance):
    assert keyframe_distance(every, Fraction(fps)) == distance
