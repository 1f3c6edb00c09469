"""BVLC GoogLeNet: both key namings, the layer names, and real photos."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torchvision.models.feature_extraction import create_feature_extractor

from pipeline.engine.blocks import LRN
from pipeline.engine.bvlc_googlenet import BvlcGoogLeNet, load, remap_keys

MEAN_BGR = np.array([104, 117, 123], np.float32)


def caffe_key(key):
    """Rename `inception_3a.b3r.weight` to `inception_3a_3x3_reduce.weight`."""
    layer, kind = key.rsplit(".", 1)
    stems = {
        "conv1": "conv1_7x7_s2",
        "conv2r": "conv2_3x3_reduce",
        "conv2": "conv2_3x3",
        "fc": "loss3_classifier",
    }
    branches = {
        "b1": "1x1",
        "b3r": "3x3_reduce",
        "b3": "3x3",
        "b5r": "5x5_reduce",
        "b5": "5x5",
        "pp": "pool_proj",
    }
    if layer in stems:
        return f"{stems[layer]}.{kind}"
    block, branch = layer.split(".")
    return f"{block}_{branches[branch]}.{kind}"


@pytest.fixture(scope="module")
def state(assets):
    return load_file(assets / "weights/bvlc_googlenet_fp16.safetensors")


@pytest.fixture(scope="module")
def network(state):
    return load(state)


def test_both_namings_give_the_same_network(state, network):
    caffe = {caffe_key(key): tensor for key, tensor in state.items()}
    caffe["loss1_fc.weight"] = torch.zeros(1024, 2048)
    caffe["loss2_classifier.bias"] = torch.zeros(1000)
    other = load(caffe).state_dict()
    assert other.keys() == network.state_dict().keys()
    assert all(torch.equal(other[key], value) for key, value in network.state_dict().items())


def test_the_modules_own_names_are_kept():
    own = BvlcGoogLeNet(classes=3).state_dict()
    assert remap_keys(own).keys() == own.keys()


def test_a_file_without_classifier_loads(state):
    headless = load({key: value for key, value in state.items() if not key.startswith("fc")})
    assert headless(torch.zeros(1, 3, 64, 64)).shape == (1, 1024)


def test_missing_and_unknown_tensors_are_named(state):
    broken = dict(state)
    broken["inception_9z.b1.weight"] = broken.pop("inception_4c.b5.weight")
    with pytest.raises(RuntimeError, match=r"(?s)inception_4c\.b5\.conv\.weight.*inception_9z\.b1"):
        load(broken)


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        ("dog_1.jpg", {"Newfoundland"}),
        ("cat_1.jpg", {"tabby", "tiger cat", "Egyptian cat"}),
        ("brown_bear.jpg", {"brown bear"}),
        ("coral.jpg", {"coral reef"}),
        ("jellyfish.jpg", {"jellyfish"}),
    ],
)
def test_it_recognises_photos(assets, network, photo, words):
    cv2 = pytest.importorskip("cv2")
    lines = (assets / "weights/imagenet_synset_words.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split(" ", 1)[1].split(",")[0] for line in lines]
    picture = cv2.imread(str(assets / "photos" / photo))
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = cv2.resize(
        picture[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA
    )
    x = torch.from_numpy(square.astype(np.float32) - MEAN_BGR).permute(2, 0, 1)[None]
    with torch.no_grad():
        top5 = network(x)[0].topk(5).indices.tolist()
    assert words & {names[i] for i in top5}


def test_names_resolve_behind_the_relu():
    network = BvlcGoogLeNet(classes=0).eval()
    nodes = {"inception_4c": 512, "inception_4d.b3r": 144, "inception_4d.b3": 288, "conv2": 192}
    features = create_feature_extractor(network, list(nodes))
    with torch.no_grad():
        activations = features(torch.randn(1, 3, 64, 96) * 50)
    assert {name: a.shape[1] for name, a in activations.items()} == nodes
    assert all((a >= 0).all() for a in activations.values())
    assert activations["inception_4c"].shape[2:] == (4, 6)


@pytest.mark.parametrize("beta", [0.75, 0.5])
def test_lrn_equals_torchs(beta):
    x = torch.randn(2, 12, 5, 7) * 40
    expected = F.local_response_norm(x, 5, alpha=1e-2, beta=beta, k=1.0)
    torch.testing.assert_close(LRN(12, alpha=1e-2, beta=beta)(x), expected, rtol=1e-5, atol=1e-5)
