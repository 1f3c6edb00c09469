"""Steps as a GPU takes them, on the kernels' references.

A recording is then a function that is called again, with whatever its tensors hold by then: that is
what a CUDA graph is.
"""

import pytest
import torch

from pipeline.engine import torch_kernels
from pipeline.engine.ascent import StepSettings, ascend
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.gpu_steps import MOST_RECORDINGS, GpuFooting
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.kernels import kernels_for
from pipeline.engine.objectives import Term
from pipeline.engine.tiles import Split, TiledGradient

SETTINGS = [
    StepSettings(step=0.01, jitter=9, sigma=0.5, weights=(1.0,)),
    StepSettings(step=0.02, jitter=0, sigma=1.2, weights=(-0.5,)),
]


class Recorder:
    """Records as a CUDA graph does, as far as a CPU can."""

    def __init__(self):
        self.made = self.played = 0

    def __call__(self, run):
        self.made += 1

        def play():
            self.played += 1
            run()

        return play


def on_gpu(record, *, whole=lambda _: True):
    return GpuFooting(torch_kernels, whole=whole, record=record)


def pictures(count=2, size=(40, 53), seed=0):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def gradient(dreamnet):
    return ImageGradient(dreamnet, [Term("mixed3a")])


def climbed(gradient, picture, footing, *, iterations=2, settings=SETTINGS, keys=(4, 5), **kinds):
    return ascend(
        picture,
        gradient,
        keys=keys,
        octave=1,
        iterations=iterations,
        settings=settings,
        **kinds,
        **({"footing": footing} if footing else {}),
    )


@pytest.mark.parametrize("smoothing", ["none", "gaussian", "cascade", "laplacian"])
@pytest.mark.parametrize("normalisation", ["mean_abs", "std", "none"])
def test_a_step_is_the_cpus(gradient, smoothing, normalisation):
    kinds = {"smoothing": smoothing, "normalisation": normalisation, "iterations": 1}
    wanted, value = climbed(gradient, pictures(), None, **kinds)
    found, height = climbed(gradient, pictures(), on_gpu(Recorder()), **kinds)
    torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(height, value, rtol=1e-5, atol=0)


def test_tiny_pictures_are_smoothed_as_far_as_they_go():
    slope = lambda picture, weights: (picture - 0.4, weights.sum(1))  # noqa: E731
    for side in (1, 2, 4):
        picture = pictures(2, (side, side + 1))
        wanted, _ = climbed(slope, picture, None, iterations=3)
        found, _ = climbed(slope, picture, on_gpu(Recorder()), iterations=3)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_the_second_walk_over_a_shape_is_recorded_and_later_ones_replay_it(gradient):
    record = Recorder()
    footing = on_gpu(record)
    other = [StepSettings(0.03, 5, 0.9, (0.7,)), StepSettings(0.01, 12, 0.1, (2.0,))]
    made = []
    for seed, settings in enumerate((SETTINGS, SETTINGS, other, SETTINGS)):
        picture, keys = pictures(seed=seed), (seed, 7)
        found, value = climbed(
            gradient, picture, footing, keys=keys, settings=settings, iterations=seed + 2
        )
        wanted, height = climbed(
            gradient, picture, on_gpu(record), keys=keys, settings=settings, iterations=seed + 2
        )
        assert torch.equal(found, wanted)
        assert torch.equal(value, height)
        made.append(record.made)
    assert made == [0, 1, 1, 1]
    assert record.played == 3 + 4 + 5


def test_what_was_returned_is_not_written_to_again(gradient):
    footing = on_gpu(Recorder())
    for _ in range(2):
        first, value = climbed(gradient, pictures(), footing)
    kept, height = first.clone(), value.clone()
    climbed(gradient, pictures(seed=9), footing)
    assert torch.equal(first, kept)
    assert torch.equal(value, height)


def test_a_gaussians_width_belongs_to_its_recording(gradient):
    record = Recorder()
    footing = on_gpu(record)
    for sigma in (0.5, 0.5, 1.5, 1.5):
        settings = [StepSettings(0.01, 4, sigma, (1.0,))] * 2
        kinds = {"smoothing": "gaussian", "settings": settings}
        found, _ = climbed(gradient, pictures(), footing, **kinds)
        assert torch.equal(found, climbed(gradient, pictures(), on_gpu(record), **kinds)[0])
    assert record.made == 2


