"""What the machine can do is found by trying, and whatever depends on it follows the answer."""

import os
from types import SimpleNamespace

import pytest
import torch

from pipeline.config import config_from
from pipeline.engine import capabilities, cpu_kernels
from pipeline.engine.convolutions import Kernel
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.objectives import Term
from pipeline.runtime import resolve_runtime

HALF = torch.bfloat16
HAS = capabilities.has_convolution.__wrapped__  # asked anew
FAST = capabilities.is_fast.__wrapped__


def test_precisions_are_tried():
    assert HAS(torch.float32) == torch.backends.mkldnn.is_available()
    assert HAS(HALF) in (True, False)
    assert not HAS(torch.float64)  # oneDNN has none


def gone(*_, **__):
    raise RuntimeError("mkldnn_reorder_conv2d_weight: bf16 path needs the cpu support ...")


def wrong(self, x, **_):
    return torch.zeros_like(x)


@pytest.mark.parametrize("kernel", [gone, wrong])
def test_a_convolution_that_fails_or_errs_is_none(monkeypatch, kernel):
    monkeypatch.setattr(Kernel, "__call__", kernel)
    assert not HAS(torch.float32)


@pytest.mark.parametrize(("gain", "fast"), [(1.7, True), (0.6, False)])
def test_a_precision_is_fast_if_it_takes_less_time_than_float32(monkeypatch, gain, fast):
    monkeypatch.setattr(capabilities, "has_convolution", lambda dtype: True)
    monkeypatch.setattr(capabilities, "_gain", lambda dtype: gain)
    assert FAST(HALF, "cpu") is fast
    monkeypatch.setattr(capabilities, "is_fast", FAST)
    told = capabilities.cost(HALF, "cpu")
    assert told == (
        None if fast else "bf16 has no fast convolution on this CPU: fp32 is faster here"
    )


def test_float32_is_what_others_are_compared_with():
    assert capabilities._gain(torch.float32) == 1
    assert 0 < capabilities._gain(torch.float64) < 10
    assert FAST(torch.float32, "cpu")
    assert capabilities.cost(torch.float32, "cpu") is None


def without(precision):
    return lambda dtype: dtype != precision


def test_without_its_convolution_a_precision_is_autograds_and_says_why(monkeypatch, dreamnet):
    monkeypatch.setattr(capabilities, "has_convolution", without(HALF))
    image = torch.rand(1, 3, 48, 56, generator=torch.Generator().manual_seed(0))
    exact = ImageGradient(dreamnet, [Term("mixed3b")])
    half = ImageGradient(dreamnet, [Term("mixed3b")], dtype=HALF)
    assert (half.path, half.refusal) == (
        "autograd",
        "oneDNN has no convolution in bf16 on this CPU",
    )
    a, b = (way(image, torch.ones(1, 1))[0].flatten() for way in (half, exact))
    assert float(torch.cosine_similarity(a, b, dim=0)) > 0.95


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_auto_chooses_what_is_fast(monkeypatch, fast, chosen):
    monkeypatch.setattr(capabilities, "is_fast", lambda dtype, kind: fast)
    auto = {"name": "x", "source": {"kind": "noise", "size": [64, 64]}}
    cpu = {"device": "cpu"}
    assert resolve_runtime(config_from(auto | {"runtime": cpu}), (64, 64)).precision == chosen
    asked = auto | {"runtime": cpu | {"precision": "bf16"}}
    assert resolve_runtime(config_from(asked), (64, 64)).precision == "bf16"


@pytest.mark.parametrize(
    ("told", "quota", "wanted"),
    [
        ("3", "max 100000", 3),  # what is asked for counts
        ("", "max 100000", 2),
        ("", "100000 100000", 1),
        ("", "50000 100000", 1),
        ("", "800000 100000", 2),  # no more than there are
        ("many", None, 2),
    ],
)
def test_threads_are_as_many_as_may_work_at_once(monkeypatch, tmp_path, told, quota, wanted):
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(f"{quota}\n", encoding="ascii")
    monkeypatch.setattr(capabilities, "_QUOTA", file)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert capabilities.threads() == wanted


def test_it_says_which_kernels_there_are(monkeypatch):
    for openmp, cores in ((1, "all cores"), (0, "one core")):
        library = SimpleNamespace(openmp=lambda openmp=openmp: openmp)
        monkeypatch.setattr(cpu_kernels, "library", lambda library=library: library)
        assert capabilities.kernels() == f"C, for {cpu_kernels.level()}, on {cores}"
    monkeypatch.setattr(cpu_kernels, "library", lambda: None)
    assert capabilities.kernels().startswith("PyTorch's operators")
    assert capabilities.processor()
