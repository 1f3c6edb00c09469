import numpy as np
import pytest
import torch
from moving import pan, square_over_texture, texture, turn

from pipeline.config import FlowFeedback as FlowSettings
from pipeline.engine.ascent import StepSettings
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.objectives import Term
from pipeline.feedback.flow import FlowFeedback, blend, enlarged, warp
from pipeline.feedback.optical_flow import Hop, dis, enlarge, sample
from pipeline.feedback.seed import to_pictures, to_tensor
from pipeline.feedback.ways import WayFinder
from pipeline.plan import FrameId, Node, batches, flow_lane

SIZE = (192, 128)


def node(frame: int, *parents: int, size=SIZE) -> Node:
    return Node(FrameId(0, frame), tuple(FrameId(0, p) for p in parents), 0, size)


@pytest.fixture
def feedback():
    made: list[FlowFeedback] = []

    def make(**settings) -> FlowFeedback:
        made.append(FlowFeedback(WayFinder(dis), **{"carry": 1.0, **settings}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def halved(clip: np.ndarray) -> np.ndarray:
    """At half the contrast, so that no detail is clipped."""
    return (clip / 2 + 64).astype(np.uint8)


def dreamed(source: np.ndarray, detail: np.ndarray) -> np.ndarray:
    return (source + detail).round().clip(0, 255).astype(np.uint8)


def detail_of(seed: torch.Tensor, source: np.ndarray) -> np.ndarray:
    """What a seed has beyond its source, 0..255, (H, W, 3)."""
    return ((seed - to_tensor(source, "cpu")) * 255).permute(1, 2, 0).numpy()


def noise(seed: int = 0, size=SIZE) -> np.ndarray:
    return (texture(size, seed=seed).astype(float) - 128) / 3


def test_the_first_frame_is_its_source(feedback):
    clip = texture(SIZE)[None]
    assert torch.equal(feedback().seed(node(0), clip.__getitem__, []), to_tensor(clip[0], "cpu"))


def test_without_detail_the_source_stays_as_it_is(feedback):
    """Nothing of the source is ever resampled: it stays sharp."""
    clip, _ = turn(5, SIZE, 3.0)
    one = feedback(carry=0.9)
    keyframe = one.seed(node(4, 0), clip.__getitem__, [clip[0]])
    assert torch.equal(keyframe, to_tensor(clip[4], "cpu"))
    between = one.seed(node(2, 0, 4), clip.__getitem__, [clip[0], clip[4]])
    assert torch.equal(between, to_tensor(clip[2], "cpu"))


@pytest.mark.parametrize("carry", [1.0, 0.9])
def test_a_keyframe_inherits_the_detail_that_moved(feedback, carry):
    step, distance = (3, -1), 4
    clip = halved(pan(5, SIZE, step))
    whole = pan(5, SIZE, step, seed=7).astype(float) - 128
    dream = dreamed(clip[0], whole[0] / 3)
    seed = feedback(carry=carry).seed(node(4, 0), clip.__getitem__, [dream])
    expected = whole[4] / 3 * carry**distance
    error = detail_of(seed, clip[4]) - expected
    inner = error[16:-8, 8:-24]  # what the last frame shares with the first
    assert np.sqrt((inner**2).mean()) < 0.12 * np.sqrt((expected**2).mean())


def test_what_comes_into_view_inherits_nothing(feedback):
    clip = halved(pan(5, SIZE, (6, 0)))
    dream = dreamed(clip[0], np.full((SIZE[1], SIZE[0], 3), 40))
    detail = detail_of(feedback().seed(node(4, 0), clip.__getitem__, [dream]), clip[4])
    assert np.abs(detail[:, -18:]).max() < 2
    assert np.abs(detail[12:-12, 12:-32] - 40).max() < 2
    # It fades in: nowhere a step.
    assert np.abs(np.diff(detail, axis=1)).max() < 25


def test_between_frames_the_later_side_shows_what_came_into_view(feedback):
    clip = halved(pan(5, SIZE, (6, 0)))
    dreams = [dreamed(clip[f], np.full((SIZE[1], SIZE[0], 3), d)) for f, d in ((0, -30), (4, 30))]
    detail = detail_of(feedback().seed(node(2, 0, 4), clip.__getitem__, dreams), clip[2])
    assert detail[12:-12, -6:].mean() > 25  # only the later side has it
    assert detail[12:-12, :6].mean() < -25  # and this only the earlier one
    assert np.abs(detail[12:-12, 24:-24]).mean() < 3


def test_no_detail_is_carried_into_what_was_hidden(feedback):
    """A square moves off a background: its dream goes with it and leaves nothing behind."""
    clip, columns = square_over_texture(3, (256, 160), side=64, step=12)
    clip = halved(clip)
    detail = np.zeros((160, 256, 3))
    detail[48:112, columns[0]] = 60
    seed = feedback().seed(
        node(2, 0, size=(256, 160)), clip.__getitem__, [dreamed(clip[0], detail)]
    )
    carried = detail_of(seed, clip[2])
    uncovered = carried[54:106, columns[0].start + 2 : columns[2].start - 4]
    assert np.abs(uncovered).mean() < 8
    square = carried[58:102, columns[2].start + 10 : columns[2].stop - 10]
    assert square.mean() > 50
    assert np.abs(carried[:36]).mean() < 2


def test_both_sides_of_a_frame_between_keep_its_strength(feedback):
    clip, _ = turn(5, SIZE, 1.5)
    clip = halved(clip)
    whole = (turn(5, SIZE, 1.5)[0][..., ::-1].astype(float) - 128) / 3
    dreams = [dreamed(clip[f], whole[f]) for f in (0, 4)]
    one = feedback(carry=0.5)  # frames between lose nothing, whatever keyframes do
    for frame in (1, 2, 3):
        detail = detail_of(one.seed(node(frame, 0, 4), clip.__getitem__, dreams), clip[frame])
        error = (detail - whole[frame])[16:-16, 16:-16]
        assert np.sqrt((error**2).mean()) < 0.3 * np.sqrt((whole[frame] ** 2).mean())


def test_nearness_decides(feedback):
    clip = np.stack([texture(SIZE)] * 5)
    clip = halved(clip)
    dreams = [dreamed(clip[0], np.full(clip[0].shape, d)) for d in (-40, 40)]
    one = feedback()
    for frame in (1, 2, 3):
        detail = detail_of(one.seed(node(frame, 0, 4), clip.__getitem__, dreams), clip[0])
        assert np.abs(detail - (frame * 20 - 40)).max() < 1


def test_where_both_sides_are_rejected_they_dissolve():
    """No hole opens for a few frames; and one side that is accepted counts nearly alone."""
    details = [torch.full((3, 4, 4), v) for v in (-1.0, 1.0)]
    none, all_ = torch.zeros(4, 4), torch.ones(4, 4)
    assert blend(details, [none, none], 0.25) == pytest.approx(-0.5 * np.ones((3, 4, 4)), abs=1e-5)
    assert blend(details, [none, all_], 0.25).min() > 0.7
    assert blend(details, [all_, none], 0.75).max() < -0.7
    assert blend(details, [all_, all_], 0.25) == pytest.approx(-0.5 * np.ones((3, 4, 4)), abs=1e-5)


def test_the_two_samplers_agree():
    """OpenCV's, on a CPU, and torch's elsewhere; they place samples on 1/32 pixel and exactly."""
    picture = np.ascontiguousarray(noise(3) / 255, np.float32)
    flow = np.ascontiguousarray(turn(2, SIZE, 6.0)[1])
    ours = sample(picture, flow, interpolation=2, border=2)
    torchs = warp(torch.from_numpy(picture).permute(2, 0, 1), torch.from_numpy(flow))
    assert np.abs(torchs.permute(1, 2, 0).numpy() - ours).mean() < 0.004


def test_a_gpu_enlarges_hops_as_opencv_does():
    rng = np.random.default_rng(0)
    flow = rng.normal(0, 3, (24, 40, 2)).astype(np.float32)
    hop = Hop(flow, rng.random((24, 40), dtype=np.float32))
    for size in ((80, 48), (95, 61), (40, 24)):
        wanted = enlarge(hop, size)
        found = enlarged(torch.from_numpy(hop.flow), torch.from_numpy(hop.visible), size)
        for ours, judge in zip(found, wanted, strict=True):
            assert ours.shape == judge.shape
            assert np.abs(ours.numpy() - judge).max() < 0.01


@pytest.mark.cuda
def test_cuda_makes_the_same_seeds(cuda, feedback):
    clip = halved(turn(5, SIZE, 2.0)[0])
    dreams = [dreamed(clip[0], noise(1)), dreamed(clip[4], noise(2))]
    seeds = [
        feedback(device=device).seed(node(2, 0, 4), clip.__getitem__, dreams).cpu()
        for device in ("cpu", cuda)
    ]
    assert (seeds[0] - seeds[1]).abs().mean() < 0.004


@pytest.mark.parametrize(
    ("every", "iterations", "carry"), [(None, None, None), (1, 2, 0.9)], ids=["default", "every"]
)
def test_a_static_picture_settles(dreamnet, every, iterations, carry):
    """300 frames of one picture: the dream stops growing, and brightness and colour stay."""
    default = FlowSettings(kind="flow")
    size = (64, 48)
    source = texture(size, seed=4, blur=2.5)
    lane = flow_lane(
        range(300),
        size=size,
        every=every or default.keyframe_every,
        first_iterations=12,
        iterations=iterations or default.iterations,
        refine=default.refine,
    )
    nodes = [n for batch in batches([lane], 8) for n in batch.nodes]
    feedback = FlowFeedback(WayFinder(dis, coming=nodes), carry=carry or default.carry)
    dreamer = Dreamer(dreamnet, [Term("mixed4a")], octaves=2, smallest=32)
    settings = StepSettings(step=0.008, jitter=16, sigma=0.5, weights=(1.0,))
    dreams: dict[int, np.ndarray] = {}
    for n in nodes:
        seed = feedback.seed(n, lambda _: source, [dreams[p.frame] for p in n.parents])
        dream = dreamer(seed[None], iterations=n.iterations, keys=[n.id.frame], settings=[settings])
        dreams[n.id.frame] = to_pictures(dream.pictures)[0]
    feedback.close()
    clip = np.stack([dreams[f] for f in range(300)]).astype(float)
    strength = np.abs(clip - source).mean((1, 2, 3))
    assert strength[20] > 3
    last = strength[200:]
    assert np.abs(last / last.mean() - 1).max() < 0.05
    assert abs(last[50:].mean() / last[:50].mean() - 1) < 0.03
    brightness = clip.mean((1, 2, 3))
    assert np.abs(brightness[20:] / brightness[20] - 1).max() < 0.02
    # A dream has colours of its own; they arrive, and then stay.
    colours = clip.mean((1, 2))
    assert np.abs(colours[100:] - colours[100]).max() < 6
