"""Every config that is shipped, rendered tiny and short, with pictures and weights made here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clips import lavfi, run
from safetensors.torch import save_file

from pipeline.config import config_from
from pipeline.config.yaml_source import read_yaml
from pipeline.engine.assembly import random_state
from pipeline.engine.networks import spec
from pipeline.frames import read_journal
from pipeline.renderer import render

CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = sorted(CONFIGS.rglob("*.yaml"))
SIZE, FRAMES = (96, 72), 5
# The most of each setting, wherever in a config it stands.
MOST = {"frames": FRAMES, "iterations": 2, "octaves": 2, "loop": FRAMES // 2, "width": 64}
SHORTENED = ("start", "seconds", "cuts")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A photo, a folder of photos and a clip, which take the place of whatever a config names."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "photos").mkdir()
    for index, name in enumerate(("photo.png", "photos/a.png", "photos/b.png")):
        coarse = np.random.default_rng(index).integers(0, 256, (9, 12, 3), np.uint8)
        photo = cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / name), photo)
    source = f"testsrc2=size={SIZE[0]}x{SIZE[1]}:rate=24,trim=end_frame={FRAMES},format=yuv420p"
    run(*lavfi(source), "-c:v", "libx264", f"file:{folder / 'clip.mp4'}")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Callable[[dict[str, Any]], str | None]:
    """Random weights for a dream, always the same; None for the embedded network's own.

    Most of a network may be its classifier: it is left out unless the dream is of classes.
    """
    folder = tmp_path_factory.mktemp("weights")

    def file(dream: dict[str, Any]) -> str | None:
        facts = spec(dream.get("model", "dreamnet"))
        if facts.embedded:
            return None
        path = folder / f"{facts.name}{'-classes' * ('classes' in dream)}.safetensors"
        if not path.exists():
            save_file(random_state(facts, classifier="classes" in dream), path)
        return str(path)

    return file


def stand_in(path: str, made: Path) -> str:
    """What is there instead of a file: another of its kind; a folder for a folder or a glob."""
    suffix = Path(path).suffix.lower()
    if "*" in path or not suffix:
        return str(made / "photos")
    return str(made / ("clip.mp4" if suffix in (".mp4", ".mov", ".mkv", ".webm") else "photo.png"))


def tiny(value: Any, made: Path, key: str = "") -> Any:
    """A config's data with less of everything and with files that are there."""
    if isinstance(value, dict):
        return {k: tiny(v, made, k) for k, v in value.items() if k not in SHORTENED}
    if isinstance(value, list):
        if key == "frames":  # chosen ones
            return [0]
        return [tiny(each, made, key) for each in value]
    if isinstance(value, str) and key in ("path", "guide", "mask"):
        return stand_in(value, made)
    if key in MOST and isinstance(value, int):
        return min(value, MOST[key])
    return value


def test_configs_are_shipped():
    assert len(SHIPPED) >= 6


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_shipped_config_renders(path, made, weights, tmp_path):
    data = tiny(read_yaml(path).data, made)
    data["source"]["size"] = list(SIZE)
    data["dream"]["weights"] = weights(data["dream"])
    config = config_from(data | {"runtime": {"threads": 1}})
    done = render(config, root=tmp_path)
    assert done.outputs
    assert all(output.stat().st_size > 200 for output in done.outputs)
    strength = [record.strength for record in read_journal(done.folder)]
    assert len(strength) == done.frames
    steps = (config.dream.iterations, getattr(config.feedback, "iterations", 0))
    assert any(strength) == any(steps)
    for stored in done.folder.glob("frames/*.png"):
        assert cv2.imread(str(stored)).std() > 3
