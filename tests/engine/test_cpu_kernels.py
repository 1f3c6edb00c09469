"""The compiled kernels: when they are taken; that they are right is tested beside their twins."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline.engine import cpu_kernels


@pytest.fixture
def compiled():
    if not cpu_kernels.library():
        pytest.skip("kernels are not compiled here")


def test_kernels_of_another_version_are_not_taken(compiled, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "VERSION", cpu_kernels.VERSION + 1)
    assert cpu_kernels.library.__wrapped__() is None


def test_a_cpu_of_neither_level_has_none(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert cpu_kernels.library.__wrapped__() is None


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_arm_has_a_level_of_its_own(monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "SVE256")
    assert cpu_kernels.level() == "neon"


def test_they_tell_whether_they_use_all_cores(compiled):
    assert cpu_kernels.library().openmp() in (0, 1)


@pytest.mark.parametrize(
    ("openmp", "threads", "taken"), [(1, 2, True), (0, 1, True), (0, 2, False)]
)
def test_without_openmp_they_are_for_one_thread(compiled, monkeypatch, openmp, threads, taken):
    library = SimpleNamespace(version=lambda: cpu_kernels.VERSION, openmp=lambda: openmp)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert cpu_kernels.library.__wrapped__() is (library if taken else None)


def test_both_levels_compute_the_same(compiled):
    """Run the tests of all kernels as on a CPU that has only AVX2."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this CPU has one level")
    files = [f"tests/engine/test_{name}.py" for name in ("pooling", "kernels", "stem")]
    chosen = ["-k", "(cpu or pooling or stem) and not whole_network", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *files, *chosen],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "ATEN_CPU_CAPABILITY": "avx2"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
