import itertools

import cv2
import numpy as np
import pytest
from moving import pan, square_over_texture, texture, turn

from pipeline.feedback.optical_flow import (
    Hop,
    compose,
    consistency_mask,
    dis,
    enlarge,
    grey,
    sample,
    size_within,
    soften,
    within,
)

SIZE = (192, 128)


def constant(x: float, y: float, size=SIZE) -> np.ndarray:
    return np.broadcast_to(np.float32([x, y]), (size[1], size[0], 2)).copy()


def full_size(flow: np.ndarray) -> np.ndarray:
    return enlarge(Hop(flow, np.ones(flow.shape[:2], np.float32)), SIZE).flow


def inner(field: np.ndarray, margin: int = 12) -> np.ndarray:
    return field[margin:-margin, margin:-margin]


@pytest.mark.parametrize("step", [(2, 1), (-3, 0), (5, -4), (0, 0)], ids=str)
def test_dis_finds_a_pan_both_ways(step):
    earlier, later = pan(2, SIZE, step)
    backward, forward = dis(earlier, later)
    # A camera that moves right finds later pixels further right in the earlier frame.
    assert np.abs(inner(full_size(backward)) - step).mean() < 0.1
    assert np.abs(inner(full_size(forward)) + step).mean() < 0.1


def test_dis_finds_a_rotation():
    (earlier, later), truth = turn(2, SIZE, 2.0)
    backward, _ = dis(earlier, later)
    assert np.abs(inner(full_size(backward) - truth)).mean() < 0.1


def test_large_frames_are_searched_smaller():
    earlier, later = pan(2, SIZE, (4, 2))
    backward, _ = dis(earlier, later, max_pixels=3000)
    assert backward.shape[0] * backward.shape[1] <= 3000
    assert np.abs(inner(full_size(backward)) - (4, 2)).mean() < 0.6


@pytest.mark.parametrize("size", [(2, 2), (16, 16), (200, 18), (30, 120), (33, 47)], ids=str)
def test_dis_takes_frames_of_any_size(size):
    frame = texture(size)
    for flow in dis(frame, frame):
        assert np.abs(flow).max() < 0.5
        assert flow.flags.c_contiguous


def test_size_within_keeps_the_aspect():
    assert size_within((640, 360), 1e6) == (640, 360)
    assert size_within((640, 360), 57600) == (320, 180)
    assert size_within((3, 100_000), 100) == (1, 1825)


def test_a_flow_and_its_opposite_are_consistent():
    assert consistency_mask(constant(3, -2), constant(-3, 2)).min() == 1
    assert consistency_mask(constant(3, -2), constant(3, -2)).max() == 0


def test_the_tolerance_is_the_papers():
    """|b + f|^2 < 0.01 (|b|^2 + |f|^2) + 0.5: for b = (10, 0) up to about f = (-11.7, 0)."""
    b = constant(10, 0)
    for f, passes in ((-10.7, True), (-11.5, True), (-11.8, False), (-8.6, True), (-8.4, False)):
        allowed = 0.01 * (100 + f * f) + 0.5
        assert ((10 + f) ** 2 < allowed) == passes
        assert consistency_mask(b, constant(f, 0)).min() == passes


def test_flows_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"backward\.shape = \(128, 192, 2\) and forward\.shape"):
        consistency_mask(constant(0, 0), constant(0, 0, (64, 64)))


def test_what_a_square_uncovers_is_not_consistent():
    clip, columns = square_over_texture(2, SIZE, side=48, step=8)
    # A flow at full size, to see the 8 pixels the square has just left.
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    a, b = (grey(frame, SIZE) for frame in clip)
    backward, forward = search.calc(b, a, None), search.calc(a, b, None)
    mask = consistency_mask(backward, forward)
    rows = slice(46, 82)
    uncovered = slice(columns[0].start + 2, columns[1].start - 2)
    assert mask[rows, uncovered].mean() < 0.3
    assert mask[rows, columns[1].start + 6 : columns[1].stop - 6].mean() > 0.95
    assert mask[:, columns[1].stop + 16 :].mean() > 0.95
    hidden = consistency_mask(forward, backward)
    assert hidden[rows, columns[0].stop + 2 : columns[1].stop - 2].mean() < 0.3


def test_a_soft_mask_is_zero_in_holes_and_has_no_step():
    mask = np.ones((60, 80), np.float32)
    mask[20:40, 30:50] = 0
    mask[5, 5] = 0  # a speck
    soft = soften(mask)
    assert soft[20:40, 32:48].max() == 0
    assert soft[22:38, 30:50].max() == 0
    assert soft[:10].min() == 1
    assert max(np.abs(np.diff(soft, axis=axis)).max() for axis in (0, 1)) <= 0.25


def test_hops_compose_to_the_whole_motion():
    clip, truth = turn(4, SIZE, 1.5)
    (_, last), whole = turn(2, SIZE, 4.5)
    hops = [
        Hop(full_size(dis(a, b)[0]), np.ones(SIZE[::-1], np.float32))
        for a, b in itertools.pairwise(clip)
    ]
    way = compose(compose(hops[2], hops[1]), hops[0])
    assert np.abs(inner(way.flow - whole, 20)).mean() < 0.15
    assert truth.shape == way.flow.shape
    assert way.visible.min() == 1
    assert last.shape == clip[0].shape


def test_the_second_hop_is_read_where_the_first_one_leads():
    growing = np.zeros((128, 192, 2), np.float32)
    growing[..., 1] = 0.1 * np.arange(192)
    ones = np.ones((128, 192), np.float32)
    way = compose(Hop(constant(20, 5), ones), Hop(growing, ones))
    assert np.allclose(way.flow[:, :170, 0], 20)
    assert np.allclose(way.flow[:, :170, 1], 5 + 0.1 * (np.arange(170) + 20), atol=1e-3)


def test_what_is_hidden_on_the_way_is_hidden():
    first = Hop(constant(5, 0), np.ones((128, 192), np.float32))
    hole = np.ones((128, 192), np.float32)
    hole[:, 100:110] = 0
    way = compose(first, Hop(constant(2, 0), hole))
    assert (way.flow == (7, 0)).all()
    assert way.visible[:, 95:105].max() == 0
    assert way.visible[:, :94].min() == 1


def test_outside_the_picture_nothing_is_seen():
    visible = within(Hop(constant(6, -3), np.ones((128, 192), np.float32))).visible
    assert visible[10:, :180].min() == 1
    assert visible[:, 189:].max() == 0
    assert visible[0].max() == 0
    still = within(Hop(constant(0.1, -0.1), np.ones((128, 192), np.float32))).visible
    assert still.min() > 0.9


def test_enlarging_scales_the_motion():
    hop = enlarge(Hop(constant(3, 2), np.ones((128, 192), np.float32)), (384, 512))
    assert hop.flow.shape == (512, 384, 2)
    assert np.allclose(hop.flow, (6, 8))
    assert hop.visible.min() == 1


def test_sampling_reads_where_the_flow_leads():
    picture = np.arange(192, dtype=np.float32)[None].repeat(128, axis=0)
    moved = sample(picture, constant(2.5, 0))
    assert np.allclose(moved[:, :189], picture[:, :189] + 2.5, atol=0.02)
    assert moved[:, -1].max() == 191
