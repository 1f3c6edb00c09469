"""The configs behind `dream sheet`, `dream maps` and `dream atlas`."""

from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

from pipeline import cli
from pipeline.build import step_settings
from pipeline.engine.layers import main_layers
from pipeline.engine.networks import MODELS
from pipeline.errors import ConfigError
from pipeline.inputs import open_inputs
from pipeline.plan import FrameId
from pipeline.recipes import channel_atlas, feature_map_sheet, layer_sheet

TINY = ["dream.iterations=1", "dream.octaves=1"]


@pytest.fixture
def photo(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    cv2.imwrite("a photo.png", cv2.resize(noise, (64, 48), interpolation=cv2.INTER_CUBIC))
    return "a photo.png"


def test_every_frame_of_a_layer_sheet_climbs_one_layer(photo, tmp_path):
    config = layer_sheet(photo, "vgg16")
    layers = [term.layer for term in config.dream.terms()]
    assert layers == [f"relu{b}_{k}" for b, n in enumerate((2, 2, 3, 3, 3), 1)
                      for k in range(1, n + 1)]  # fmt: skip
    inputs = open_inputs(config, tmp_path, fresh=True)
    assert inputs[0].frames == len(layers)
    for frame in range(len(layers)):
        weights = step_settings(inputs, FrameId(0, frame)).weights
        assert weights == tuple(float(k == frame) for k in range(len(layers)))


@pytest.mark.parametrize("model", MODELS)
def test_main_layers_leave_out_poolings_and_branches(model):
    names = main_layers(model)
    assert 5 <= len(names) <= 20
    assert MODELS[model].default_layer in names
    assert not [name for name in names if "pool" in name or "norm" in name or "1x1_" in name]


def test_chosen_layers_keep_their_order_and_go_by_any_name(photo):
    config = layer_sheet(photo, "vgg16", ["conv4_3", "block1_conv1"])
    assert [term.layer for term in config.dream.terms()] == ["conv4_3", "relu1_1"]


def test_an_atlas_is_of_the_channels_asked_for():
    assert channel_atlas("vgg16", "block4_conv3").source.frames == 512
    assert channel_atlas("dreamnet", "4a", 24).source.frames == 24
    chosen = channel_atlas("dreamnet", "mixed4a", [3, 17], overrides=["source.size=[64, 64]"])
    (term,) = chosen.dream.terms()
    assert [term.channels.at(frame) for frame in range(chosen.source.frames)] == [3, 17]
    assert chosen.source.size == (64, 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: layer_sheet(p, "vgg160"), 'Did you mean "vgg16"'),
        (lambda p: layer_sheet(p, "vgg16", ["relu4_4"]), 'Did you mean "relu4_3"'),
        (lambda p: layer_sheet(p, "vgg16", overrides=["dream.stepp=1"]), 'Did you mean "step"'),
        (lambda p: channel_atlas("dreamnet", "mixed4z"), "is not a layer of dreamnet"),
        (lambda p: channel_atlas("vgg16", "relu4_3", [512]), "channels 0 to 511, not 512"),
        (lambda p: channel_atlas("vgg16", "relu4_3", 513), "512 channels, and there are 513"),
        (lambda p: channel_atlas("dreamnet", "mixed4a", 0), "at least 1"),
        (lambda p: feature_map_sheet(p, "dreamnet", count=0), "at least 1"),
    ],
)
def test_mistakes_are_said_in_one_line(make, message, photo):
    with pytest.raises(ConfigError, match=message) as caught:
        make(photo)
    assert "\n" not in str(caught.value)


def test_the_commands_make_sheets(photo, capsys):
    assert cli.main(["sheet", photo, "--layers", "mixed3a,mixed4a", *TINY, "--out", "s.jpg"]) == 0
    assert cli.main(["maps", photo, "--layer", "mixed3b", "--count", "3", "--out", "m.png"]) == 0
    atlas = ["atlas", "dreamnet", "mixed3a", "--channels", "5,2", "source.size=[32, 32]", *TINY]
    assert cli.main(atlas) == 0
    sheets = [Path("outputs/a_photo-dreamnet-layers/a_photo-dreamnet-layers-sheet.png"),
              Path("outputs/a_photo-dreamnet-mixed3b-maps/a_photo-dreamnet-mixed3b-maps-maps.png"),
              Path("outputs/dreamnet-mixed3a-atlas/dreamnet-mixed3a-atlas-sheet.png")]  # fmt: skip
    assert all(path.exists() for path in sheets)
    assert np.array_equal(iio.imread("m.png"), iio.imread(sheets[1]))
    assert np.abs(iio.imread("s.jpg").astype(int) - iio.imread(sheets[0])).mean() < 3
    assert "s.jpg" in capsys.readouterr().out
    assert cli.main(atlas) == 0
    assert "already finished" in capsys.readouterr().out


def test_a_sweep_from_the_command_line(photo, capsys):
    Path("s.yaml").write_text(
        f"name: s\nsource: {{kind: image, path: {photo}}}\ndream: {{iterations: 1, octaves: 1}}\n",
        encoding="utf-8",
    )
    assert cli.main(["sweep", "s.yaml", "dream.step=0.01,0.02", "--out", "both.png"]) == 0
    assert Path("both.png").exists()
    assert "outputs/s-sweep/s-sweep.png" in capsys.readouterr().out


def test_a_sheet_can_only_be_a_picture(photo, capsys):
    with pytest.raises(SystemExit):
        cli.main(["sheet", photo, "--out", "sheet.pdf"])
    assert "neither in .png nor in .jpg" in capsys.readouterr().err
    assert cli.main(["atlas", "dreamnet", "mixed4a", "--channels", "3,x"]) == 2
    assert not Path("outputs").exists()
