"""The fused kernels, each against torch's own operators: in plain torch, interpreted, on a GPU.

Triton reads TRITON_INTERPRET when it is imported; so the interpreted run is a process of its own,
which runs this very file.
"""

import os
import subprocess
import sys
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.engine import ascent, cpu_kernels
from pipeline.engine.fused_steps import FusedFooting
from pipeline.engine.gpu_operations import on_gpu
from pipeline.engine.gradient import Autograd, in_precision
from pipeline.engine.graph import FlatNetwork
from pipeline.engine.networks import build, truncate
from pipeline.engine.torch_kernels import NOWHERE, Window

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
WAYS = [pytest.param("torch"), pytest.param("triton", marks=pytest.mark.cuda)]
DTYPES = [torch.float32, torch.bfloat16]
WINDOWS = [
    (3, 2, 0, True, 13, 12),
    (3, 2, 0, True, 14, 17),
    (3, 2, 1, False, 15, 16),
    (2, 2, 0, False, 9, 8),
    (3, 1, 1, False, 7, 9),
    (3, 2, 1, True, 13, 14),
    (2, 3, 1, True, 9, 9),
]


@pytest.fixture(params=[*WAYS, pytest.param("cpu")])
def step_kernels(request):
    """Those of a step's own parts; a CPU has no others of its own."""
    if request.param == "cpu":
        if not cpu_kernels.library():
            pytest.skip("kernels are not compiled here")
        return cpu_kernels, torch.device("cpu")
    return chosen(request)


@pytest.fixture(params=WAYS)
def kernels(request):
    """A module of kernels, and the device its tensors are on."""
    return chosen(request)


def chosen(request):
    module = import_module(f"pipeline.engine.{request.param}_kernels")
    if request.param == "torch" or INTERPRETED:
        return module, torch.device("cpu")
    return module, request.getfixturevalue("cuda")


