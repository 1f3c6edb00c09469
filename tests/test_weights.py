"""Weight files: found, checked, and never trusted."""

import hashlib
import os
import pickle
import urllib.error
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from pipeline import weights
from pipeline.engine import networks
from pipeline.errors import ConfigError, WeightsError

STATE = {"features.0.weight": torch.ones(2, 3), "features.0.bias": torch.zeros(2)}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty torch.hub cache, and a network connection that is down."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda *_: (_ for _ in ()).throw(urllib.error.URLError("Name or service not known")),
    )
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_dreamnet_travels_with_the_package():
    network, file = weights.load_network("dreamnet")
    assert file.path.parent.name == "engine"
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert network.name == "dreamnet"
    assert not network.missing


def test_cache_is_where_torch_keeps_it(hub):
    assert weights.checkpoints() == hub
    assert str(hub) == os.path.join(torch.hub.get_dir(), "checkpoints")


def test_no_network_names_the_file_and_the_way_out(hub):
    with pytest.raises(WeightsError) as caught:
        weights.find("vgg16")
    message = str(caught.value)
    assert "\n" not in message
    assert f"put vgg16-397923af.pth into {hub}" in message
    assert "Name or service not known" in message
    assert "`model: dreamnet` needs none" in message


def test_networks_that_no_hub_has(hub):
    with pytest.raises(WeightsError, match=r"put bvlc_googlenet.pth into .* `weights: "):
        weights.find("bvlc_googlenet")
    save_file(STATE, hub / "bvlc_googlenet.safetensors")
    assert weights.find("bvlc_googlenet").path == hub / "bvlc_googlenet.safetensors"


def test_a_download_is_checked_and_kept(hub, monkeypatch):
    content = pickle.dumps(1)
    digest = hashlib.sha256(content).hexdigest()
    spec = replace(networks.spec("vgg16"), file=f"vgg16-{digest[:8]}.pth")
    monkeypatch.setitem(networks.MODELS, "vgg16", spec)
    asked = []

    def download(url, target, prefix, progress):
        asked.append((url, prefix, progress))
        with open(target, "wb") as file:
            file.write(content)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    assert weights.find("vgg16").sha256 == digest
    assert weights.find("vgg16").path == hub / spec.file
    url = "https://download.pytorch.org/models/vgg16-397923af.pth"
    assert asked == [(url, digest[:8], False)]


def test_a_damaged_file_in_the_cache_is_refused(hub):
    (hub / "vgg16-397923af.pth").write_bytes(b"half a download")
    with pytest.raises(WeightsError, match=r"vgg16-397923af.pth: damaged.*remove it"):
        weights.find("vgg16")


def test_find_without_download(hub):
    with pytest.raises(WeightsError, match=r"resnet50 needs weights: put resnet50-0676ba61.pth"):
        weights.find("resnet50", download=False)


def test_a_file_of_the_users(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file(STATE, path)
    file = weights.find("vgg16", str(path))
    assert file.path == path
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match=r"gone.pth: no such weight file"):
        weights.find("vgg16", tmp_path / "gone.pth")
    with pytest.raises(ConfigError, match="not a model"):
        weights.find("vgg", path)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
def test_formats(tmp_path, wrap):
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(wrap(STATE), tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        state = weights.load_state(tmp_path / name)
        assert state.keys() == STATE.keys()
        assert all(torch.equal(state[key], STATE[key]) for key in STATE)


class Malice:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_is_refused(tmp_path, legacy):
    path, trace = tmp_path / "evil.pth", tmp_path / "pwned"
    content = {"features.0.weight": Malice(str(trace))}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"evil.pth: refused.*can run code"):
        weights.load_state(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"\x08\0\0\0\0\0\0\0nonsense", "not readable as weights"),
        ("a.pth", b"PK\x03\x04 half a zip file", "not readable as weights"),
        ("a.pth", b"", "not readable as weights"),
        ("a.caffemodel", b"x", "ends in .safetensors, .pth or .pt"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        weights.load_state(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_pickle_without_tensors(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="not a state dict"):
        weights.load_state(tmp_path / "list.pth")


def test_another_networks_file_is_named(assets):
    path = assets / "weights/squeezenet1_1_caffe_fp16.safetensors"
    with pytest.raises(WeightsError) as caught:
        weights.load_network("bvlc_googlenet", path)
    message = str(caught.value)
    assert message.startswith(f"{path}: these are not the weights of bvlc_googlenet: tensors ")
    assert "missing (conv1.conv.weight, " in message
    assert "unknown (" in message
    assert "\n" not in message
    assert len(message) < 500
