import cv2
import numpy as np
import pytest
from moving import pan, square_over_texture, texture

from pipeline.feedback.motion import find_motion, spread
from pipeline.feedback.optical_flow import consistency_mask, dis, enlarge

SIZE = (320, 180)


def road_and_car(noise: float) -> tuple[list[np.ndarray], slice, slice]:
    """A textured square drives over a road: grey but for a few marks, and noise."""
    (first, second), columns = square_over_texture(2, SIZE, side=40, step=8)
    rng = np.random.default_rng(0)
    road = np.full((SIZE[1], SIZE[0], 3), 110, np.uint8)
    for x, y in rng.integers(4, (SIZE[0] - 4, SIZE[1] - 4), (60, 2)):
        road[y : y + 3, x : x + 3] = 220
    frames = []
    for frame, column in zip((first, second), columns, strict=True):
        scene = road.copy()
        scene[70:110, column] = frame[70:110, column]
        # Blocks, as a codec leaves them: they lie elsewhere in every frame.
        blocks = cv2.resize(rng.normal(0, noise, (23, 40)), SIZE, interpolation=cv2.INTER_NEAREST)
        frames.append((scene + blocks[..., None]).clip(0, 255).astype(np.uint8))
    return frames, slice(70, 110), columns[1]


def test_a_pan_is_seen_whole():
    earlier, later = pan(2, SIZE, (4, 2))
    motion = find_motion(earlier, later, dis)
    for hop, step in ((motion.backward, (4, 2)), (motion.forward, (-4, -2))):
        hop = enlarge(hop, SIZE)
        assert np.abs(hop.flow[12:-12, 12:-12] - step).mean() < 0.1
        assert hop.visible[12:-12, 12:-12].mean() > 0.98


def test_a_road_that_shows_nothing_stands_still():
    """Without settling, a flow wanders on it with the noise, and most of it is rejected."""
    (earlier, later), rows, columns = road_and_car(3)
    consistent = consistency_mask(*dis(earlier, later))
    backward = enlarge(find_motion(earlier, later, dis).backward, SIZE)
    road = np.ones(SIZE[::-1], bool)
    road[rows.start - 20 : rows.stop + 20, columns.start - 40 : columns.stop + 40] = False
    rejected = cv2.resize(consistent, SIZE)[road].mean()
    assert rejected < 0.75
    assert backward.visible[road].mean() > 0.85
    assert np.abs(backward.flow[road]).mean() < 0.5
    car = slice(rows.start + 6, rows.stop - 6), slice(columns.start + 6, columns.stop - 6)
    assert np.abs(backward.flow[car] - (-8, 0)).mean() < 0.5
    assert backward.visible[car].mean() > 0.9


@pytest.mark.parametrize("change", ["noise", "cut"])
def test_where_nothing_fits_nothing_is_seen(change):
    rng = np.random.default_rng(0)
    earlier = texture(SIZE)
    if change == "cut":
        later = texture(SIZE, seed=9)
    else:
        later = rng.integers(0, 256, earlier.shape).astype(np.uint8)
    motion = find_motion(earlier, later, dis)
    assert motion.backward.visible.mean() < 0.25
    assert motion.forward.visible.mean() < 0.25


def test_a_flow_spreads_from_where_it_counts():
    flow, weight = np.zeros((90, 160, 2), np.float32), np.zeros((90, 160), np.float32)
    flow[:] = 99
    flow[20:30, 20:30], weight[20:30, 20:30] = (2, 1), 1
    flow[60:70, 130:140], weight[60:70, 130:140] = (-2, 0), 1
    filled = spread(flow, weight)
    assert np.abs(filled[25, 25] - (2, 1)).max() < 0.2
    assert np.abs(filled[65, 135] - (-2, 0)).max() < 0.2
    assert filled[..., 0].max() < 2.01
    assert filled[..., 0].min() > -2.01
    assert filled[28, 35, 0] > 0.8
    assert filled[62, 125, 0] < -0.8
    assert not spread(flow, np.zeros_like(weight)).any()
