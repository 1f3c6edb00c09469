"""Renders whose output is a contact sheet: atlases, layers side by side, feature maps."""

from itertools import pairwise
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import yaml

from pipeline.config import config_from, load_config, preview, resolved_dict
from pipeline.engine.layers import resolve
from pipeline.errors import ConfigError
from pipeline.inputs import make_source
from pipeline.media.contact_sheet import layout
from pipeline.renderer import render
from pipeline.sheets import caption

ROOT = Path(__file__).parent.parent
CHANNELS = resolve("dreamnet", "mixed3b").channels
ATLAS = {
    "name": "atlas",
    "source": {"kind": "noise", "size": [48, 48], "frames": 5, "scale": 0.05},
    "dream": {
        "layers": {"mixed3b": {"channels": "each", "objective": "mean"}},
        "octaves": 1,
        "iterations": 2,
        "smooth": "decorrelate",
    },
    "outputs": [{"kind": "sheet"}],
    "runtime": {"threads": 1, "precision": "fp32"},
}


def config(*overrides: str, **changes):
    return config_from(ATLAS | changes, overrides)


def frames_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "frames").iterdir())]


def captions(of) -> list[str]:
    source = make_source(of)
    return [caption(of, source, frame) for frame in range(len(source.sizes))]


@pytest.fixture
def photo(tmp_path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), cv2.resize(noise, (96, 72), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.mark.parametrize(
    ("each", "alone"),
    [
        (
            "{mixed3b: {channels: {each: [7, 30, 2]}, objective: mean}}",
            "{mixed3b: {channels: %d, objective: mean}}",
        ),
        (
            "{mixed4a: .5, mixed3b: {channels: {each: [7, 30, 2]}}, mixed3a: {channels: each}}",
            "{mixed4a: .5, mixed3b: {channels: %d}, mixed3a: {channels: %d}}",
        ),
    ],
)
def test_each_frame_is_what_its_channels_alone_dream(each, alone, tmp_path):
    atlas = render(config(f"dream.layers={each}", "source.frames=3"), root=tmp_path)
    for frame, channels in enumerate(((7, 0), (30, 1), (2, 2))):
        layers = alone % channels[: alone.count("%d")]
        single = render(
            config(f"dream.layers={layers}", "source.frames=3", "name=alone"),
            root=tmp_path,
            overwrite=True,
        )
        dreams = [cv2.imread(str(single.folder / f"frames/{f:06d}.png")) for f in range(3)]
        mine = cv2.imread(str(atlas.folder / f"frames/{frame:06d}.png")).astype(int)
        assert np.abs(dreams[frame] - mine).max() <= 1
        assert all(np.abs(dreams[f] - mine).mean() > 2 for f in range(3) if f != frame)


def test_an_atlas_continues_to_the_byte(tmp_path):
    whole = render(config("runtime.batch=2"), root=tmp_path)
    before, sheet = frames_of(whole.folder), whole.outputs[0].read_bytes()
    for frame in (1, 4):
        (whole.folder / f"frames/{frame:06d}.png").unlink()
    whole.outputs[0].unlink()
    again = render(config("runtime.batch=2"), root=tmp_path)
    assert 0 < again.dreamed < 5
    assert frames_of(whole.folder) == before
    assert again.outputs[0].read_bytes() == sheet


def test_a_sheet_shows_the_frames_as_they_are(tmp_path):
    done = render(config("outputs=[{kind: sheet, columns: 3}]"), root=tmp_path)
    assert [path.name for path in done.outputs] == ["atlas-sheet.png"]
    sheet = iio.imread(done.outputs[0])
    plan = layout(5, (48, 48), columns=3, lines=1, title=True)
    assert sheet.shape[:2] == plan.size[::-1]
    for frame, box in enumerate(plan.tiles):
        stored = cv2.imread(str(done.folder / f"frames/{frame:06d}.png"), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(sheet[box.top : box.bottom, box.left : box.right], stored)
    assert "channels: each" in iio.immeta(done.outputs[0])["config"]


def test_a_sheet_of_an_animation_shows_some_of_it(tmp_path):
    moving = config(
        "outputs=[{kind: sheet, count: 3, tile: 24, columns: 3, title: '', file: s.jpg}]",
        "dream.layers=mixed3b",
    )
    done = render(moving, root=tmp_path)
    sheet = iio.imread(done.outputs[0])
    assert done.outputs[0].name == "s.jpg"
    assert sheet.shape[:2] == layout(3, (24, 24), columns=3, lines=1, title=False).size[::-1]


def test_captions_say_what_sets_a_frame_apart(tmp_path, photo):
    assert captions(config()) == ["0", "1", "2", "3", "4"]
    chosen = "dream.layers={mixed4a: {channels: {each: [9, 5]}}}"
    assert captions(config(chosen, "source.frames=2")) == ["9", "5"]
    layers = "dream.layers={mixed3a: {weight: {0f: 1, 1f: 0}}, mixed3b: {weight: {0f: 0, 1f: 1}}}"
    assert captions(config(layers, "source.frames=2")) == ["mixed3a", "mixed3b"]
    morph = config_from(
        {
            "name": "morph",
            "source": {"kind": "noise", "frames": 3},
            "dream": {
                "model": "alexnet",
                "classes": {"goldfish": {"0f": 1, "2f": 0}, "green snake": {"0f": 0, "2f": 1}},
            },
        }
    )
    assert captions(morph) == ["goldfish", "goldfish, green snake", "green snake"]
    plain = config("dream.layers=mixed3b", "source.fps=2", "source.frames=3")
    assert captions(plain) == ["0.00 s", "0.50 s", "1.00 s"]
    folder = {"kind": "images", "path": str(tmp_path)}
    (tmp_path / "other.png").write_bytes(photo.read_bytes())
    assert captions(config("dream.layers=mixed3b", source=folder)) == ["other", "photo"]
    still = {"kind": "image", "path": str(photo)}
    assert captions(config("dream.layers=mixed3b", source=still)) == [""]


def test_feature_maps_stand_beside_their_photo(tmp_path, photo):
    source = {"kind": "image", "path": str(photo)}
    maps = config("dream.iterations=0", "dream.layers=mixed3b",
                  "outputs=[{kind: maps, count: 4, columns: 5}]", source=source)  # fmt: skip
    done = render(maps, root=tmp_path)
    sheet = iio.imread(done.outputs[0])
    plan = layout(5, (96, 72), columns=5, lines=2, title=True)
    assert sheet.shape[:2] == plan.size[::-1]
    tiles = [sheet[box.top : box.bottom, box.left : box.right] for box in plan.tiles]
    assert np.array_equal(tiles[0], cv2.imread(str(photo), cv2.IMREAD_COLOR_RGB))
    assert all(tile.max() > 150 for tile in tiles[1:])
    assert not any(np.array_equal(a, b) for a, b in pairwise(tiles))


def test_each_survives_the_record():
    for channels in ("each", {"each": [3, 1, 4, 0, 2]}):
        layers = {"mixed3b": {"channels": channels}}
        recorded = resolved_dict(config(dream=ATLAS["dream"] | {"layers": layers}))
        assert recorded["dream"]["layers"]["mixed3b"]["channels"] == channels
        assert resolved_dict(config_from(recorded)) == recorded


def test_a_preview_of_a_sheet_is_a_sheet():
    small = preview(config("source.size=[640, 480]", "source.frames=200"))
    assert [output.kind for output in small.outputs] == ["sheet"]
    assert small.source.frames <= 48


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.frames=5000", rf"each climbs one of {CHANNELS} channels, and there are 5000"),
        ("dream.layers.mixed3b.channels={each: [1, 2]}", "one of 2 channels, and there are 5"),
        ("dream.layers.mixed3b.channels={each: [1, 2, 3, 4, 5000]}", f"0 to {CHANNELS - 1}, not"),
        ("dream.layers.mixed3b.channels={each: [1, 1, 2, 3, 4]}", "names a channel twice"),
        ("dream.layers.mixed3b.channels=eech", 'Did you mean "each"'),
        ("outputs=[{kind: maps, layer: mixed9z}]", "is not a layer of dreamnet"),
        ("outputs=[{kind: sheet, columns: 0}]", "at least 1"),
        ("outputs=[sheet, {kind: sheet}]", "would write atlas-sheet.png"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config(override)
    assert "\n" not in str(caught.value)


def test_a_layer_without_a_place_has_no_maps():
    head = "outputs=[{kind: maps, layer: classifier.6}]"
    with pytest.raises(ConfigError, match=r"classifier\.6 sees the whole picture at once"):
        config("dream.model=alexnet", "dream.layers=relu4", head)


def test_each_needs_frames_that_are_counted(tmp_path):
    folder = {"kind": "images", "path": str(tmp_path)}
    with pytest.raises(ConfigError, match="noise or image"):
        config(source=folder)


@pytest.mark.parametrize("name", ["channel_atlas", "feature_maps"])
def test_the_shipped_configs_are_sheets(name, tmp_path, photo):
    path = ROOT / f"configs/seeds/{name}.yaml"
    small = ["source.size=[64, 64]"]
    if "photo.jpg" in path.read_text(encoding="utf-8"):
        small.append(f"source.path={photo}")
    else:
        small += ["source.frames=3", "dream.iterations=2"]
    done = render(load_config(path, small), root=tmp_path)
    assert iio.imread(done.outputs[0]).size > 0
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == name
