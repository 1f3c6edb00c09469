"""Networks: folding changes nothing, cutting leaves what was asked for, weights must fit."""

import subprocess
import sys
from functools import cache

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import NodePathTracer, create_feature_extractor

from pipeline.engine import assembly, layers, networks
from pipeline.engine.blocks import LRN, DivisiveNorm
from pipeline.engine.bvlc_googlenet import BvlcGoogLeNet
from pipeline.engine.dreamnet import DreamNet
from pipeline.engine.inception5h import Inception5h
from pipeline.errors import ConfigError, WeightsError
from pipeline.weights import load_state

SIDES = {"inception_v3": 107, "alexnet": 95}


@cache
def random_state(name):
    """Random weights; without the classifiers that are larger than all the rest together."""
    large = name in ("alexnet", "vgg16", "vgg19")
    return assembly.random_state(networks.spec(name), classifier=not large)


@cache
def built(name):
    return networks.build(name, random_state(name))


def picture(name, seed=0):
    side = SIDES.get(name, 63)
    return torch.rand(2, 3, side, side + 4, generator=torch.Generator().manual_seed(seed))


def published(name):
    """The network as its authors wrote it, and a picture in [0, 1] as they feed it."""
    if name == "dreamnet":
        return DreamNet(), lambda x: (x - 0.5) * 4
    if name == "bvlc_googlenet":
        mean = torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
        return BvlcGoogLeNet(), lambda x: x[:, [2, 1, 0]] * 255 - mean
    if name == "inception5h":
        return Inception5h(), lambda x: x * 255 - 117
    options = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "transform_input": True, "init_weights": False}
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None, **options)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return network, lambda x: (x - mean) / std


def centred(network, image):
    return image - torch.tensor(network.mean).view(3, 1, 1)


def apart(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("name", networks.MODELS)
def test_folded_equals_published(name):
    """The default layer and the deepest one, with random weights and BatchNorm statistics."""
    reference, normalise = published(name)
    reference.load_state_dict(random_state(name), strict=False, assign=True)
    deepest = "avgpool" if built(name).missing else list(built(name).nodes)[-1]
    nodes = [layers.resolve(name, networks.spec(name).default_layer).node, deepest]
    image = picture(name)
    with torch.no_grad():
        found = networks.truncate(built(name), nodes)(centred(built(name), image))
        wanted = [
            create_feature_extractor(reference.eval(), {node: "it"})(normalise(image))["it"]
            for node in nodes  # one by one: two names may mean one node
        ]
    for ours, theirs in zip(found, wanted, strict=True):
        assert (
            apart(ours, theirs) < 1e-4
        )  # mobilenet_v3's gates amplify rounding; the others stay under 2e-5


@pytest.mark.parametrize("name", networks.MODELS)
def test_built_for_dreaming(name):
    modules = list(built(name).module.modules())
    assert not any(isinstance(m, nn.Dropout | nn.BatchNorm2d | nn.Identity) for m in modules)
    assert not any(getattr(m, "inplace", False) or m.training for m in modules)
    assert not any(n.kwargs.get("inplace") for n in built(name).module.graph.nodes)
    assert not any(p.requires_grad for p in built(name).module.parameters())


def test_real_weights_recognise_a_dog(assets):
    """Channel order, mean and scale: any of them wrong, and it is no dog."""
    from pipeline.media.images import read_picture

    words = (assets / "weights/imagenet_synset_words.txt").read_text(encoding="utf-8").splitlines()
    photo = torch.from_numpy(read_picture(assets / "photos/dog_1.jpg", max_pixels=10**8))
    photo = photo.permute(2, 0, 1)[None].float() / 255
    photo = nn.functional.interpolate(photo, (224, 224), mode="bilinear", antialias=True)
    for name, file in (
        ("bvlc_googlenet", "bvlc_googlenet_fp16.safetensors"),
        ("squeezenet1_1", "squeezenet1_1_caffe_fp16.safetensors"),
    ):
        network = networks.build(name, load_state(assets / "weights" / file))
        with torch.no_grad():
            best = network.module(centred(network, photo))[0].argmax()
        assert 151 <= best <= 268, words[best]  # ImageNet's dogs


class Watch(torch.fx.Interpreter):
    """Runs the whole network and keeps every activation."""

    def run_node(self, node):
        self.seen = getattr(self, "seen", {})
        self.seen[node.name] = super().run_node(node)
        return self.seen[node.name]


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("squeezenet1_1", ["features.10", "features.4.cat", "features.7.squeeze"]),
        ("googlenet", ["inception4a.branch2.0", "inception4a.branch2.0.conv", "inception3b"]),
        ("resnet50", ["layer1.1.bn2", "layer3", "layer2.0.relu_1"]),
        ("bvlc_googlenet", ["norm2", "inception_4c", "inception_3b.b5r"]),
    ],
)
def test_truncate_shows_what_the_whole_network_computes(name, nodes):
    network, image = built(name), picture(name)
    whole = Watch(network.module)
    with torch.no_grad():
        whole.run(image)
        found = networks.truncate(network, nodes)(image)
    names = [network.nodes[networks.find_node(network.nodes, node)] for node in nodes]
    for activation, graph_name in zip(found, names, strict=True):
        assert torch.equal(activation, whole.seen[graph_name])


def test_truncate_leaves_nothing_behind_the_deepest():
    cut = networks.truncate(built("googlenet"), ["conv3", "inception4b.branch1"])
    names = {name for name, _ in cut.named_modules()}
    assert "inception4b.branch1.conv" in names
    assert not [n for n in names if n.startswith(("inception4b.branch2", "inception4c", "fc"))]
    kept = sum(p.numel() for p in cut.parameters())
    assert kept < sum(p.numel() for p in built("googlenet").module.parameters()) / 3


