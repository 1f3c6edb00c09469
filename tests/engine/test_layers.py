"""The layer table: measured, complete, and known by the names people type."""

import runpy
from collections import Counter
from pathlib import Path

import pytest
import torch

from pipeline.engine import layers, networks
from pipeline.errors import ConfigError

SCRIPT = Path(__file__).parents[2] / "scripts/make_layer_table.py"


def test_table_is_up_to_date():
    text = runpy.run_path(str(SCRIPT))["text"]()
    assert text == layers.TABLE.read_text(encoding="utf-8"), f"run {SCRIPT.name}"


@pytest.mark.parametrize("model", networks.MODELS)
def test_names_are_unique(model):
    known = layers.layers(model)
    names = Counter(n for layer in known for n in {layer.name, layer.node, *layer.aliases})
    assert known
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("model", networks.MODELS)
def test_default_layer_is_in_the_table(model):
    default = networks.spec(model).default_layer
    assert default in [layer.name for layer in layers.layers(model)]


@pytest.mark.parametrize(
    ("model", "names", "node"),
    [
        ("vgg16", "relu4_3 block4_conv3 features.22 22", "features.22"),
        ("vgg16", "conv4_3 features.21 21", "features.21"),
        ("vgg19", "relu4_3 block4_conv3 features.24", "features.24"),
        ("vgg19", "conv5_4 34", "features.34"),
        ("alexnet", "relu3 features.7", "features.7"),
        ("alexnet", "conv5", "features.10"),
        ("googlenet", "inception4c inception_4c inception_4c/output mixed4c 4c", "inception4c"),
        ("googlenet", "inception_4d_3x3_reduce inception_4d/3x3_reduce", "inception4d.branch2.0"),
        ("bvlc_googlenet", "inception_4c inception4c inception_4c/output mixed4c", "inception_4c"),
        (
            "bvlc_googlenet",
            "inception_4d_3x3_reduce inception_4d/3x3_reduce mixed4d_3x3_bottleneck",
            "inception_4d.b3r",
        ),
        ("bvlc_googlenet", "conv2/3x3_reduce", "conv2r"),
        ("inception5h", "mixed4c inception_4c/output inception4c 4c", "mixed4c"),
        ("inception5h", "mixed4d_3x3_bottleneck_pre_relu", "mixed4d.b3r.conv"),
        ("inception5h", "mixed4d_3x3_bottleneck", "mixed4d.b3r"),
        ("inception5h", "softmax2_pre_activation_matmul", "softmax2_pre_activation_matmul"),
        ("inception_v3", "mixed3 Mixed_6a", "Mixed_6a"),
        ("inception_v3", "mixed5 Mixed_6c", "Mixed_6c"),
        ("inception_v3", "mixed2 Mixed_5d", "Mixed_5d"),
        ("inception_v3", "mixed10 Mixed_7c", "Mixed_7c"),
        ("resnet50", "layer3 layer3.5 conv4_block6_out", "layer3"),
        ("resnet50", "layer3.2 conv4_block3_out", "layer3.2"),
        ("resnet50", "layer3.2.relu_1", "layer3.2.relu_1"),
        ("squeezenet1_1", "fire8 fire8/concat features.11", "features.11"),
        ("dreamnet", "mixed4a 4a", "mixed4a"),
    ],
)
def test_names_people_type(model, names, node):
    for name in names.split():
        assert layers.resolve(model, name).node == node


def test_any_node_of_torchvision_works():
    for model in networks.MODELS:
        network = networks.skeleton(model)
        tensors = [node for node in network.nodes if not node.endswith(".split")]
        for node in tensors:
            assert layers.resolve(model, node).channels > 0
    # A module that is in no table means what comes out of it.
    inner = layers.resolve("resnet50", "layer3.0.downsample")
    assert inner.node == "layer3.0.downsample.1"


def test_a_wrong_name_gets_the_nearest_and_the_list():
    with pytest.raises(ConfigError) as caught:
        layers.resolve("googlenet", "inception4f")
    count = len(layers.layers("googlenet"))
    assert str(caught.value) == (
        '"inception4f" is not a layer of googlenet. Did you mean "inception4e"? '
        f"`dream layers googlenet` lists all {count}."
    )
    with pytest.raises(ConfigError, match="is not a model"):
        layers.layers("googlnet")


@pytest.mark.parametrize("model", ["alexnet", "bvlc_googlenet", "inception_v3", "squeezenet1_1"])
def test_measures_hold_where_it_counts(model):
    """The table comes from torch's shape inference; here the arithmetic is done."""
    network = networks.build(model, None)
    for layer in (
        layers.resolve(model, networks.spec(model).default_layer),
        layers.layers(model)[-1],
    ):
        cut = networks.truncate(network, [layer.node])
        with torch.no_grad():
            (least,) = cut(torch.zeros(1, 3, layer.smallest, layer.smallest))
            assert least.shape[1] == layer.channels
            with pytest.raises(RuntimeError):
                cut(torch.zeros(1, 3, layer.smallest - 1, layer.smallest + 50))
            large, larger = (cut(torch.zeros(1, 3, 96, w))[0] for w in (96, 96 + 2 * layer.stride))
            assert larger.shape[3] - large.shape[3] == 2


def test_behind_global_pooling_there_is_no_stride():
    assert layers.resolve("resnet50", "avgpool").stride is None
    assert layers.resolve("resnet50", "layer4").stride == 32
