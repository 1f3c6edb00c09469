"""Classes by name, and what a network makes of one."""

import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.engine import classes, layers, networks
from pipeline.engine.ascent import StepSettings
from pipeline.engine.blocks import BinMeans
from pipeline.engine.classes import class_index
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.objectives import Term
from pipeline.errors import ConfigError

SCRIPT = Path(__file__).parents[2] / "scripts/make_class_table.py"


def test_table_is_torchvisions():
    text = runpy.run_path(str(SCRIPT))["text"]()
    assert text == classes.TABLE.read_text(encoding="utf-8"), f"run {SCRIPT.name}"


def test_table_is_in_caffes_order(assets):
    lines = (assets / "weights/imagenet_synset_words.txt").read_text(encoding="utf-8").splitlines()
    first = [line.split(" ", 1)[1].split(",")[0].lower() for line in lines]
    same = [a == b.lower() for a, b in zip(first, classes.imagenet(), strict=True)]
    assert sum(same) >= 998  # torchvision tells the two cranes and the two maillots apart


@pytest.mark.parametrize("index", [0, 55, 134, 517, 264, 474, 999])
def test_every_name_finds_itself(index):
    assert class_index("alexnet", classes.imagenet()[index]) == index


@pytest.mark.parametrize(
    "name", ["green snake", "GREEN SNAKE", "green_snake", " green-snake", "55"]
)
def test_ways_to_write_a_name(name):
    assert class_index("squeezenet1_1", name) == 55


def test_a_name_that_is_not_there_gets_the_nearest():
    with pytest.raises(ConfigError, match='Did you mean "green snake" or'):
        class_index("alexnet", "gren snake")
    with pytest.raises(ConfigError, match=r'Did you mean "[a-z]+ snake" or "[a-z]+ snake" or "'):
        class_index("alexnet", "snake")


def test_inception5h_has_an_order_of_its_own():
    assert class_index("inception5h", "1007") == 1007
    with pytest.raises(ConfigError, match=r"an order of its own; give a number, 0 to 1007"):
        class_index("inception5h", "green snake")


@pytest.mark.parametrize("name", [n for n, spec in networks.MODELS.items() if spec.head])
def test_every_classifier_ends_in_logits(name):
    """One channel per class, and no ReLU behind it, which would keep the gradient back."""
    spec = networks.spec(name)
    head = layers.resolve(name, spec.head)
    assert head.channels == spec.classes
    network = networks.skeleton(name)
    node = network.nodes[networks.find_node(network.nodes, spec.head)]
    assert isinstance(network.module.get_submodule(spec.head), torch.nn.Linear | torch.nn.Conv2d)
    assert node in {n.name for n in network.module.graph.nodes if n.target == spec.head}


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (6, 6), (13, 8), (20, 31)])
def test_means_over_bins_are_torchs(size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wanted = torch.nn.AdaptiveAvgPool2d((6, 7))(x)
    found = BinMeans((6, 7))(x)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    slope = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(y, x, slope)[0] for y in (wanted, found)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
def test_a_class_of_alexnet_repeats_itself_on_a_gpu(cuda, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    network = networks.build("alexnet", None)
    way = ImageGradient(network, [Term(networks.spec("alexnet").head, "mean", (1,))], device=cuda)
    picture, weights = torch.rand(2, 3, 96, 128).to(cuda), torch.ones(2, 1, device=cuda)
    torch.use_deterministic_algorithms(True)
    try:
        slopes = [way(picture, weights)[0] for _ in range(2)]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*slopes)


FILES = {
    "squeezenet1_1": "squeezenet1_1_caffe_fp16.safetensors",
    "bvlc_googlenet": "bvlc_googlenet_fp16.safetensors",
}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("squeezenet1_1", "green snake"),
        ("squeezenet1_1", "goldfish"),
        ("bvlc_googlenet", "goldfish"),
    ],
)
def test_noise_becomes_a_class_that_another_network_sees_too(assets, name, wanted):
    built = {
        each: networks.build(each, load_file(assets / "weights" / file))
        for each, file in FILES.items()
    }
    index = class_index(name, wanted)
    rng = torch.Generator().manual_seed(0)
    noise = 0.45 + 0.04 * torch.randn(1, 3, 128, 128, generator=rng)
    knobs = StepSettings(
        0.03, 12, 0.5, (1.0,), decay=1.5, variation=0.3, rotate=8.0, scale=1.1, blur=0.6
    )
    dreamer = Dreamer(
        built[name],
        [Term(networks.spec(name).head, "mean", (index,))],
        octaves=1,
        smoothing="laplacian",
        blur_every=8,
    )
    dreamed = dreamer(noise, iterations=60, keys=[1], settings=[knobs]).pictures
    for judge, network in built.items():
        with torch.no_grad():
            logits = network.module(dreamed - torch.tensor(network.mean).view(1, 3, 1, 1)).flatten()
        better = int((logits > logits[index]).sum())  # of a thousand classes
        assert better < (5 if judge == name else 50), judge