def test_truncate_gives_a_module_of_its_own():
    network = built("squeezenet1_1")
    networks.truncate(network, ["features.4"]).to(torch.bfloat16)
    assert all(p.dtype == torch.float32 for p in network.module.parameters())


def test_a_convolution_is_not_overwritten_by_its_relu():
    for name, nodes in (
        ("vgg16", ["features.21", "features.22"]),
        ("googlenet", ["inception3a.branch1.conv", "inception3a.branch1"]),
        ("bvlc_googlenet", ["inception_3a.b3.conv", "inception_3a.b3"]),
    ):
        with torch.no_grad():
            before, after = networks.truncate(built(name), nodes)(picture(name) - 0.5)
        assert before.min() < 0
        assert torch.equal(before.relu(), after)


def test_unknown_names():
    with pytest.raises(
        ConfigError, match=r'"resnet5" is not a model. Did you mean "resnet50"\?.*all 11'
    ):
        networks.build("resnet5", None)
    with pytest.raises(ConfigError, match='"layer9" is not a node of resnet50'):
        networks.truncate(built("resnet50"), ["layer9"])


def test_random_weights_are_a_function_of_the_seed():
    before = torch.get_rng_state()
    first, again, other = (networks.build("dreamnet", None, seed=k) for k in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [n.module.get_parameter("conv2.conv.weight") for n in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def up_to(name, layer):
    """A state that ends with that module."""
    state = random_state(name)
    last = max(k for k, key in enumerate(state) if key.startswith(f"{layer}."))
    return dict(list(state.items())[: last + 1])


def test_weights_may_end_early():
    network = networks.build("inception_v3", up_to("inception_v3", "Mixed_6a"))
    with torch.no_grad():
        (cut,) = networks.truncate(network, ["Mixed_6a"])(picture("inception_v3"))
        (whole,) = networks.truncate(built("inception_v3"), ["Mixed_6a"])(picture("inception_v3"))
    assert torch.equal(cut, whole)
    with pytest.raises(WeightsError, match=r'inception_v3 end before "Mixed_6b.branch1x1.conv"'):
        networks.truncate(network, ["Mixed_5d", "Mixed_6b"])


def test_real_weights_that_end_early(assets):
    state = load_state(assets / "weights/inception_v3_2015_to_Mixed_7a_fp16.safetensors")
    network = networks.build("inception_v3", state)
    assert networks.truncate(network, ["Mixed_7a"])
    with pytest.raises(WeightsError, match="Mixed_7b"):
        networks.truncate(network, ["Mixed_7b"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("inception_4b.b3.conv.weight"),
            r"1 missing \(inception_4b.b3.conv.weight\)",
        ),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unknown"),
        (
            lambda s: s.update({"conv2.conv.bias": torch.zeros(5)}),
            r"conv2.conv.bias is \(5,\), not",
        ),
        (lambda s: s.clear(), r"missing \(conv1.conv.weight, conv1.conv.bias, .*, \.\.\.\)"),
    ],
)
def test_weights_with_faults_are_refused(change, message):
    state = dict(random_state("bvlc_googlenet"))
    change(state)
    with pytest.raises(WeightsError, match=f"not the weights of bvlc_googlenet.*{message}"):
        networks.build("bvlc_googlenet", state)


def test_a_convolution_without_its_batchnorm_is_refused():
    state = dict(random_state("resnet50"))
    keys = list(state)
    for key in keys[keys.index("layer2.0.bn1.weight") :]:
        del state[key]
    with pytest.raises(WeightsError, match="missing"):
        networks.build("resnet50", state)


def test_what_a_weight_file_may_also_have():
    """Auxiliary heads, counters, half precision, other classes."""
    state = {key: tensor.half() for key, tensor in random_state("googlenet").items()}
    state |= {"aux1.fc1.weight": torch.zeros(3), "conv1.bn.num_batches_tracked": torch.tensor(1)}
    state |= {"fc.weight": torch.zeros(365, 1024), "fc.bias": torch.zeros(365)}
    network = networks.build("googlenet", state)
    assert network.module(picture("googlenet")).shape == (2, 365)
    assert {p.dtype for p in network.module.parameters()} == {torch.float32}


def test_facts_agree_with_torchvision():
    for spec in networks.MODELS.values():
        if spec.hub:
            weights = torchvision.models.get_weight(spec.hub)
            assert weights.url.endswith(f"/{spec.file}")
            if not spec.options:
                assert list(spec.mean) == weights.transforms().mean
                assert list(spec.std) == weights.transforms().std


def test_facts_need_no_torch():
    code = (
        "import sys, pipeline.engine.networks as n, pipeline.engine.layers as l;"
        "[l.resolve(m, s.default_layer) for m, s in n.MODELS.items()];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", networks.MODELS)
def test_nodes_have_the_names_that_torchvision_gives_them(name):
    network = assembly.architecture(networks.spec(name), {})
    tracer = NodePathTracer(leaf_modules=[LRN, DivisiveNorm])
    tracer.trace(network)
    wanted = [
        label
        for node, label in tracer.node_to_qualname.items()
        if node.op not in ("placeholder", "output")
    ]
    assert list(assembly.node_names(assembly._Tracer().trace(network))) == wanted


def test_networks_of_our_own_do_not_import_torchvision():
    """It takes longer than loading and folding them."""
    script = (
        "import sys; from pipeline.engine import networks; networks.build('dreamnet', None); "
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
