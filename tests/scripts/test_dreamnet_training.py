"""What training dreamnet stands on: second derivatives, the pool, saving and going on."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import dreamnet_card
import dreamnet_pictures
import dreamnet_slim
import dreamnet_student
from dreamnet_student import NAMES

from pipeline.engine import bvlc_googlenet
from pipeline.engine.assembly import random_state
from pipeline.engine.dreamnet import WEIGHTS, DreamNet
from pipeline.engine.networks import spec

SCRIPTS = Path(__file__).parents[2] / "scripts"
DEEPEST = len(NAMES) - 1


@pytest.fixture(scope="module")
def photos():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def test_second_derivatives_equal_torchs():
    torch.manual_seed(0)
    net, reference = DreamNet(), DreamNet()
    net.load_state_dict(load_file(WEIGHTS))
    reference.load_state_dict(net.state_dict())
    dreamnet_student.trainable(net)
    pictures = torch.rand(2, 3, 48, 48)
    found, gradient = dreamnet_student.student_view(net, pictures, DEEPEST, torch.float32)
    probe = torch.randn_like(gradient)
    ((gradient * probe).sum() + sum(a.sum() for a in found)).backward()

    x = ((pictures - 0.5) * 4).requires_grad_()
    expected = dreamnet_student.activations(reference, x, DEEPEST)
    (expected_gradient,) = torch.autograd.grad(expected[-1], x, expected[-1], create_graph=True)
    ((expected_gradient * probe).sum() + sum(a.sum() for a in expected)).backward()

    pairs = [(gradient, expected_gradient)]
    pairs += [
        (p.grad, q.grad) for p, q in zip(net.parameters(), reference.parameters(), strict=True)
    ]
    for ours, theirs in pairs:
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-3 * scale)


def test_channels_are_chosen_until_the_others_follow():
    """Nine channels are mixtures of three: three chosen ones leave nothing to be explained."""
    torch.manual_seed(0)
    mixtures = torch.randn(9, 3, dtype=torch.float64)
    covariance = mixtures @ mixtures.T
    (chosen,) = dreamnet_slim.select(covariance, torch.eye(9).double(), [9], [3])
    kept = covariance[chosen][:, chosen]
    explained = covariance[:, chosen] @ torch.linalg.solve(kept, covariance[chosen])
    torch.testing.assert_close(explained, covariance)


def test_channels_nobody_looks_at_are_dropped_and_groups_keep_to_their_share():
    covariance = torch.diag(torch.tensor([9.0, 1, 5, 4, 8, 2]).double())
    looks = torch.diag(torch.tensor([0.0, 1, 1, 1, 1, 1]).double())
    first, second = dreamnet_slim.select(covariance, looks, [3, 3], [1, 2])
    assert first.tolist() == [2]  # 0 varies most, and nobody reads it
    assert second.tolist() == [3, 4]


def test_the_slim_network_computes_what_its_teacher_does(monkeypatch):
    """On pictures it has not seen, better than the mean does; random weights have no redundancy."""
    monkeypatch.setattr(dreamnet_slim, "_SAMPLES", 4000)
    torch.manual_seed(0)
    state = random_state(spec("bvlc_googlenet"))
    pictures = torch.rand(40, 3, 64, 64)
    slimmer = dreamnet_slim.Slimmer(state, pictures[:32])
    net = slimmer()
    teacher = bvlc_googlenet.load(state)
    with torch.no_grad():
        seen = dreamnet_student.activations(net, (pictures[32:] - 0.5) * 4, 2)
        y = (pictures[32:].flip(1) * 255) - torch.tensor((104.0, 117.0, 123.0))[:, None, None]
        for name in ("conv1", "pool1", "norm1", "conv2r"):
            y = teacher.get_submodule(name)(y)
        kept = slimmer.kept["conv2"]
        target = teacher.conv2(y)[:, kept.channels] / kept.scale.float()[:, None, None]
    error = (seen[0] - target).square().mean() / target.var((0, 2, 3)).mean()
    assert error < 0.6
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert (net.norm1.gamma >= 0).all()


def test_adapters_recover_a_linear_map():
    torch.manual_seed(0)
    weight = torch.randn(7, 4)
    students = [torch.randn(2, 4, 6, 6) for _ in NAMES]
    teachers = [torch.einsum("oc,nchw->nohw", weight, s) + 3 for s in students]
    adapters, scales = dreamnet_student.fit_adapters([(students, teachers)], ridge=1e-9)
    for adapter, s, t in zip(adapters, students, teachers, strict=True):
        torch.testing.assert_close(adapter(s), t, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scales[0], teachers[0].std((0, 2, 3)), rtol=0.2, atol=0.2)


def test_a_direction_of_its_own_loses_nothing_and_the_opposite_everything():
    g = torch.randn(3, 3, 16, 16)
    assert dreamnet_student.direction_loss(g, 5 * g, coarse=0.5)[0].item() == pytest.approx(
        0, abs=1e-5
    )
    assert dreamnet_student.direction_loss(g, -g, coarse=0.5)[0].item() == pytest.approx(3)


def test_crops_and_noise_are_pictures(photos):
    rng = np.random.default_rng(0)
    crops = dreamnet_pictures.photo_batch(photos, 4, 32, rng, shortest=20)
    assert crops.shape == (4, 3, 32, 32)
    generator = torch.Generator().manual_seed(0)
    white = dreamnet_pictures.noise_picture(64, 48, generator, soft=False)
    soft = dreamnet_pictures.noise_picture(64, 48, generator, soft=True)
    for picture in (*crops, white, soft):
        assert 0 <= picture.min() <= picture.max() <= 1
    # Soft noise is mostly low frequencies: neighbours resemble one another.
    roughness = [(p[:, 1:] - p[:, :-1]).square().mean() / p.var() for p in (white, soft)]
    assert roughness[1] < 0.5 * roughness[0]


def test_a_folder_and_a_pack_load_alike(tmp_path, photos):
    folder, pack = tmp_path / "folder", tmp_path / "pack"
    folder.mkdir()
    pack.mkdir()
    files = [cv2.imencode(".jpg", p)[1].tobytes() for p in photos]
    for i, file in enumerate(files):
        (folder / f"{i}.jpg").write_bytes(file)
    (pack / "jpeg.bin").write_bytes(b"".join(files))
    np.save(pack / "off.npy", np.cumsum([0, *map(len, files)]))
    one, other = (dreamnet_pictures.load_pictures(p, side=32) for p in (folder, pack))
    assert one.shape == (5, 32, 32, 3)
    assert np.array_equal(one, other)
    with pytest.raises(FileNotFoundError, match="no pictures"):
        dreamnet_pictures.load_pictures(tmp_path / "empty")


def test_the_pool_dreams_on_and_can_be_resumed(photos):
    def new():
        return dreamnet_pictures.DreamPool(2, photos, per_layer=3, side=40, lifetime=4)

    def visits(pool, count):
        seen = []
        for _ in range(count):
            visit = pool.visit(1, 3 * 40 * 40)
            seen.append(visit.pictures)
            pool.advance(visit, visit.pictures - 0.5, torch.ones_like(visit.pictures))
        return seen

    pool = new()
    before = visits(pool, 3)
    assert not torch.equal(before[0], before[-1][: len(before[0])])
    other = new()
    other.restore(pool.state())
    # Saved in half precision, hence the tolerance.
    for a, b in zip(visits(pool, 4), visits(other, 4), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.02)


def test_the_card_keeps_its_prose(tmp_path):
    card = tmp_path / "card.md"
    numbers = {"mixed4c": {"cosine_photos": 0.5, "activation_soft": 1234.5}}
    dreamnet_card.write_card(card, WEIGHTS, {"dreamnet": numbers})
    card.write_text(
        card.read_text(encoding="utf-8") + "\nKnown weaknesses: none.\n", encoding="utf-8"
    )
    dreamnet_card.write_card(card, WEIGHTS, {"dreamnet": numbers})
    text = card.read_text(encoding="utf-8")
    assert text.count("| mixed4c | 0.50 | 1234 |") == 1
    assert text.endswith("\nKnown weaknesses: none.\n")


@pytest.mark.slow
def test_training_goes_on_from_its_save_and_writes_weights_and_card(tmp_path, assets, photos):
    for i, photo in enumerate(photos):
        cv2.imwrite(str(tmp_path / f"{i}.png"), photo)
    out, card = tmp_path / "net.safetensors", tmp_path / "card.md"

    def train(minutes):
        options = {
            "pictures": tmp_path,
            "teacher": assets / "weights/bvlc_googlenet_fp16.safetensors",
            "minutes": minutes,
            "pixels": 20_000,
            "survey": 8,
            "work": tmp_path / "work",
            "out": out,
            "card": card,
        }
        command = [sys.executable, SCRIPTS / "train_dreamnet.py"]
        command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        run = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
        return run.stdout

    first = train(0.05)
    assert "going on" not in first
    assert "going on from step" in train(0.1)
    DreamNet().load_state_dict(load_file(out))
    assert "unrestricted use" in card.read_text(encoding="utf-8")
