"""Configs of one line: what `dream sheet`, `dream maps` and `dream atlas` render.

Each is an ordinary config. It may be overridden like a file, is resumed like any render, and its
`config.yaml` can be rendered again.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import Config, config_from
from pipeline.engine.layers import main_layers, resolve
from pipeline.engine.networks import spec
from pipeline.names import usable


def layer_sheet(
    photo: str,
    model: str,
    layers: Sequence[str] | None = None,
    *,
    weights: str | None = None,
    overrides: Iterable[str] = (),
) -> Config:
    """One picture dreamed at several layers: frame k climbs layer k, all as one render.

    Args:
        photo: a picture file.
        model: a network.
        layers: in the order of the sheet; None: all that end a block or a stage.
        weights: of the network; None: its own.
        overrides: `key=value` texts laid over it.

    Raises:
        ConfigError: an unknown model or layer, or an override that is wrong.
    """
    chosen = [resolve(model, name).name for name in layers or main_layers(model)]
    chosen = list(dict.fromkeys(chosen))
    data = _still(f"{file_stem(photo)}-{model}-layers", photo, 384)
    data["source"]["frames"] = len(chosen)
    data["dream"] = {
        "model": model,
        "weights": weights,
        # Linear between moments one frame apart: 1 at frame k, 0 at every other.
        "layers": {name: {"weight": _only_at(k)} for k, name in enumerate(chosen)},
        "iterations": 10,
    }
    data["outputs"] = [{"kind": "sheet", "title": f"{Path(photo).name}, layer by layer of {model}"}]
    return config_from(data, overrides, name="dream sheet")


def feature_map_sheet(
    photo: str,
    model: str,
    layer: str | None = None,
    *,
    count: int = 23,
    weights: str | None = None,
    overrides: Iterable[str] = (),
) -> Config:
    """What a layer sees in a picture: the maps of the channels excited most; nothing is dreamed.

    Args:
        photo: a picture file.
        model: a network.
        layer: of it; None: its default layer.
        count: of channels.
        weights: of the network; None: its own.
        overrides: `key=value` texts laid over it.

    Raises:
        ConfigError: an unknown model or layer, or an override that is wrong.
    """
    found = resolve(model, layer or spec(model).default_layer).name
    data = _still(f"{file_stem(photo)}-{model}-{found}-maps", photo, 512)
    data["dream"] = {"model": model, "weights": weights, "layers": found, "iterations": 0}
    data["outputs"] = [{"kind": "maps", "count": count, "tile": 256}]
    return config_from(data, overrides, name="dream maps")


def channel_atlas(
    model: str,
    layer: str,
    channels: int | Sequence[int] | None = None,
    *,
    weights: str | None = None,
    overrides: Iterable[str] = (),
) -> Config:
    """What single channels look for: frame k climbs one channel, out of noise (Olah et al. 2017).

    Args:
        model: a network.
        layer: of it.
        channels: their numbers, or how many, from 0; None: all.
        weights: of the network; None: its own.
        overrides: `key=value` texts laid over it.

    Raises:
        ConfigError: an unknown model, layer or channel, or an override that is wrong.
    """
    found = resolve(model, layer)
    if channels is None or isinstance(channels, int):
        each: Any = "each"
        count = found.channels if channels is None else channels
    else:
        each, count = {"each": list(channels)}, len(channels)
    data: dict[str, Any] = {
        "name": f"{model}-{found.name}-atlas",
        "seed": 7,
        "source": {"kind": "noise", "size": [128, 128], "frames": count, "scale": 0.03},
        "dream": {
            "model": model,
            "weights": weights,
            "layers": {found.name: {"channels": each, "objective": "mean"}},
            "octaves": 1,
            "iterations": 96,
            "step": 0.01,
            "jitter": 8,
            "transforms": {"rotate": 5, "scale": 1.1},
            "smooth": "decorrelate",
            "decay": 0.2,
        },
        "outputs": [{"kind": "sheet", "title": f"{found.name} of {model}, channel by channel"}],
    }
    return config_from(data, overrides, name="dream atlas")


def file_stem(path: str) -> str:
    """Make a file's name, without folder and suffix, a part of a render's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", usable(Path(path).stem))


def _still(name: str, photo: str, side: int) -> dict[str, Any]:
    source = {"kind": "image", "path": photo, "size": [side, side]}
    return {"name": name, "seed": 7, "source": source}


def _only_at(frame: int) -> dict[str, float]:
    before = {f"{frame - 1}f": 0.0} if frame else {}
    return before | {f"{frame}f": 1.0, f"{frame + 1}f": 0.0}