def made(*shape, seed=0, dtype=torch.float32, scale=1.0):
    """Random numbers in channels_last."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def close(found, wanted):
    """Equal to the rounding of the precision, and channels_last where it is a picture."""
    half = wanted.dtype == torch.bfloat16
    rtol, atol = (2e-2, 2e-2) if half else (1e-5, 1e-6)
    torch.testing.assert_close(found.cpu(), wanted, rtol=rtol, atol=atol)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(5, 7), (31, 40)])
def test_shift(step_kernels, size):
    module, device = step_kernels
    picture = torch.rand(3, 3, *size)
    offsets = [(4, -3), (0, 0), (-6, size[1] + 9)]
    for given in (picture, picture.contiguous(memory_format=torch.channels_last)):
        found = module.shift(given.to(device), torch.tensor(offsets, device=device))
        assert torch.equal(found.cpu(), ascent.shift(picture, offsets))
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("radius", [4, 2])
def test_cascade(step_kernels, radius):
    """The same filter as the CPU's own, for every sample its own sigma."""
    module, device = step_kernels
    gradient, sigmas = made(3, 3, 17, 18) + 0.1, [0.0, 0.7, 2.5]
    found, size = module.cascade(gradient.to(device), torch.tensor(sigmas, device=device), radius)
    wanted = [
        gradient[:1],
        *(ascent_cascade(gradient[k : k + 1], sigmas[k], radius) for k in (1, 2)),
    ]
    close(found, torch.cat(wanted).contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(
        size.sum(1).cpu(), torch.cat(wanted).abs().mean((1, 2, 3)), rtol=1e-5, atol=0
    )


def ascent_cascade(gradient, sigma, radius):
    lines = []
    for factor in (0.5, 1.0, 2.0):
        line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / (sigma * factor)) ** 2)
        lines.append(line / line.sum())
    kernel = torch.stack([torch.outer(line, line) for line in lines]).mean(0)
    padded = F.pad(gradient, (radius,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)


@pytest.mark.parametrize("repeats", [1, 600])
def test_climb(step_kernels, repeats):
    module, device = step_kernels
    shifted, direction = made(3, 3, 19, 26).abs() / 2, made(3, 3, 19, 26, seed=1)
    steps, offsets = torch.tensor([0.1, 0.3, 0.2]), torch.tensor([(2, -5), (0, 0), (-1, 30)])
    size = torch.tensor([[0.5, 0.5], [0.75, 1.25], [0.0, 0.0]]).repeat(1, repeats) / repeats
    given = [x.to(device) for x in (shifted, direction, steps, size, offsets)]
    direction[2] = given[1][2] = 0  # a gradient that vanished moves nothing
    stepped = shifted + torch.tensor([0.1, 0.15, 0.0]).view(-1, 1, 1, 1) * direction
    wanted = ascent.shift(stepped.clamp(0, 1), (-offsets).tolist())
    close(module.climb(*given), wanted.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rectify(kernels, dtype):
    module, device = kernels
    x, bias = made(2, 11, 7, 9, dtype=dtype), made(1, 11, 1, 1, seed=1, dtype=dtype).flatten()
    wanted = (x + bias.view(1, -1, 1, 1)).relu()
    given = x.to(device)
    found = module.rectify_(given, bias.to(device))
    assert found.data_ptr() == given.data_ptr()
    close(found, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("joined", [False, True])
def test_masked(kernels, dtype, joined):
    module, device = kernels
    g, y, arrived = (made(2, 6, 9, 8, seed=k, dtype=dtype) for k in range(3))
    y.relu_()
    kept = torch.where(y > 0, g, 0)
    found = module.masked(g.to(device), y.to(device), arrived.to(device) if joined else None)
    close(found, kept + arrived if joined else kept)


def test_slices_of_channels_are_masked_too(kernels):
    module, device = kernels
    whole = made(2, 12, 6, 5).to(device)
    found = module.masked(whole[:, 3:7], whole[:, 5:9])
    assert torch.equal(found, torch.where(whole[:, 5:9] > 0, whole[:, 3:7], 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize(("size", "stride", "padding", "ceil", "height", "width"), WINDOWS)
def test_max_pool(kernels, dtype, rectified, size, stride, padding, ceil, height, width):
    module, device = kernels
    window = Window((size, size), (stride, stride), (padding, padding), ceil)
    x = made(2, 5, height, width, dtype=dtype, scale=3.0).round()  # with ties
    bias = torch.tensor([0.0, 1.0, -2.0, 5.0, -9.0], dtype=dtype) if rectified else None
    y, places = module.max_pool(x.to(device), window, None if bias is None else bias.to(device))
    x.requires_grad_()
    seen = x if bias is None else (x + bias.view(1, -1, 1, 1)).relu()
    wanted = F.max_pool2d(seen, size, stride, padding, 1, ceil)
    assert torch.equal(y.cpu(), wanted.detach())
    assert places.dtype == torch.uint8
    if rectified:
        assert torch.equal(places.cpu() == NOWHERE, wanted == 0)
    g = made(*wanted.shape, seed=1, dtype=dtype)
    found = module.max_pool_backward(g.to(device), places, window, x.shape)
    (slope,) = torch.autograd.grad(wanted.float(), x, g.float())
    close(found, slope.contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "beta", "bias"), [(6, 0.75, 1.0), (32, 0.5, 2.0)])
def test_response_norm(kernels, dtype, channels, beta, bias):
    """Torch's own normalisation judges; alpha is large so that it matters."""
    module, device = kernels
    x, g = (made(2, channels, 5, 4, seed=k, dtype=dtype) for k in range(2))
    judge = nn.LocalResponseNorm(5, alpha=0.5, beta=beta, k=bias)
    wide = x.float().requires_grad_()
    wanted = judge(wide)
    (slope,) = torch.autograd.grad(wanted, wide, g.float())
    last = torch.channels_last
    knobs = (2, 0.1, beta, bias)
    close(module.response_norm(x.to(device), *knobs), wanted.detach().to(dtype, memory_format=last))
    found = module.response_norm_backward(g.to(device), x.to(device), *knobs)
    close(found, slope.to(dtype, memory_format=last))


def test_same_bytes_every_time(kernels):
    module, device = kernels
    gradient, sigmas = made(2, 3, 17, 31).to(device), torch.tensor([1.0, 2.0], device=device)
    window = Window((3, 3), (2, 2), (0, 0), True)
    y, places = module.max_pool(gradient, window)
    for function, arguments in (
        (module.cascade, (gradient, sigmas, 1)),
        (module.max_pool_backward, (y, places, window, gradient.shape)),
    ):
        first, again = function(*arguments), function(*arguments)
        for a, b in zip(first, again, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_a_whole_network(kernels, dtype):
    """Every operation of a GPU's list, pooling and normalisation too, through to the picture."""
    module, device = kernels
    network = truncate(build("bvlc_googlenet", None), ["inception_3a"])
    cut = in_precision(network, dtype).to(device, memory_format=torch.channels_last)
    picture = made(2, 3, 23, 30, scale=0.3).to(device)
    slopes = []
    for way in (FlatNetwork(cut, on_gpu(module)), Autograd(cut)):
        activations, tape = way.forward(picture)
        slopes.append(way.backward(tape, [a.clone() for a in activations]).float().flatten())
    assert F.cosine_similarity(*slopes, dim=0) > (0.9999 if dtype == torch.float32 else 0.98)


def test_whole_steps(step_kernels):
    """Shift, smooth, normalise, step and unshift as a GPU chains them, against the CPU's way."""
    module, device = step_kernels
    target = made(2, 3, 14, 19, seed=1)

    def gradient(picture, weights):
        return (target.to(device) - picture) * weights[:, :1, None, None], weights.sum(1)

    settings = [ascent.StepSettings(0.05, 6, 0.4, (w,)) for w in (1.0, -2.0)]
    footings = (ascent.PLAIN, FusedFooting(module))
    picture = made(2, 3, 14, 19).abs().clamp(0, 1)
    wanted, found = (
        ascent.ascend(
            picture.to(device),
            gradient,
            keys=[3, 4],
            octave=0,
            iterations=2,
            settings=settings,
            footing=footing,
        )
        for footing in footings
    )
    torch.testing.assert_close(found[0].cpu(), wanted[0].cpu(), atol=1e-5, rtol=0)
    assert torch.equal(found[1].cpu(), wanted[1].cpu())


@pytest.mark.skipif(INTERPRETED, reason="this is that run")
def test_triton_interpreted():
    """Run the Triton half of this file on the CPU."""
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", "-k", "triton", "-p", "no:cacheprovider"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [*command, __file__], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout.replace("1 skipped", "")
