"""What all tests share: the folder of real networks and clips, and a small network."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Side by side, test processes share the processors instead of each starting a thread for all.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

import pipeline  # noqa: F401  sets up OpenMP, which must happen before torch is imported

# isort: split
import pytest
import torch
from hypothesis import HealthCheck, settings
from safetensors.torch import load_file

from pipeline.engine.memory import give_back_freed_memory
from pipeline.engine.networks import Network, build

ROOT = Path(__file__).parent.parent

# A busy machine is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="module")
def let_go(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep no network for the next file of tests."""
    yield
    for value in vars(request.module).values():
        if hasattr(value, "cache_clear") and value.__module__ == request.module.__name__:
            value.cache_clear()
    gc.collect()
    give_back_freed_memory()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip on Windows what is marked as Unix's."""
    if sys.platform == "win32" and item.get_closest_marker("unix"):
        pytest.skip("Windows has no such thing")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Real networks, clips and photos, which the project does not carry."""
    folder = Path(os.environ.get("DREAM_ASSETS", ROOT / "../shared/assets"))
    if not folder.is_dir():
        pytest.skip(f"no {folder}: set DREAM_ASSETS to a folder of real networks and clips")
    return folder


@pytest.fixture(scope="session")
def dreamnet() -> Network:
    """The embedded network, float32."""
    return build("dreamnet", load_file(ROOT / "pipeline/engine/dreamnet.safetensors"))


@pytest.fixture(scope="session")
def bvlc(assets: Path) -> Network:
    """The original DeepDream network with its real weights, float32."""
    return build("bvlc_googlenet", load_file(assets / "weights/bvlc_googlenet_fp16.safetensors"))


@pytest.fixture
def cuda() -> torch.device:
    """A CUDA device: without one the test is skipped, or fails if FAIL_WITHOUT_CUDA=1."""
    if not torch.cuda.is_available():
        if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
            pytest.fail("FAIL_WITHOUT_CUDA=1 and there is no CUDA device")
        pytest.skip("no CUDA device")
    return torch.device("cuda:0")