def test_restrained_steps_are_recorded_too(gradient):
    footing = on_gpu(Recorder())
    for decay in (1.0, 1.0, 3.0):
        held = [StepSettings(0.01, 4, 0.5, (1.0,), decay=decay, variation=0.2)] * 2
        found, _ = climbed(gradient, pictures(), footing, settings=held)
        wanted, _ = climbed(gradient, pictures(), None, settings=held)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert any(footing._recordings.values())


def test_masked_steps_are_recorded_with_every_batchs_own_mask(gradient):
    record = Recorder()
    footing = on_gpu(record)
    for seed in range(4):
        reach = pictures(seed=seed)[:, :1]
        found, _ = climbed(gradient, pictures(), footing, reach=reach)
        wanted, _ = climbed(gradient, pictures(), None, reach=reach)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
        free, _ = climbed(gradient, pictures(), footing)
        assert not torch.equal(found, free)
    assert record.made == 2


@pytest.mark.parametrize(
    "kinds",
    [
        {"settings": [StepSettings(0.01, 4, 0.5, (1.0,), rotate=5.0)] * 2},
        {"settings": [StepSettings(0.01, 4, 0.5, (1.0,), blur=0.7)] * 2, "blur_every": 2},
    ],
    ids=["turned", "blurred"],
)
def test_steps_like_no_other_are_not_recorded(gradient, kinds):
    record = Recorder()
    footing = on_gpu(record)
    for _ in range(3):
        found, _ = climbed(gradient, pictures(), footing, **kinds)
    wanted, _ = climbed(gradient, pictures(), None, **kinds)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert record.made == 0


def test_recordings_are_bounded():
    slope = lambda picture, weights: (picture, weights.sum(1))  # noqa: E731
    record = Recorder()
    footing = on_gpu(record)
    for side in range(8, 8 + 2 * MOST_RECORDINGS):
        for _ in range(2):
            climbed(slope, pictures(size=(8, side)), footing, iterations=1)
    assert record.made == 2 * MOST_RECORDINGS
    assert len(footing._recordings) == MOST_RECORDINGS


def test_a_recording_that_fails_is_said_and_done_without(gradient):
    def refuse(run):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    footing = on_gpu(refuse)
    for _ in range(3):
        found, _ = climbed(gradient, pictures(), footing)
    assert torch.equal(found, climbed(gradient, pictures(), on_gpu(Recorder()))[0])
    assert footing.refusal == "operation not permitted when stream is capturing"


def test_pieces_are_not_recorded(gradient):
    tiled = TiledGradient(gradient, split=Split(chunk=1))
    assert tiled.is_whole(torch.Size((1, 3, 900, 900)))
    assert not tiled.is_whole(torch.Size((2, 3, 90, 90)))
    assert not TiledGradient(gradient, split=Split(tile=192)).is_whole(torch.Size((1, 3, 90, 193)))
    record = Recorder()
    footing = on_gpu(record, whole=tiled.is_whole)
    for _ in range(3):
        climbed(tiled, pictures(), footing)
    assert record.made == 0


def test_a_cpu_has_no_recordings(dreamnet):
    assert kernels_for(torch.device("cpu")) is torch_kernels
    assert Dreamer(dreamnet, [Term("mixed3a")]).slow_because is None


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_graphs_do_what_single_steps_do(dreamnet, cuda, dtype):
    from pipeline.engine.gpu_steps import CudaGraphs

    gradient = ImageGradient(dreamnet, [Term("mixed3a")], device=cuda, dtype=dtype)
    footing = GpuFooting(kernels_for(cuda), whole=lambda _: True, record=CudaGraphs())
    for seed, size in enumerate([(40, 53), (64, 80)] * 3):
        picture = pictures(seed=seed, size=size).to(cuda)
        eager = GpuFooting(kernels_for(cuda), whole=lambda _: False)
        found, value = climbed(gradient, picture, footing, keys=(seed, 3))
        wanted, height = climbed(gradient, picture, eager, keys=(seed, 3))
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)
        torch.testing.assert_close(value, height, atol=0, rtol=1e-2)
    assert footing.refusal is None
    assert all(footing._recordings.values())


@pytest.mark.cuda
def test_cuda_repeats_to_the_byte_if_asked(dreamnet, cuda):
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            dreamer = Dreamer(dreamnet, [Term("mixed3b")], device=cuda, dtype=torch.bfloat16)
            for _ in range(3):  # single steps, then a recording, then it again
                dream = dreamer(pictures(), iterations=4, keys=[1, 2], settings=SETTINGS)
                runs.append(dream.pictures)
        assert all(torch.equal(run, runs[0]) for run in runs)
        assert dreamer.slow_because is None
    finally:
        torch.use_deterministic_algorithms(False)
