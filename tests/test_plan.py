import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan import (
    Batch,
    FrameId,
    Lane,
    batches,
    camera_lane,
    flow_lane,
    independent_lanes,
    keyframe_distance,
    keyframes,
    most_held,
    remaining,
)

SIZES = st.tuples(st.integers(16, 64), st.integers(16, 64))


@st.composite
def shots(draw: st.DrawFn, input: int = 0) -> list[dict[str, Any]]:
    """Arguments of `flow_lane` for the shots of one video."""
    frames = draw(st.integers(1, 60))
    cuts = draw(st.sets(st.integers(1, max(1, frames - 1)), max_size=4)) if frames > 1 else set()
    settings = {
        "size": draw(SIZES),
        "every": draw(st.integers(1, 9)),
        "first_iterations": draw(st.integers(1, 20)),
        "iterations": draw(st.integers(1, 6)),
        "refine": draw(st.lists(st.integers(0, 3), max_size=3)),
        "input": input,
    }
    edges = [0, *sorted(cuts), frames]
    return [{"shot": range(a, b), **settings} for a, b in itertools.pairwise(edges)]


@st.composite
def lanes(draw: st.DrawFn) -> list[Lane]:
    """Lanes of several inputs: behind cameras, of shots, and pictures without parents."""
    result: list[Lane] = []
    for index in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["camera", "flow", "independent"]))
        if kind == "flow":
            result += [flow_lane(**shot) for shot in draw(shots(index))]
        elif kind == "camera":
            frames = draw(st.integers(1, 30))
            result.append(
                camera_lane(
                    frames,
                    loop=draw(st.integers(0, frames // 2)),
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


def test_the_end_of_a_loop_becomes_its_beginning():
    """Frames 10 to 15 become 0 to 5, by keyframes; behind the last frame comes frame 6."""
    lane = camera_lane(16, size=(32, 16), every=2, first_iterations=20, iterations=4, loop=6)
    nodes = {n.id.frame: n for stage in lane for n in stage}
    assert sorted(nodes) == list(range(16))
    assert all(n.share == 0 for f, n in nodes.items() if f <= 10)
    shown = {f: ([p.frame for p in n.parents], n.iterations) for f, n in nodes.items() if f > 9}
    assert shown == {
        10: ([8], 4),
        11: ([10, 12, 1], 0),
        12: ([10, 2], 2),
        13: ([12, 14, 3], 0),
        14: ([12, 4], 0),
        15: ([14, 5], 0),
    }
    assert [nodes[f].share for f in (12, 14, 15)] == [0.5, 1, 1]
    assert 0 < nodes[11].share < nodes[12].share


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 9))
def test_the_shares_of_a_loop_add_up_to_all_of_it(loop, more, every):
    frames = max(1, 2 * loop + more)
    lane = camera_lane(
        frames, size=(32, 16), every=every, first_iterations=9, iterations=5, loop=loop
    )
    own = {0: 1.0}  # how much of a frame is not the beginning again
    for node in (n for stage in lane for n in stage):
        assert 0 <= node.share <= 1
        if node.parents:
            own[node.id.frame] = own[node.parents[0].frame] * (1 - node.share)
    past = [own[f] for f in range(frames - loop, frames)]
    assert past == pytest.approx(sorted(past, reverse=True), abs=1e-9)
    if loop > every:
        assert past[-1] == pytest.approx(0, abs=1e-9)


@given(shots())
def test_shots_keep_to_themselves_and_dream_both_ends(video):
    for shot in video:
        nodes = {n.id.frame: n for stage in flow_lane(**shot) for n in stage}
        frames = shot["shot"]
        assert sorted(nodes) == list(frames)
        assert all(p.frame in frames for n in nodes.values() for p in n.parents)
        assert nodes[frames[0]].parents == ()
        assert nodes[frames[0]].iterations == shot["first_iterations"]
        if len(frames) > 1:
            (parent,) = nodes[frames[-1]].parents
            assert 1 <= frames[-1] - parent.frame <= shot["every"]
            assert nodes[frames[-1]].iterations == shot["iterations"]


@given(shots())
def test_a_frame_between_inherits_from_the_nearest_dreams_on_both_sides(video):
    for shot in video:
        dreamed: set[int] = set()
        for stage in flow_lane(**shot):
            assert len({n.iterations for n in stage}) == 1
            for node in stage:
                parents = [p.frame for p in node.parents]
                earlier = sorted(f for f in dreamed if f < node.id.frame)
                later = sorted(f for f in dreamed if f > node.id.frame)
                assert parents == earlier[-1:] + later[:1]
                assert node.iterations or len(parents) == 2
            dreamed |= {n.id.frame for n in stage if n.iterations}


@given(st.lists(shots(), min_size=1, max_size=4), st.integers(1, 6))
def test_memory_is_bounded_by_the_lanes(videos, width):
    plan = [
        flow_lane(**{**shot, "input": index})
        for index, video in enumerate(videos)
        for shot in video
    ]
    longest = max(shot["every"] for video in videos for shot in video)
    held = most_held(batches(plan, width))
    for index, video in enumerate(videos):
        assert held[index] <= min(width, len(video)) * (longest + 1)


def shown(lane: Lane) -> list[list[tuple[int, list[int], int]]]:
    return [[(n.id.frame, [p.frame for p in n.parents], n.iterations) for n in s] for s in lane]


def test_a_flow_lane_refines_by_bisection():
    lane = flow_lane(
        range(10, 20), size=(32, 16), every=8, first_iterations=12, iterations=4, refine=(3, 2)
    )
    assert shown(lane) == [
        [(10, [], 12)],
        [(18, [10], 4)],
        [(14, [10, 18], 3)],
        [(12, [10, 14], 2), (16, [14, 18], 2)],
        [
            (11, [10, 12], 0),
            (13, [12, 14], 0),
            (15, [14, 16], 0),
            (17, [16, 18], 0),
        ],
        [(19, [18], 4)],
    ]


def test_a_level_that_is_not_refined_is_filled_from_dreams():
    lane = flow_lane(
        range(5), size=(32, 16), every=4, first_iterations=12, iterations=4, refine=(0, 2)
    )
    assert shown(lane) == [
        [(0, [], 12)],
        [(4, [0], 4)],
        [(1, [0, 4], 2), (3, [0, 4], 2)],
        [(2, [1, 3], 0)],
    ]


def test_every_frame_a_keyframe_is_a_chain():
    lane = flow_lane(range(3), size=(32, 16), every=1, first_iterations=12, iterations=4)
    assert shown(lane) == [[(0, [], 12)], [(1, [0], 4)], [(2, [1], 4)]]


def test_a_shot_needs_frames():
    with pytest.raises(ValueError, match="needs frames"):
        flow_lane(range(4, 4), size=(32, 16), every=4, first_iterations=1, iterations=1)


def test_refined_frames_do_not_part_the_lanes():
    """A lane that begins while another refines meets it at the next keyframes all the same."""
    plan = [
        flow_lane(
            range(frames), size=(32, 16), every=4, first_iterations=9, iterations=4, refine=(2,),
            input=i,
        )
        for i, frames in enumerate((40, 16, 15))
    ]  # fmt: skip
    keyframes_of_the_third = [
        len(batch.nodes)
        for batch in batches(plan, 2)
        if batch.iterations == 4 and any(n.id.input == 2 for n in batch.nodes)
    ]
    assert keyframes_of_the_third == [2, 2, 2, 2]


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
