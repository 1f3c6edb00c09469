import cv2
import numpy as np
import pytest
from moving import pan, texture, turn

from pipeline.feedback.optical_flow import Hop, dis, enlarge
from pipeline.metrics import (
    by_phase,
    coherence,
    farneback,
    high_frequency_energy,
    refined_dis,
    weakest_phase,
)

SIZE = (160, 96)
FRAMES = 6
STEP = (3, -2)


def exact(earlier, _):
    flow = np.broadcast_to(np.float32(STEP), (*earlier.shape[:2], 2)).copy()
    return flow, -flow


def dreamed(sources, details) -> list[np.ndarray]:
    pairs = zip(sources, details, strict=True)
    return [(s + d).round().clip(0, 255).astype(np.uint8) for s, d in pairs]


def noise(seed: int, size=SIZE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.normal(0, 60, (size[1], size[0], 3)), (0, 0), 1.5)


@pytest.fixture(scope="module")
def clip():
    # At half the contrast, so that nothing is clipped.
    sources = list((pan(FRAMES, SIZE, STEP) / 2 + 64).astype(np.uint8))
    return sources, dreamed(sources, (pan(FRAMES, SIZE, STEP, seed=5).astype(float) - 128) * 0.3)


def test_a_detail_painted_onto_what_moves_does_not_flicker(clip):
    sources, dreams = clip
    judged = coherence(dreams, sources, exact)
    assert judged.flicker < 0.05
    assert judged.textured < 0.05
    assert len(judged.pairs) == FRAMES - 1
    # A row and a column of the picture come into view with every pixel of the motion.
    assert judged.counted == pytest.approx((1 - 3 / 160) * (1 - 2 / 96), abs=0.02)


def test_unrelated_details_flicker_by_the_square_root_of_two(clip):
    sources, _ = clip
    dreams = dreamed(sources, [noise(t) for t in range(FRAMES)])
    assert coherence(dreams, sources, exact).flicker == pytest.approx(1.41, abs=0.08)


def test_a_detail_that_stays_behind_flickers(clip):
    sources, dreams = clip
    stuck = dreamed(sources, [noise(0)] * FRAMES)
    assert coherence(stuck, sources, exact).flicker > 10 * coherence(dreams, sources, exact).flicker


def test_flicker_does_not_depend_on_strength(clip):
    sources, _ = clip
    flickers = []
    for strength in (0.5, 1):
        details = [strength * (noise(0) + 0.3 * noise(t + 1)) for t in range(FRAMES)]
        dreams = dreamed(sources, details)
        flickers.append(coherence(dreams, sources, exact).flicker)
    assert flickers[0] == pytest.approx(flickers[1], rel=0.05)


def test_the_warping_error_of_a_known_change():
    """Two frames at rest whose colours differ by 0.2 in every channel: 3 * 0.2^2."""
    source = np.full((64, 64, 3), 100, np.uint8)
    still = np.zeros((64, 64, 2), np.float32)
    judged = coherence([source, source + np.uint8(51)], [source, source], lambda *_: (still, still))
    assert judged.warping_error == pytest.approx(3 * 0.2**2)
    assert judged.counted == 1
    assert np.isnan(judged.textured)  # a plain picture: no motion can be known


@pytest.mark.parametrize("judge", [farneback, refined_dis], ids=["farneback", "refined dis"])
def test_judges_know_the_motion(judge, clip):
    sources, dreams = clip
    backward, forward = judge(sources[0], sources[1])
    assert np.abs(backward[12:-12, 12:-12] - STEP).mean() < 0.1
    assert np.abs(forward[12:-12, 12:-12] + STEP).mean() < 0.1
    assert coherence(dreams, sources, judge).flicker < 0.15


def test_farneback_is_not_lost_on_faint_texture():
    """At 8-bit contrast OpenCV's regulariser pulls such motion to zero."""
    faint = [(f / 12 + 120).astype(np.uint8) for f in pan(2, (240, 160), (6, 3))]
    backward, _ = farneback(*faint)
    assert np.abs(backward[20:-20, 20:-20] - (6, 3)).mean() < 0.5
    a, b = (cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in faint)
    plain = cv2.calcOpticalFlowFarneback(b, a, None, 0.5, 5, 41, 5, 7, 1.5, 256)
    assert np.abs(plain[20:-20, 20:-20] - (6, 3)).mean() > 1


def test_judges_know_a_rotation():
    sources, truth = turn(2, (240, 160), 2.0)
    for judge in (farneback, refined_dis):
        backward, _ = judge(*sources)
        assert np.abs(backward - truth)[12:-12, 12:-12].mean() < 0.15


def test_nothing_is_measured_across_a_cut(clip):
    sources, dreams = clip
    other = texture(SIZE, seed=8)
    sources, dreams = [*sources, other], [*dreams, 255 - other]
    assert len(coherence(dreams, sources, exact, cuts=[FRAMES]).pairs) == FRAMES - 1
    assert coherence(dreams, sources, exact, cuts=[FRAMES]).flicker < 0.05
    with pytest.raises(ValueError, match="two frames of one shot"):
        coherence(dreams[:1], sources[:1], exact)


def test_the_renders_own_flow_can_judge_too(clip):
    sources, dreams = clip

    def own(earlier, later):
        flows = dis(earlier, later)
        return tuple(enlarge(Hop(f, np.ones(f.shape[:2], np.float32)), SIZE).flow for f in flows)

    assert coherence(dreams, sources, own).flicker < 0.3


def test_blur_lowers_high_frequency_energy():
    picture = texture(SIZE, blur=0.6)
    blurred = cv2.GaussianBlur(picture, (0, 0), 1.0)
    assert high_frequency_energy(blurred) < 0.5 * high_frequency_energy(picture)
    assert high_frequency_energy(np.full((40, 40, 3), 90, np.uint8)) < 1e-6


def test_phases():
    values = [100, 1, 2, 3, 4, 5, 6, 7, 4, 1, 2, 3]
    assert by_phase(values, 4, first=4) == [4, 3, 4, 5]
    assert weakest_phase(values, 4, first=4) == 0.6
    with pytest.raises(ValueError, match="too few"):
        by_phase([1, 2], 4)
