"""The image gradient: the hand-written way equals autograd's, and gives way to it when it must."""

import copy
import re
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from machine import native_bf16
from torch import nn

from pipeline.engine import (
    capabilities,
    cpu_kernels,
    memory,
    networks,
    normalisations,
    operations,
    torch_kernels,
)
from pipeline.engine.assembly import random_state
from pipeline.engine.blocks import LRN, DivisiveNorm
from pipeline.engine.convolutions import Kernel
from pipeline.engine.gpu_operations import on_gpu
from pipeline.engine.gradient import Autograd, ImageGradient
from pipeline.engine.graph import FlatNetwork
from pipeline.engine.objectives import Term
from pipeline.errors import ConfigError

# Per network: some layers at once, one of them before its ReLU, and a picture of odd size.
CASES = {
    "dreamnet": (["mixed4a", "mixed3a.b5", "conv2.conv"], (51, 38)),
    "bvlc_googlenet": (["inception_4c", "norm2", "inception_4a.b3r.conv"], (67, 45)),
    "inception5h": (["mixed4c", "localresponsenorm1", "mixed4a.b3r.conv"], (67, 46)),
    "googlenet": (["inception4c", "inception3b.branch4.0", "conv3"], (67, 45)),
    "inception_v3": (["Mixed_6b", "Mixed_6a", "Mixed_5b.avg_pool2d"], (97, 80)),
    "vgg16": (["features.22", "features.21", "features.9"], (37, 29)),
    "vgg19": (["features.26", "features.12"], (33, 26)),
    "resnet50": (["layer3", "layer2.1.bn2", "layer1"], (65, 43)),
    "alexnet": (["features.9", "features.2", "features.0"], (83, 71)),
    "squeezenet1_1": (["features.11", "features.7.squeeze", "features.2"], (61, 48)),
    "mobilenet_v3_large": (["features.12", "features.4.block.2"], (49, 36)),
}

GPU = on_gpu(torch_kernels)
ANALYTIC = "analytic+c" if cpu_kernels.library() else "analytic"


@cache
def built(name):
    large = name in ("alexnet", "vgg16", "vgg19")  # most of their weights are the classifier's
    return networks.build(name, random_state(networks.spec(name), classifier=not large))


def pictures(n, size, seed=0):
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed))


def plainly(network, terms, image, weights):
    """Gradient and value as anybody would write them: a loss, and autograd through the module.

    In the same memory format as the engine's: in another, oneDNN rounds its sums differently.
    """
    image = image.contiguous(memory_format=torch.channels_last).requires_grad_()
    module = networks.truncate(network, [term.node for term in terms])
    activations = module.to(memory_format=torch.channels_last)(
        image - torch.tensor(network.mean).view(3, 1, 1)
    )
    value = 0
    for k, (term, a) in enumerate(zip(terms, activations, strict=True)):
        a = a if term.channels is None else a[:, list(term.channels)]
        flat = a.flatten(1)
        numbers = {
            "mean_square": flat.square().mean(1),
            "norm": flat.norm(dim=1),
            "mean": flat.mean(1),
        }
        value = value + numbers[term.objective] * weights[:, k]
    (slope,) = torch.autograd.grad(value.sum(), image)
    return slope, value.detach()


def error(a, b):
    return float((a - b).norm() / b.norm())


def agree(slopes, wanted):
    """Whether gradients of a batch are the same but for rounding.

    Where sums are rounded in another order, a ReLU or a pooling that was all but undecided may
    decide the other way, in one picture and not in the next; what is wrong is wrong in all.
    """
    errors = sorted(error(a, b) for a, b in zip(slopes, wanted, strict=True))
    return errors[0] < 1e-5 and errors[-1] < 0.03


