from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from moving import texture
from torchvision.models import get_model

from pipeline.errors import WeightsError
from pipeline.feedback.raft import Raft, load_raft, prepared


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random ones: what a flow is found with is torchvision's business."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft.pth"
    torch.save(get_model("raft_small").state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("size", "padded"), [((160, 90), (160, 128)), ((333, 187), (336, 192)), ((30, 20), (128, 128))]
)
def test_frames_are_padded_to_what_the_network_takes(size, padded):
    frame = texture(size)
    picture = prepared(frame, size, "cpu")
    assert picture.shape == (3, padded[1], padded[0])
    ours = picture[:, : size[1], : size[0]].permute(1, 2, 0).numpy()
    assert np.abs((ours + 1) * 127.5 - frame).max() < 1e-3
    assert torch.equal(picture[:, -1, : size[0]], picture[:, size[1] - 1, : size[0]])


def test_both_flows_have_the_asked_size(weights):
    earlier, later = texture((150, 100)), texture((150, 100), seed=1)
    backward, forward = Raft("raft_small", weights=weights)(earlier, later)
    for flow in (backward, forward):
        assert flow.shape == (100, 150, 2)
        assert flow.dtype == np.float32
    assert not np.allclose(backward, forward)
    small, _ = Raft("raft_small", weights=weights, max_pixels=5000)(earlier, later)
    assert small.shape[0] * small.shape[1] <= 5000


def test_a_missing_or_foreign_file_is_named(weights, tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.pth: no such weight file .*raft_large"):
        load_raft("raft_large", tmp_path / "gone.pth")
    with pytest.raises(WeightsError, match=r"raft\.pth: not the weights of raft_large"):
        load_raft("raft_large", weights)


def test_without_a_network_it_says_what_to_do(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(WeightsError) as caught:
        load_raft("raft_small")
    message = str(caught.value)
    assert "raft_small_C_T_V2-01064c6d.pth into" in message
    assert str(tmp_path) in message
    assert "`flow: dis` needs none" in message


def test_a_file_put_there_by_hand_is_found(monkeypatch, tmp_path, weights):
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    (folder / "raft_small_C_T_V2-01064c6d.pth").write_bytes(weights.read_bytes())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert not load_raft("raft_small").training
