"""`key=value` settings laid over a file."""

import pytest

from pipeline.config import CameraFeedback, ImageSource, VideoSource
from pipeline.schedule import Schedule

NOISE = """\
name: x
source: {kind: noise, size: [64, 32], frames: 5, scale: .2}
feedback: camera
dream: {layers: mixed4a, smooth: cascade}
outputs: [mp4, {kind: gif, width: 300}]
"""
VIDEO = "name: x\nsource: {kind: video, path: a.mp4}\n"


def test_numbers_lists_and_maps_are_read_as_yaml(load) -> None:
    config = load(
        NOISE,
        "seed=017",
        "source.size=[128, 64]",
        "dream.ratio=15e-1",
        "dream.step={0: 1e-3, 2: .01}",
        "feedback.zoom=1 + t",
        "feedback.move=[.1, sin(t)]",
        "dream.normalize_tiles=true",
        "dream.layers={mixed4a: 1, mixed4b: {weight: t, channels: [1, 2]}}",
        "runtime.tile=none",
        "runtime.batch=4",
        "feedback.keyframe_every=auto",
    )
    assert (config.seed, config.source.size, config.dream.ratio) == (17, (128, 64), 1.5)
    assert config.dream.step == Schedule.parse({0: 0.001, 2: 0.01})
    assert config.feedback.zoom == Schedule("1 + t")
    assert config.feedback.move == (Schedule(0.1), Schedule("sin(t)"))
    assert config.dream.normalize_tiles is True
    assert list(config.dream.layers) == ["mixed4a", "mixed4b"]
    assert config.dream.layers["mixed4b"].channels == (1, 2)
    assert (config.runtime.tile, config.runtime.batch) == ("none", 4)


@pytest.mark.parametrize(
    "path",
    ["007.mp4", "#1.mp4", "1e3", "a=b=c.mp4", "-x.mp4", "concat:a|b", "[ab]*.mp4", "'quoted'.mp4",
     "a: b", "{a}.mp4", "no", "true", " spaced .mp4", "*.mp4", "[a.mp4", "[a: 1]", "~"],
)  # fmt: skip
def test_a_path_is_taken_as_it_stands(load, path: str) -> None:
    assert load(VIDEO, f"source.path={path}").source.path == path
    assert load(NOISE, "source.kind=image", f"source.path={path}").source.path == path


@pytest.mark.parametrize("path", ["m.png", "#1.png", "007.png", "1e3", "a: b", "no", "[a].png"])
def test_a_path_that_stands_for_a_block_is_taken_as_it_stands(load, path: str) -> None:
    assert load(NOISE, f"mask={path}", "mask.feather=2").mask.path == path
    assert load(NOISE + "mask: a.png\n", "mask=null").mask is None
    assert load(NOISE, "mask={path: a.png, feather: 3}").mask.feather == 3


def test_several_paths_are_a_list(load) -> None:
    assert load(VIDEO, "source.path=[a.mp4, b.mp4]").source.path == ("a.mp4", "b.mp4")


def test_text_is_taken_as_it_stands(load) -> None:
    config = load(
        NOISE,
        "name=1e3",
        "dream.model=dreamnet",
        "dream.weights=1",
        "outputs.0.file=2.mp4",
        "runtime.device=cuda:1",
        "source.color=white",
    )
    assert config.name == "1e3"
    assert config.dream.weights == "1"
    assert config.outputs[0].file == "2.mp4"
    assert config.runtime.device == "cuda:1"
    assert config.source.color == "white"


def test_optional_text_is_unset_by_null(load) -> None:
    text = NOISE.replace("smooth: cascade", "weights: a.pth")
    assert load(text).dream.weights == "a.pth"
    assert load(text, "dream.weights=null").dream.weights is None
    assert load(text, "dream.weights=./null").dream.weights == "./null"


def test_only_the_first_equals_sign_separates(load) -> None:
    assert load(VIDEO, "source.path=a=b.mp4").source.path == "a=b.mp4"


@pytest.mark.parametrize("key", ["outputs.1.width", "outputs[1].width"])
def test_an_item_of_a_list_has_its_index(load, key: str) -> None:
    config = load(NOISE, f"{key}=320")
    assert config.outputs[1].width == 320
    assert config.outputs[0].kind == "mp4"


def test_an_item_may_be_added_behind_the_last(load) -> None:
    config = load(NOISE, "outputs.2={kind: png}", "outputs.3.kind=poster")
    assert [output.kind for output in config.outputs] == ["mp4", "gif", "png", "poster"]


def test_a_default_is_there_to_be_changed(load) -> None:
    config = load("name: x\nsource: noise", "outputs.0.crf=30", "dream.smooth.sigma=1")
    assert config.outputs[0].crf == 30
    assert (config.dream.smooth.kind, config.dream.smooth.sigma) == ("cascade", Schedule(1.0))