def cosine(a, b):
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize("name", CASES)
def test_gradient_equals_plain_autograd(name):
    nodes, size = CASES[name]
    kinds = [("mean_square", None), ("norm", (3, 0, 7)), ("mean", None)]
    terms = [Term(node, *kind) for node, kind in zip(nodes, kinds, strict=False)]
    terms.append(Term(nodes[0], "mean_square", (1, 2)))
    image = pictures(4, size)
    weights = torch.tensor([[1.0, 0.5, -2.0, 3.0], [0.2, 1.5, 0.0, -1.0]] * 2)[:, -len(terms) :]
    found = ImageGradient(built(name), terms)
    slope, value = found(image, weights)
    wanted, height = plainly(built(name), terms, image, weights)
    assert found.path == ("autograd" if name == "mobilenet_v3_large" else ANALYTIC)
    assert slope.dtype == value.dtype == torch.float32
    assert slope.shape == image.shape
    assert agree(slope, wanted)
    torch.testing.assert_close(value, height, rtol=1e-4, atol=1e-6)


@pytest.fixture(params=["c", "torch"])
def kernels(request, monkeypatch):
    """With the compiled kernels, and as on a machine that has none."""
    if request.param == "torch":
        monkeypatch.setattr(cpu_kernels, "library", lambda: None)
    elif not cpu_kernels.library():
        pytest.skip("kernels are not compiled here")
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=native_bf16)])
@pytest.mark.parametrize("name", ["bvlc_googlenet", "resnet50", "vgg16"])
def test_kernels_are_compiled_or_torchs(name, dtype, kernels):
    nodes, size = CASES[name]
    terms, image, weights = [Term(nodes[0])], pictures(1, size), torch.ones(1, 1)
    found = ImageGradient(built(name), terms, dtype=dtype)
    slope, _ = found(image, weights)
    wanted, _ = plainly(built(name), terms, image, weights)
    assert found.path == ("analytic+c" if kernels == "c" else "analytic")
    assert cosine(slope, wanted) > (0.99999 if dtype == torch.float32 else 0.95)


def test_gradient_equals_plain_autograd_with_real_weights(bvlc):
    terms = [Term("inception_4c"), Term("inception_3b")]
    image, weights = pictures(3, (90, 160)), torch.tensor([[1.0, 0.3]] * 3)
    slope, _ = ImageGradient(bvlc, terms)(image, weights)
    assert agree(slope, plainly(bvlc, terms, image, weights)[0])


@pytest.mark.parametrize("name", [name for name in CASES if name != "mobilenet_v3_large"])
@torch.no_grad()
def test_the_list_of_a_gpu_equals_autograd(name):
    """On the CPU: cuDNN's convolutions are torch's, and the kernels have a reference in torch."""
    nodes, size = CASES[name]
    module = networks.truncate(built(name), nodes).to(memory_format=torch.channels_last)
    image = (pictures(4, size) - 0.5).contiguous(memory_format=torch.channels_last)
    results = []
    for way in (FlatNetwork(module, GPU), Autograd(module)):
        activations, tape = way.forward(image)
        results.append((activations, way.backward(tape, [a.clone() for a in activations])))
    (found, slope), (wanted, judge) = results
    for a, b in zip(found, wanted, strict=True):
        assert error(a, b) < 1e-5
    assert agree(slope, judge)


def test_sibling_convolutions_become_one(bvlc):
    """A block of BVLC GoogLeNet has six convolutions; three read its input."""
    convolutions = 3 + 2 * 6
    others = 2 + 1 + 2 * 2  # response normalisations, poolings, concatenations
    network = FlatNetwork(networks.truncate(bvlc, ["inception_3b"]))
    assert len(network._steps) == convolutions + others - 2 * 2


