"""Several values of settings, side by side."""

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.config import load_config
from pipeline.errors import ConfigError
from pipeline.media.contact_sheet import layout
from pipeline.media.probe import probe
from pipeline.renderer import Listener, render
from pipeline.sweep import plan_sweep, sweep

STILL = {
    "name": "small",
    "seed": 3,
    "source": {"kind": "noise", "size": [48, 32], "frames": 1},
    "dream": {"layers": "mixed3b", "octaves": 1, "iterations": 2},
    "outputs": [{"kind": "png"}],
    "runtime": {"threads": 1},
}


@pytest.fixture
def file(tmp_path):
    def written(**changes) -> str:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(STILL | changes))
        return str(path)

    return written


def test_every_combination_is_a_variant(file):
    plan = plan_sweep(
        file(), ["dream.step=0.01,0.02,0.03", "dream.layers=mixed3a,[mixed3a, mixed4a]", "seed=9"]
    )
    assert [v.config.dream.step.value for v in plan.variants] == [
        0.01,
        0.01,
        0.02,
        0.02,
        0.03,
        0.03,
    ]
    assert [tuple(v.config.dream.layers) for v in plan.variants[:2]] == [
        ("mixed3a",),
        ("mixed3a", "mixed4a"),
    ]
    assert {v.config.seed for v in plan.variants} == {9}
    assert len({v.config.name for v in plan.variants}) == 6
    assert plan.columns == 2
    assert plan.variants[2].values == ("step 0.02", "layers mixed3a")


@pytest.mark.parametrize(
    ("setting", "count"),
    [
        ("dream.step={0: 0.01, 1: 0.02},0.03", 2),
        ("dream.step=min(0.01, t+0.01),0.03", 2),
        ("dream.layers=[mixed3a,mixed3b],[mixed4a]", 2),
        ("dream.layers={mixed3a: 1, mixed3b: 2},mixed4a,mixed4b", 3),
        ('dream.smooth=none,"gaussian",{kind: cascade, sigma: 1}', 3),
    ],
)
def test_commas_inside_brackets_do_not_separate(file, setting, count):
    assert len(plan_sweep(file(), [setting]).variants) == count


def test_a_variant_has_the_same_name_in_a_larger_sweep(file):
    few = plan_sweep(file(), ["dream.step=0.01,0.02"]).variants
    more = plan_sweep(file(), ["dream.step=0.005,0.01,0.02"]).variants
    assert [v.config.name for v in few] == [v.config.name for v in more[1:]]


def test_a_sweep_is_a_sheet_of_renders_and_goes_on_where_it_stopped(file, tmp_path):
    path = file()
    heard = []
    listener = Listener(batch=heard.append)
    plan = plan_sweep(path, ["dream.step=0.004,0.03"])
    (sheet,) = sweep(plan, root=tmp_path, listener=listener)
    assert sheet == tmp_path / "small-sweep/small-sweep.png"
    assert len(heard) == 2
    picture = iio.imread(sheet)
    tiles = layout(2, (320, 213), columns=None, lines=1, title=True).tiles
    shown = [picture[b.top : b.bottom, b.left : b.right].astype(int) for b in tiles]
    stored = [
        cv2.imread(
            str(sheet.parent / variant.config.name / "frames/000000.png"), cv2.IMREAD_COLOR_RGB
        )
        for variant in plan.variants
    ]
    for here, there in zip(shown, stored, strict=True):
        assert np.abs(cv2.resize(there, (320, 213), interpolation=cv2.INTER_CUBIC) - here).max() < 2
    assert np.abs(shown[1] - shown[0]).mean() > 3
    sweep(plan_sweep(path, ["dream.step=0.004,0.01,0.03"]), root=tmp_path, listener=listener)
    assert len(heard) == 3


def test_a_variant_is_what_its_values_render_alone(file, tmp_path):
    path = file()
    plan = plan_sweep(path, ["dream.step=0.004,0.03"])
    sweep(plan, root=tmp_path)
    alone = render(load_config(path, ["dream.step=0.03"]), root=tmp_path)
    folder = tmp_path / plan.name / plan.variants[1].config.name
    frame = "frames/000000.png"
    assert (alone.folder / frame).read_bytes() == (folder / frame).read_bytes()


def test_animations_play_side_by_side(file, tmp_path):
    moving = file(
        source=STILL["source"] | {"frames": 3, "fps": 12},
        feedback={"kind": "camera", "zoom": 2.0, "iterations": 1, "keyframe_every": 1},
        outputs=["mp4", "gif", "webm", "webp"],
    )
    sheet, mp4, gif, webm, webp = sweep(plan_sweep(moving, ["feedback.zoom=1,3"]), root=tmp_path)
    height, width = iio.imread(sheet).shape[:2]
    for video in (mp4, webm):
        facts = probe(video)
        assert facts.size == (width + width % 2, height + height % 2)
        assert facts.fps == 12
    for animation in (gif, webp):
        with Image.open(animation) as pictures:
            assert pictures.n_frames == 3


def test_a_preview_is_small_and_has_a_folder_of_its_own(file):
    plan = plan_sweep(file(source={"kind": "noise"}), ["dream.step=0.01,0.02"], small=True)
    assert plan.name == "small-sweep-preview"
    assert {max(v.config.source.size) for v in plan.variants} == {320}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dream.step=0.01"], "a sweep compares values"),
        ([], "a sweep compares values"),
        (["seed=" + ",".join(map(str, range(9))), "dream.octaves=" + ",".join("12345678")],
         "9 x 8 values are 72 variants, and a sweep has at most 64"),
        (["seed=1,2", "seed=3,4"], "twice"),
        (["dream.stepp=1,2"], 'override "dream.stepp=1": .* Did you mean "step"'),
        (["dream.step=0.01,abc"], 'override "dream.step=abc": dream.step'),
        (["dream.step=0.01,0.02", "x"], 'override "x": key=value is needed'),
        (["dream.layers=mixed3a,mixed9z"], "is not a layer of dreamnet"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_said(file, settings, message):
    with pytest.raises(ConfigError, match=message):
        plan_sweep(file(), settings)


def test_every_complaint_is_said_once(file):
    with pytest.raises(ConfigError) as caught:
        plan_sweep(file(), ["dream.step=0.01,abc", "dream.layers=mixed3a,mixed9z", "dream.sed=1"])
    lines = str(caught.value).splitlines()
    assert len(lines) == len(set(lines)) == 3
