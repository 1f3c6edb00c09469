"""The sheet of all seed configs: what cannot be rendered leaves a tile that says so."""

import sys
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import seeds

from pipeline.media.contact_sheet import layout

SMALL = "dream: {{model: {model}, layers: {layer}, octaves: 1, iterations: 1}}\noutputs: [png]\n"
NOISE = "source: {kind: noise, size: [64, 48], frames: 2}\n"
PHOTO = "source: {kind: image, path: photo.jpg, size: [64, 64]}\n"


@pytest.fixture
def configs(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, source, model, layer in (
        ("a_noise", NOISE, "dreamnet", "mixed3a"),
        ("b_photo", PHOTO, "dreamnet", "mixed3b"),
        ("c_other", NOISE, "bvlc_googlenet", "inception_3a"),
    ):
        text = f"name: {name}\n{source}{SMALL.format(model=model, layer=layer)}"
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "mine.png"), noise)
    return folder


def sheet(configs: Path, monkeypatch, *arguments: str) -> list[np.ndarray]:
    """Run the script, and cut its sheet into tiles."""
    options = ["--configs", str(configs), "--tile", "120", "--out", "sheet.png", *arguments]
    monkeypatch.setattr(sys, "argv", ["seeds.py", *options])
    seeds.main()
    picture = iio.imread("sheet.png")
    boxes = layout(3, (120, 90), columns=None, lines=2, title=True).tiles
    return [picture[box.top : box.bottom, box.left : box.right] for box in boxes]


def is_empty(tile: np.ndarray) -> bool:
    """Whether nothing but some words is on it."""
    return bool((tile == tile[0, 0]).all(axis=2).mean() > 0.6)


def test_everything_that_can_be_rendered_is(configs, monkeypatch, capsys):
    tiles = sheet(configs, monkeypatch, "--input", "mine.png", "--preview")
    assert [is_empty(tile) for tile in tiles] == [False, False, True]
    assert "c_other: skipped: bvlc_googlenet needs weights" in capsys.readouterr().err


def test_another_photo_replaces_the_first(configs, monkeypatch):
    _, first, _ = sheet(configs, monkeypatch, "--input", "mine.png")
    cv2.imwrite("yours.png", np.full((48, 64, 3), 200, np.uint8))
    _, second, _ = sheet(configs, monkeypatch, "--input", "yours.png")
    assert second.mean() > first.mean() + 30


def test_a_missing_photo_is_said(configs, monkeypatch, capsys):
    assert [is_empty(tile) for tile in sheet(configs, monkeypatch)] == [False, True, True]
    assert "b_photo: skipped: photo.jpg: no such file" in capsys.readouterr().err


def test_another_network_stands_in_and_the_tile_says_so(configs, monkeypatch, capsys):
    instead = "bvlc_googlenet=dreamnet:mixed4a"
    tiles = sheet(configs, monkeypatch, "--input", "mine.png", "--instead", instead)
    assert not any(map(is_empty, tiles))
    assert capsys.readouterr().err == ""
    options = seeds.argparse.Namespace(
        input=None, guide=None, preview=False, weights=[], instead=[tuple(instead.split("="))]
    )
    config, stands_in_for = seeds._config(configs / "c_other.yaml", options)
    assert seeds._weights(config, stands_in_for) == "dreamnet, not bvlc_googlenet"
    assert list(config.dream.layers) == ["mixed4a"]