def test_the_way_around_a_residual_block_is_joined_to_its_last_convolution():
    """Not to the first of two that are added: what it is added to is not there yet."""
    convolutions = 1 + (3 * 3 + 1) + (4 * 3 + 1)
    network = FlatNetwork(networks.truncate(built("resnet50"), ["layer2"]))
    assert len(network._steps) == convolutions


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_cuda_gradient_equals_the_cpus(name, dtype, cuda):
    nodes, size = CASES[name]
    image, weights = pictures(2, size), torch.ones(2, 1)
    found = ImageGradient(built(name), [Term(nodes[0])], device=cuda, dtype=dtype)
    slope, _ = found(image.to(cuda), weights.to(cuda))
    if name == "mobilenet_v3_large":
        assert found.path == "autograd"
        return
    assert found.path == "analytic+triton"
    wanted, _ = ImageGradient(built(name), [Term(nodes[0])])(image, weights)
    assert cosine(slope.cpu(), wanted) > (0.999 if dtype == torch.float32 else 0.9)


@native_bf16
@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_as_good_as_autograds(name):
    nodes, size = CASES[name]
    terms, image, weights = [Term(nodes[0])], pictures(1, size), torch.ones(1, 1)
    found = ImageGradient(built(name), terms, dtype=torch.bfloat16)
    slope, _ = found(image, weights)
    assert slope.dtype == torch.float32
    if name == "mobilenet_v3_large":  # with random weights, its gates make noise of any rounding
        assert found.path == "autograd"
        return
    assert found.path == ANALYTIC
    wanted, _ = plainly(built(name), terms, image, weights)
    assert cosine(slope, wanted) > cosine(rounded(built(name), nodes[0], image), wanted) - 0.005


def rounded(network, node, image):
    """The gradient of the mean square by autograd, with the picture and everything else in bf16."""
    module = networks.truncate(network, [node]).bfloat16().to(memory_format=torch.channels_last)
    plain = Autograd(module)
    centred = image - torch.tensor(network.mean).view(3, 1, 1)
    (activation,), tape = plain.forward(
        centred.bfloat16().contiguous(memory_format=torch.channels_last)
    )
    return plain.backward(tape, [activation]).float()


def photo(assets, name):
    from pipeline.media.images import read_picture

    pixels = torch.from_numpy(read_picture(assets / "photos" / name, max_pixels=10**8))
    pixels = pixels.permute(2, 0, 1)[None].float() / 255
    return F.interpolate(pixels, (135, 180), mode="bilinear", antialias=True)


@pytest.mark.parametrize("name", ["dog_1.jpg", "sky.jpg"])
def test_half_precision_on_photos(assets, bvlc, name):
    """Smooth pictures lose most by rounding, a sky more than a dog."""
    image, weights = photo(assets, name), torch.ones(1, 1)
    exact, value = ImageGradient(bvlc, [Term("inception_4c")])(image, weights)
    half = ImageGradient(bvlc, [Term("inception_4c")], dtype=torch.bfloat16)
    slope, close = half(image, weights)
    assert cosine(slope, exact) > 0.98
    torch.testing.assert_close(close, value, rtol=0.02, atol=0)
    assert cosine(slope, exact) > cosine(rounded(bvlc, "inception_4c", image), exact) + 0.005


def test_half_precision_of_the_embedded_network(dreamnet):
    image, weights = pictures(1, (90, 160)), torch.ones(1, 1)
    exact, _ = ImageGradient(dreamnet, [Term("mixed4a")])(image, weights)
    slope, _ = ImageGradient(dreamnet, [Term("mixed4a")], dtype=torch.bfloat16)(image, weights)
    assert cosine(slope, exact) > 0.98


