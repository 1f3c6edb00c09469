"""Dreams on Apple's GPU: by torch's operators, and by none that it lacks (see `apple.py`)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from apple import MPS, OnMps, pretend

from pipeline.engine.ascent import PLAIN, StepSettings
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.objectives import Term
from pipeline.engine.tiles import Split, TiledGradient
from pipeline.feedback import color
from pipeline.feedback.camera import warp
from pipeline.feedback.flow import FlowFeedback
from pipeline.feedback.optical_flow import Hop
from pipeline.feedback.seed import to_pictures, to_tensor, upload

apple = pytest.fixture(pretend)


def test_the_fake_refuses_what_apples_gpu_refuses(apple):
    there = torch.rand(1, 3, 8, 8).to("mps")
    assert there.device == MPS
    assert (there * 2).device == MPS
    assert there.cpu().device.type == "cpu"
    with pytest.raises(TypeError, match="float64"):
        there.double()
    with pytest.raises(RuntimeError, match="on the CPU"):
        there + torch.rand(8)
    with pytest.raises(RuntimeError, match="Bicubic"):
        F.grid_sample(there, torch.zeros(1, 8, 8, 2).to("mps"), mode="bicubic")
    with pytest.raises(RuntimeError, match="gone"):
        torch.rand(2).to("mps", non_blocking=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"smoothing": "decorrelate", "merge": "blend", "blur_every": 1},
        {"smoothing": "laplacian", "normalisation": "std", "octave_blur": 1.0},
        {"smoothing": "gaussian", "split": Split(tile=192), "normalise_tiles": True},
    ],
    ids=["default", "decorrelate", "laplacian", "tiles"],
)
def test_a_dream_is_the_cpus(dreamnet, apple, changes):
    terms = [Term("mixed3a"), Term("mixed3b", "mean", channels=(1, 2)), Term("mixed4a", "norm")]
    settings = StepSettings(
        step=0.01,
        jitter=4,
        sigma=0.6,
        weights=(1.0, 0.5, 0.0),
        decay=0.1,
        variation=0.1,
        rotate=2 if changes else 0,
        blur=0.5,
    )
    size = (208, 160) if "split" in changes else (72, 96)
    seeds = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    reach = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(1))
    given = {"iterations": 2, "keys": [1, 2], "settings": [settings] * 2}
    found = []
    for device in ("mps", "cpu"):
        dreamer = Dreamer(dreamnet, terms, octaves=2, device=device, **changes)
        found.append(dreamer(seeds.to(device), reach=reach.to(device), **given))
        if device == "mps":
            assert dreamer.path == "autograd"
            assert dreamer._footing is PLAIN
            assert isinstance(found[0].pictures, OnMps)
    ours, wanted = found[0].pictures.cpu(), found[1].pictures
    change = (wanted - seeds).flatten()
    assert F.cosine_similarity((ours - seeds).flatten(), change, dim=0) > 0.95
    assert len(found[0].strength.tolist()) == 2


def test_guides_and_channels_of_each_sample(dreamnet, apple):
    terms = [Term("mixed3a", "guide"), Term("mixed3b", channels="each")]
    guide = torch.rand(1, 3, 64, 64)
    dreamer = Dreamer(dreamnet, terms, octaves=1, guide=guide, device="mps")
    settings = StepSettings(step=0.01, jitter=0, sigma=0.5, weights=(1.0, 1.0), channels=(3,))
    dream = dreamer(torch.rand(1, 3, 64, 64), iterations=1, keys=[1], settings=[settings])
    assert dream.pictures.cpu().isfinite().all()


def test_a_camera_moves_a_picture_as_on_the_cpu(apple):
    picture = torch.rand(3, 40, 60)
    matrix = np.array([[1.1, 0.1, -3.0], [-0.1, 1.1, 2.0]])
    moved = warp(picture.to("mps"), matrix)
    assert moved.device == MPS
    assert torch.equal(moved.cpu(), warp(picture, matrix))


def test_a_flow_carries_detail_as_on_the_cpu(apple):
    rng = np.random.default_rng(0)
    dream, source = rng.integers(0, 256, (2, 40, 60, 3), dtype=np.uint8)
    hop = Hop(rng.normal(size=(20, 30, 2)).astype(np.float32), np.ones((20, 30), np.float32))
    ours, wanted = (
        FlowFeedback(None, carry=1, device=device)._moved(dream, source, hop, (60, 40))
        for device in ("mps", "cpu")
    )
    for there, here in zip(ours, wanted, strict=True):
        assert there.device == MPS
        assert torch.equal(there.cpu(), here)


def test_pictures_go_there_and_back(apple):
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    there = to_tensor(frame, "mps")
    assert there.device == MPS
    assert np.array_equal(to_pictures(there[None])[0], frame)
    assert upload(np.zeros(3, np.float32), "mps").device == MPS


def test_colours_are_converted_by_formula(apple):
    picture = torch.rand(3, 8, 8)
    lab = color.to_lab(picture.to("mps"))
    assert torch.allclose(color.to_rgb(lab).cpu(), picture, atol=1e-3)


class OutOfMemory:
    """A gradient of a GPU whose memory holds one picture."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __call__(self, picture, weights):
        if len(picture) > 1:
            raise RuntimeError(self.message)
        return picture, weights[:, 0]


@pytest.mark.parametrize(
    "message", ["MPS backend out of memory (MPS allocated: 9 GB", "Invalid buffer size: 9 GB"]
)
def test_what_does_not_fit_is_divided(apple, monkeypatch, message):
    emptied = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append(1))
    gradient = TiledGradient(OutOfMemory(message))
    gradient(torch.rand(2, 3, 64, 64).to("mps"), torch.ones(2, 1).to("mps"))
    assert gradient.split == Split(chunk=1)
    assert emptied
    with pytest.raises(RuntimeError, match="something else"):
        TiledGradient(OutOfMemory("something else"))(torch.rand(2, 3, 64, 64), torch.ones(2, 1))
