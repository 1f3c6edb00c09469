"""DeepDream animation: a YAML file in, a calm and sharp dream video or GIF out.

    from pipeline import Dreamer, load_config, render

    rendered = render(load_config("configs/noise_zoom.yaml", ["source.frames=48"]))
    print(rendered.outputs)

The names are loaded on first use (PEP 562), so that nothing imports torch until something dreams.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import load_config
    from pipeline.engine.dreamer import Dreamer
    from pipeline.renderer import render

__all__ = ["Dreamer", "load_config", "render"]
__version__ = "0.1.0"

# OpenMP threads that spin while they wait starve whatever else runs on the machine, and on a busy
# one the dream itself, step after step; threads that sleep at once lose a fifth of their time to
# being woken. So they spin for some microseconds (GNU's OpenMP, which torch brings on Linux, counts
# loops) and then sleep. It must be set before torch starts its threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# oneDNN keeps the last 1024 convolutions it has made ready: three sizes of pictures with four
# octaves each. A folder of six sizes is dreamed 1.2 times as fast if it keeps them all.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")

# What Apple's GPU has no kernel for is computed on the CPU, and torch says so, rather than failing.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

_HOME = {
    "Dreamer": "pipeline.engine.dreamer",
    "load_config": "pipeline.config",
    "render": "pipeline.renderer",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name not in _HOME:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