@pytest.mark.parametrize("name", ["dreamnet", "bvlc_googlenet", "resnet50"])
def test_pictures_of_a_batch_do_not_know_of_one_another(name):
    nodes, size = CASES[name]
    way = ImageGradient(built(name), [Term(nodes[0]), Term(nodes[1], "norm")])
    image = pictures(4, size)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.3, 0.7], [-1.0, 2.0]])
    together, values = way(image, weights)
    for k in range(4):
        alone, value = way(image[k : k + 1], weights[k : k + 1])
        assert error(together[k : k + 1], alone) < 1e-5
        torch.testing.assert_close(values[k : k + 1], value, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bytes_every_time(dtype):
    image, weights = pictures(2, (67, 45)), torch.ones(2, 1)
    before = image.clone()
    runs = []
    for _ in range(2):
        way = ImageGradient(built("bvlc_googlenet"), [Term("inception_4c")], dtype=dtype)
        runs += [way(image, weights) for _ in range(2)]
    assert all(torch.equal(g, runs[0][0]) and torch.equal(v, runs[0][1]) for g, v in runs)
    assert torch.equal(image, before)


def test_classifiers_fall_back_to_autograd():
    image, weights = pictures(1, (65, 43)), torch.ones(1, 1)
    way = ImageGradient(built("resnet50"), [Term("avgpool")])
    assert way.path == "autograd"
    wanted, _ = plainly(built("resnet50"), [Term("avgpool")], image, weights)
    assert error(way(image, weights)[0], wanted) < 1e-5


def operator_gone(*_, **__):
    raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_convolution_pointwise'")


def operator_changed(self, x, *, relu=False, plus=None):
    y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding)  # forgets ReLU and sum
    return y.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("kernel", "because"),
    [
        (operator_gone, r"^AttributeError: '_OpNamespace' 'mkldnn' object has no attribute '_co"),
        (operator_changed, r"^its cosine to autograd's is -?0\.\d{4}, below 0\.9999$"),
    ],
)
def test_autograd_takes_over_when_an_operator_fails_and_says_why(monkeypatch, kernel, because):
    assert capabilities.has_convolution(torch.float32)
    monkeypatch.setattr(Kernel, "__call__", kernel)
    image, weights = pictures(1, (51, 38)), torch.ones(1, 1)
    way = ImageGradient(built("dreamnet"), [Term("mixed4a")])
    assert way.path == "autograd"
    assert re.search(because, way.refusal)
    wanted, _ = plainly(built("dreamnet"), [Term("mixed4a")], image, weights)
    assert error(way(image, weights)[0], wanted) < 1e-5


def test_precisions_without_a_list_fall_back_to_autograd():
    way = ImageGradient(built("dreamnet"), [Term("conv1")], dtype=torch.float64)
    assert (way.path, way.refusal) == ("autograd", "there is none in torch.float64 on cpu")


def test_an_operation_without_an_adjoint_is_named():
    way = ImageGradient(built("mobilenet_v3_large"), [Term("features.4.block.2")])
    assert way.path == "autograd"
    assert "no adjoint of" in way.refusal


def test_squares_exceed_float16_but_gradients_do_not(bvlc):
    """The first layer reaches 985, whose square no float16 holds."""
    layer = bvlc.module.get_submodule("norm1")
    x = torch.full((1, 64, 2, 2), 985.0)
    torch.testing.assert_close(
        copy.deepcopy(layer).half()(x.half()).float(), layer(x), rtol=2e-3, atol=0
    )
    image, weights = pictures(1, (48, 64)), torch.ones(1, 1)
    exact, _ = ImageGradient(bvlc, [Term("inception_3b")])(image, weights)
    slope, _ = ImageGradient(bvlc, [Term("inception_3b")], dtype=torch.float16)(image, weights)
    assert cosine(slope, exact) > 0.98


def test_a_network_that_exceeds_float16_is_refused():
    state = {key: 300 * tensor for key, tensor in random_state(networks.spec("dreamnet")).items()}
    network = networks.build("dreamnet", state)
    assert ImageGradient(network, [Term("mixed3a")]).path == ANALYTIC
    with pytest.raises(ConfigError, match=r"^dreamnet cannot be dreamed with in fp16: .* fp32$"):
        ImageGradient(network, [Term("mixed3a")], dtype=torch.float16)


def differentiated(module, x, g):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(module(x), x, g)[0]


def pulled(operation, x, arrived=None):
    """An operation's result, a random gradient there, and what it makes of it."""
    (y,), saved = operation.forward(x)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    g = g.contiguous(memory_format=torch.channels_last)
    return y, g, operation.backward((g,), saved, (arrived,))[0]


