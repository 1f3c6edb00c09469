"""Renders with classes, guides, restraints, turns and blurs: continued to the byte, or refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from pipeline.config import config_from
from pipeline.dryrun import dry_run
from pipeline.engine import networks
from pipeline.engine.assembly import random_state
from pipeline.errors import ConfigError, InputError, ResumeError, WeightsError
from pipeline.renderer import encode, render

DREAMNET = Path(__file__).parents[1] / "pipeline/engine/dreamnet.safetensors"
SMALL = {
    "name": "small",
    "source": {"kind": "noise", "size": [96, 64], "frames": 3},
    "feedback": {"kind": "camera", "zoom": 2.0, "iterations": 2, "keyframe_every": 1},
    "dream": {"layers": "mixed3b", "octaves": 2, "iterations": 3, "jitter": 8},
    "outputs": [],
    "runtime": {"threads": 1},
}
SHAPED = {
    "decay": 0.5,
    "tv": "0.1 + 0.1*t",
    "transforms": {"rotate": 5, "scale": 1.05},
    "blur": {"every": 2, "sigma": 0.4},
    "merge": "blend",
    "octave_blur": 0.5,
    "smooth": {"kind": "cascade", "growth": 4},
}


def config(*overrides: str, **dream):
    return config_from(SMALL | {"dream": SMALL["dream"] | dream}, overrides)


def frames_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "frames").iterdir())}


def picture(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (160, 120), interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory) -> Path:
    """Random weights with a classifier of 20 classes."""
    state = random_state(networks.spec("squeezenet1_1"))
    state["classifier.1.weight"] = state["classifier.1.weight"][:20].clone()
    state["classifier.1.bias"] = state["classifier.1.bias"][:20].clone()
    path = tmp_path_factory.mktemp("weights") / "twenty.safetensors"
    save_file(state, path)
    return path


def test_a_shaped_render_continues_to_the_byte(tmp_path):
    guide = str(picture(tmp_path / "guide.png", 1))
    shaped = config(objective="guide", guide=guide, **SHAPED)
    folder = render(shaped, root=tmp_path).folder
    whole = frames_of(folder)
    assert len(set(whole.values())) == 3
    for frame in ("000001.png", "000002.png"):
        (folder / "frames" / frame).unlink()
    assert render(shaped, root=tmp_path).dreamed == 2
    assert frames_of(folder) == whole


@pytest.mark.parametrize("name", SHAPED)
def test_each_of_them_changes_the_picture(tmp_path, name):
    change = {"octave_blur": {"merge": "blend", "octave_blur": 2}}.get(name, {name: SHAPED[name]})
    base = {"merge": "blend"} if name == "octave_blur" else {}
    one = "source.frames=1"
    before = frames_of(render(config(one, **base), root=tmp_path / "a").folder)
    after = frames_of(render(config(one, **change), root=tmp_path / "b").folder)
    assert before != after


@pytest.mark.parametrize("finished", [True, False])
def test_a_guide_that_changed_is_refused_whether_or_not_the_render_is_finished(tmp_path, finished):
    path = picture(tmp_path / "guide.png", 1)
    guided = config(objective="guide", guide=str(path))
    folder = render(guided, root=tmp_path).folder
    assert render(guided, root=tmp_path).dreamed == 0
    last = (folder / "frames/000002.png").read_bytes()
    if not finished:
        (folder / "frames/000002.png").unlink()
    before, old = path.read_bytes(), frames_of(folder)
    picture(path, 2)
    for attempt in (render, encode):
        with pytest.raises(ResumeError, match=r"another guide \(.*guide\.png changed") as error:
            attempt(guided, root=tmp_path)
        assert "\n" not in str(error.value)
    assert frames_of(folder) == old
    path.write_bytes(before)
    assert render(guided, root=tmp_path).dreamed == (0 if finished else 1)
    picture(path, 2)
    assert render(guided, root=tmp_path, overwrite=True).dreamed == 3
    assert frames_of(folder)["000002.png"] != last


@pytest.mark.parametrize("finished", [True, False])
def test_weights_that_changed_are_refused_whether_or_not_the_render_is_finished(tmp_path, finished):
    path = tmp_path / "own.safetensors"
    state = load_file(DREAMNET)
    save_file(state, path)
    own = config(weights=str(path))
    folder = render(own, root=tmp_path).folder
    assert render(own, root=tmp_path).dreamed == 0
    if not finished:
        (folder / "frames/000002.png").unlink()
    old = frames_of(folder)
    save_file({name: tensor * 0.9 for name, tensor in state.items()}, path)
    for attempt in (render, encode):
        with pytest.raises(ResumeError, match=r"other weights \(.*own\.safetensors changed"):
            attempt(own, root=tmp_path)
    assert frames_of(folder) == old
    assert render(own, root=tmp_path, overwrite=True).dreamed == 3
    path.unlink()
    assert render(own, root=tmp_path).dreamed == 0


def test_a_guide_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path):
    absent = config(objective="guide", guide=str(tmp_path / "none.jpg"))
    for attempt in (lambda: render(absent, root=tmp_path), lambda: dry_run(absent, tmp_path)):
        with pytest.raises(InputError, match=r"none\.jpg: no such file"):
            attempt()
    text = tmp_path / "text.jpg"
    text.write_text("no picture", encoding="utf-8")
    with pytest.raises(InputError, match="not a picture"):
        render(config(objective="guide", guide=str(text)), root=tmp_path)
    small = config(
        f"dream.guide={{path: {picture(tmp_path / 'g.png', 1)}, size: [16, 16]}}",
        "dream.model=vgg16",
        "dream.layers=relu5_3",
        "dream.objective=guide",
    )
    with pytest.raises(InputError, match="the guide, is seen 12 pixels"):
        render(small, root=tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_a_class_is_climbed_with_the_weights_own_classifier(tmp_path, squeezenet):
    def classes(which: str):
        return config(
            f"dream.weights={squeezenet}", f"dream.classes={which}", "dream.layers=null",
            "dream.model=squeezenet1_1", "source.frames=1",
        )  # fmt: skip

    five, six = (
        frames_of(render(classes(which), root=tmp_path / which).folder) for which in ("5", "6")
    )
    assert five != six
    with pytest.raises(ConfigError, match=r"20 is no class of .*twenty.*, which has 0 to 19"):
        render(classes("20"), root=tmp_path)
    with pytest.raises(ConfigError, match=r'"tench" is a class of ImageNet, and .* has 20 others'):
        render(classes("tench"), root=tmp_path)


def test_weights_that_end_before_the_classifier_say_so(tmp_path, assets):
    file = assets / "weights/inception_v3_2015_to_Mixed_7a_fp16.safetensors"
    headless = config(
        "dream.model=inception_v3", f"dream.weights={file}", "dream.classes=goldfish",
        "dream.layers=null", "source.size=[96, 80]",
    )  # fmt: skip
    with pytest.raises(WeightsError, match="end before"):
        render(headless, root=tmp_path)