def test_a_shorthand_is_opened(load) -> None:
    config = load(
        NOISE, "dream.smooth.sigma=2", "dream.layers.mixed4b=.5", "outputs[0].crf=20",
        "feedback.zoom=3", "dream.layers.mixed4a.channels=3",
    )  # fmt: skip
    assert config.dream.smooth.sigma == Schedule(2.0)
    assert config.dream.smooth.kind == "cascade"
    assert {name: each.channels for name, each in config.dream.layers.items()} == {
        "mixed4a": (3,),
        "mixed4b": None,
    }
    assert config.outputs[0].crf == 20
    assert isinstance(config.feedback, CameraFeedback)


def test_a_layer_with_a_dot_is_put_in_brackets(load) -> None:
    config = load(
        "name: x\nsource: noise\ndream: {model: vgg16, layers: {22: 1}}",
        "dream.layers[features.20]=2",
        "dream.layers.22=3",
    )
    weights = {name: each.weight.value for name, each in config.dream.layers.items()}
    assert weights == {"22": 3.0, "features.20": 2.0}


def test_another_kind_drops_what_it_does_not_have(load) -> None:
    config = load(NOISE, "source.path=a.png", "source.kind=image")
    assert isinstance(config.source, ImageSource)
    assert (config.source.path, config.source.size, config.source.frames) == ("a.png", (64, 32), 5)
    config = load(NOISE, "source.kind=video", "source.path=1.mp4", "feedback=flow")
    assert isinstance(config.source, VideoSource)
    assert config.feedback.kind == "flow"
    assert load(NOISE, "feedback.kind=none").feedback.kind == "none"
    assert load(NOISE, "outputs.1.kind=png").outputs[1].frames == "last"


def test_another_kind_keeps_a_typo_and_its_own_overrides_as_errors(complaints) -> None:
    text = NOISE.replace("scale", "scael")
    assert complaints(text, "source.kind=image", "source.path=a.png", "source.scale=1") == [
        'render.yaml:2: source.scael: "scael" is not a setting of source of kind image; it has '
        "path, size, frames, fps, max_pixels",
        'override "source.scale=1": source.scale: "scale" is not a setting of source of kind '
        "image; it has path, size, frames, fps, max_pixels",
    ]


def test_the_order_matters_only_between_equal_keys(load) -> None:
    overrides = ["source.path=b.png", "source={kind: image, path: a.png}", "seed=1", "seed=2"]
    config = load(NOISE, *overrides)
    assert (config.source.path, config.seed) == ("b.png", 2)


def test_an_override_cures_what_is_wrong_in_the_file(load) -> None:
    assert load("name: x\nname: y\nsource: {kind: nois}", "name=z", "source=noise").name == "z"
    assert load(NOISE + "seed: {a: !b c, a: 2}", "seed=3").seed == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("x", 'override "x": key=value is needed, such as dream.octaves=4'),
        ("=3", 'override "=3": key=value is needed'),
        ("a..b=3", 'override "a..b=3": key=value is needed'),
        ("dream.=3", 'override "dream.=3": key=value is needed'),
        ("outputs[0=3", 'override "outputs[0=3": key=value is needed'),
        ("dream.stepp=1", 'override "dream.stepp=1": dream.stepp: "stepp" is not a'),
        ("drem.step=1", 'override "drem.step=1": drem: "drem" is not a setting of a config. Did'),
        ("seed=1.5", 'override "seed=1.5": seed: a whole number is needed, got 1.5'),
        ("seed=[", 'override "seed=[": the value is not valid YAML (while parsing a flow'),
        ("seed=!x 1", 'override "seed=!x 1": the tag !x is not accepted'),
        ("seed={a: 1, a: 2}", 'override "seed={a: 1, a: 2}": is written twice'),
        ("outputs.9.width=3", 'override "outputs.9.width=3": outputs has 2 items, counted from 0'),
        ("outputs.a=3", "override \"outputs.a=3\": outputs is a list: 'a' is not an index"),
        ("seed.x=3", 'override "seed.x=3": seed has no settings of its own'),
        ("source.size=64", 'override "source.size=64": source.size: 64 is not a size'),
        ("source.size.0=8", 'override "source.size.0=8": source.size: [8, 32] is not a size'),
        ("feedback.kind=flow", 'override "feedback.kind=flow": feedback.kind: flow cannot carry'),
        ("dream.step=1/t", "override \"dream.step=1/t\": dream.step: '1/t' has no value"),
        ("name=a/b", 'override "name=a/b": name: "a/b" cannot name a file or folder'),
        ("dream.layers.mixed4q=1", 'override "dream.layers.mixed4q=1": dream.layers.mixed4q: '),
        ("outputs.0.kind=gif", "render.yaml:5: outputs[1]: would write x.gif like outputs[0]"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_quoted(complaints, override: str, message: str) -> None:
    lines = complaints(NOISE, override)
    assert len(lines) == 1
    assert lines[0].startswith(message)


def test_settings_of_what_is_no_block_are_refused_beside_it(complaints) -> None:
    lines = complaints(NOISE, "dream.layers=false", "dream.layers.mixed4a=1")
    assert [line.partition(": ")[0] for line in lines] == [
        'override "dream.layers.mixed4a=1"',
        'override "dream.layers=false"',
    ]
    assert lines[0].endswith("dream.layers has no settings of its own")