@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(7, 2, 3), (11, 4, 2), (3, 2, 0), (3, 2, 1), (1, 2, 0), (5, 3, 1), (2, 4, 0), (4, 4, 3)],
)
@torch.no_grad()
def test_adjoint_of_a_strided_convolution(channels, size, stride, padding):
    """Few channels go by phases, many by the transposed convolution."""
    layer = nn.Conv2d(channels, 5, size, stride, padding)
    for height, width in ((23, 24), (25, 26), (31, 33)):
        x = torch.randn(2, channels, height, width).contiguous(memory_format=torch.channels_last)
        arrived = torch.randn_like(x)
        y, g, slope = pulled(operations.convolution(layer), x, arrived)
        torch.testing.assert_close(y, layer(x), rtol=1e-4, atol=1e-4)
        with torch.enable_grad():
            wanted = arrived + differentiated(layer, x, g)
        torch.testing.assert_close(slope, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [24, 64, 96, 100])
@torch.no_grad()
def test_adjoint_of_response_normalisation(channels, kernels):
    """Torch's own normalisation is the judge; alpha is large so that it matters."""
    layer = LRN(channels, alpha=0.5)
    x = torch.randn(2, channels, 5, 4).contiguous(memory_format=torch.channels_last)
    y, g, slope = pulled(normalisations.response_norm(layer), x)
    judge = nn.LocalResponseNorm(5, alpha=0.5, beta=0.75, k=1.0)
    torch.testing.assert_close(y, judge(x), rtol=1e-5, atol=1e-5)
    with torch.enable_grad():
        wanted = differentiated(judge, x, g)
    torch.testing.assert_close(slope, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_adjoint_of_divisive_normalisation():
    """Its weights are not symmetric: the adjoint has to turn them round."""
    layer = DivisiveNorm(12)
    layer.gamma.uniform_(0, 0.5)
    x = torch.randn(2, 12, 5, 4).contiguous(memory_format=torch.channels_last)
    y, g, slope = pulled(normalisations.divisive_norm(layer), x)
    torch.testing.assert_close(y, layer(x), rtol=1e-5, atol=1e-5)
    with torch.enable_grad():
        wanted = differentiated(layer, x, g)
    torch.testing.assert_close(slope, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_pooling_sends_ties_where_autograd_does():
    x = torch.ones(1, 4, 9, 9).contiguous(memory_format=torch.channels_last)
    layer = nn.MaxPool2d(3, 2, ceil_mode=True)
    _, g, slope = pulled(operations.max_pool(layer), x)
    with torch.enable_grad():
        assert torch.equal(slope, differentiated(layer, x, g))


def test_averages_that_are_not_their_own_adjoint_are_refused():
    for layer in (nn.AvgPool2d(2), nn.AvgPool2d(3, 1, 1, count_include_pad=False)):
        with pytest.raises(operations.UnsupportedError):
            operations.avg_pool(layer)


def test_memory_does_not_grow():
    def resident():
        with open("/proc/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * 4096

    if not memory.keep_freed_memory():
        pytest.skip("only glibc can be told to keep freed memory")
    way = ImageGradient(built("dreamnet"), [Term("mixed4a")])
    sizes = ((128, 96), (160, 120), (180, 133))
    for _ in range(3):
        for size in sizes:
            way(pictures(1, size), torch.ones(1, 1))
    before = resident()
    for _ in range(20):
        for size in sizes:
            way(pictures(1, size), torch.ones(1, 1))
    assert resident() - before < 4e6


def test_weights_are_not_kept_packed_for_every_size_ever_seen():
    kernel = Kernel(torch.randn(4, 3, 3, 3))
    for width in range(8, 40):
        x = torch.randn(1, 3, 8, width)
        wanted = F.conv2d(x, kernel.weight)
        found = kernel(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert len(kernel.packed) < 10
