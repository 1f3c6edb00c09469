"""A config is read as a whole, and everything wrong with it is said at once and in its place."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import (
    CameraFeedback,
    Config,
    NoFeedback,
    NoiseSource,
    check_schedules,
    config_from,
    load_config,
)
from pipeline.errors import ConfigError
from pipeline.schedule import Schedule

SHORTEST = "name: x\nsource: noise\n"

WRONG = """\
name: 7
sed: 3
source:
  kind: noise
  size: [640, 3]
  frames: true
feedback:
  {kind: camera, zoom: -1, rotat: 8, keyframe_every: 0}
dream:
  layers:
    mixed4a: {weigth: 1}
    mixed4b: abc
    mixed4z: 1
  ratio: 1
  step: 1e-3
  step: 2
  normalize: mean
outputs:
  - {kind: mp5}
  - {width: 3}
  - {kind: gif, width: 4.5, colors: 257}
runtime: [cpu]
"""


def test_the_shortest_config_has_every_default(load) -> None:
    config = load(SHORTEST)
    assert config.seed == 0
    assert isinstance(config.source, NoiseSource)
    assert config.source.size == (640, 360)
    assert (config.source.frames, config.source.fps) == (240, Fraction(24))
    assert (config.source.color, config.source.scale) == ("soft", 0.16)
    assert isinstance(config.feedback, NoFeedback)
    assert config.dream.model == "dreamnet"
    assert (config.dream.octaves, config.dream.ratio, config.dream.iterations) == (3, 1.4, 20)
    assert config.dream.step == Schedule(0.012)
    assert config.dream.smooth.kind == "cascade"
    assert [output.kind for output in config.outputs] == ["mp4"]
    assert config.runtime.device == "auto"
    assert config.keep_frames is True


def test_a_config_is_frozen(load) -> None:
    config = load(SHORTEST)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.dream.octaves = 3


def test_every_problem_is_reported_at_once_with_its_line(complaints) -> None:
    lines = complaints(WRONG, "dream.stepp=1", "runtime.tile=abc", "x")
    lines[9], _, hint = lines[9].partition(". Did you mean ")
    assert "`dream layers dreamnet` lists all" in hint
    assert lines == [
        'render.yaml:1: name: 7 is not a name; put it in quotes: "7"',
        'render.yaml:2: sed: "sed" is not a setting of a config. Did you mean "seed"?',
        "render.yaml:5: source.size: [640, 3] is not a size: [width, height], each 16 to 16384, "
        "is needed",
        "render.yaml:6: source.frames: a whole number is needed, got true",
        "render.yaml:8: feedback.zoom: must stay above 0, got -1",
        "render.yaml:8: feedback.keyframe_every: 0 is neither auto nor a whole number of at "
        "least 1",
        'render.yaml:8: feedback.rotat: "rotat" is not a setting of feedback of kind camera. '
        'Did you mean "rotate"?',
        'render.yaml:11: dream.layers.mixed4a.weigth: "weigth" is not a setting of '
        'dream.layers.mixed4a. Did you mean "weight"?',
        "render.yaml:12: dream.layers.mixed4b: 'abc' is not an expression of numbers, t, f, pi, "
        "+ - * / % **, sin cos exp abs min max and parentheses: 'abc' is none",
        'render.yaml:13: dream.layers.mixed4z: "mixed4z" is not a layer of dreamnet',
        "render.yaml:14: dream.ratio: must be more than 1, got 1",
        "render.yaml:16: dream.step: is written twice, first at line 15",
        'render.yaml:17: dream.normalize: "mean" is not one of mean_abs, std, none. '
        'Did you mean "mean_abs"?',
        'render.yaml:19: outputs[0].kind: "mp5" is not one of mp4, webm, gif, webp, png, poster, '
        'sheet, maps. Did you mean "mp4"?',
        "render.yaml:20: outputs[1]: needs a `kind`: mp4, webm, gif, webp, png, poster, sheet, "
        "maps",
        "render.yaml:21: outputs[2].width: a whole number is needed, got 4.5",
        "render.yaml:21: outputs[2].colors: must be at most 256, got 257",
        'render.yaml:22: runtime: a map is needed, got ["cpu"]',
        'override "x": key=value is needed, such as dream.octaves=4',
        "override \"runtime.tile=abc\": runtime is a list: 'tile' is not an index",
        'override "dream.stepp=1": dream.stepp: "stepp" is not a setting of dream. '
        'Did you mean "step"?',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "render.yaml: is empty; a config has at least a name and a source"),
        ("# nothing\n", "render.yaml: is empty; a config has at least a name and a source"),
        ("- name: x", "render.yaml: is not a map of settings such as `name: my_dream`"),
        ("just text", "render.yaml: is not a map of settings such as `name: my_dream`"),
        ("name: x", "render.yaml:1: source: is required"),
        (
            "name: x\nsource:\n",
            "render.yaml:2: source: needs a `kind`: noise, image, images, video",
        ),
        ("name: x\nsource: {kind: image}", "render.yaml:2: source.path: is required"),
        (
            "name: x\nsource: nois",
            'render.yaml:2: source: "nois" is not one of noise, image, images, video. '
            'Did you mean "noise"?',
        ),
        (SHORTEST + "dream:\n", "render.yaml:3: dream: a map is needed, got null"),
        (SHORTEST + "feedback:\n", "render.yaml:3: feedback: needs a `kind`: none, camera, flow"),
        (
            SHORTEST + "3: 4",
            'render.yaml:3: [3]: "3" is not a setting of a config; it has name, seed, ',
        ),
        (SHORTEST + "outputs: {kind: gif}", "render.yaml:3: outputs: a list is needed, got a map"),
        (SHORTEST + "seed: 1.0", "render.yaml:3: seed: a whole number is needed, got 1.0"),
        (SHORTEST + "seed: '1'", 'render.yaml:3: seed: a whole number is needed, got "1"'),
        (SHORTEST + "seed: -1", "render.yaml:3: seed: must be at least 0, got -1"),
        (SHORTEST + "keep_frames: yes", "keep_frames: true or false is needed, got"),
        (SHORTEST + "keep_frames: 1", "keep_frames: true or false is needed, got 1"),
        (SHORTEST + "dream: {ratio: .inf}", "dream.ratio: a finite number is needed, got inf"),
        (SHORTEST + "dream: {ratio: .nan}", "dream.ratio: a finite number is needed, got nan"),
        (SHORTEST + "dream: {model: 3}", "dream.model: text (put it in quotes) is needed, got 3"),
        (SHORTEST + "dream: {smooth: box}", "render.yaml:3: dream.smooth"),
    ],
)
def test_one_problem_is_one_line(complaints, text: str, message: str) -> None:
    (line,) = complaints(text)
    assert line.startswith(message) or message in line


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load_config(tmp_path / "nowhere.yaml")


def test_yaml_numbers_are_those_of_yaml_1_2(load) -> None:
    config = load(SHORTEST + "dream: {step: 1e-3}\nseed: 017\n")
    assert config.dream.step == Schedule(0.001)
    assert config.seed == 17


def test_an_anchor_may_be_shared(load) -> None:
    config = load(
        "name: x\nsource: &s {kind: noise, frames: 3}\noutputs:\n"
        "  - &gif {kind: gif, width: 100}\n  - {<<: *gif, file: small.gif, width: 50}\n"
    )
    assert [(o.width, o.file) for o in config.outputs] == [(100, None), (50, "small.gif")]


def test_expressions_are_tried_at_every_frame_before_a_render(complaints) -> None:
    text = "name: x\nsource: {kind: noise, frames: 100, fps: 10}\nfeedback:\n  kind: camera\n"
    assert complaints(f"{text}  zoom: 1 - t/5\ndream:\n  jitter: 5 - f\n  step: 1/(3 - t)") == [
        "render.yaml:5: feedback.zoom: must stay above 0, got 0 at frame 50",
        "render.yaml:7: dream.jitter: must be at least 0 at all times, got -1 at frame 6",
        "render.yaml:8: dream.step: '1/(3 - t)' has no value at frame 30: float division by zero",
    ]
    assert complaints(text + "  move: [0, exp(f*8)]\n")[0].startswith(
        "render.yaml:5: feedback.move[1]: 'exp(f*8)' has no value at frame 89"
    )


def test_an_expression_out_of_range_is_located_in_a_layer(complaints) -> None:
    assert complaints(SHORTEST + "dream:\n  layers:\n    mixed3a: 1\n    mixed4a: 1/(1 - f)") == [
        "render.yaml:6: dream.layers.mixed4a.weight: '1/(1 - f)' has no value at frame 1: "
        "float division by zero"
    ]


def test_a_map_beyond_the_end_is_fine(load) -> None:
    config = load(SHORTEST + "dream: {step: {0: .01, 1000: .02}}")
    assert config.dream.step.at(240, Fraction(24)) == pytest.approx(0.0101)


def test_a_video_is_tried_once_its_length_is_known(load) -> None:
    config = load("name: x\nsource: {kind: video, path: a.mp4}\ndream: {step: .1 - f/100}")
    check_schedules(config, frames=10, fps=Fraction(25))
    with pytest.raises(ConfigError, match=r"^dream\.step: must stay above 0, got 0 at frame 10$"):
        check_schedules(config, frames=11, fps=Fraction(25))


def test_plain_data_is_checked_the_same_way() -> None:
    data = {"name": "x", "source": {"kind": "image", "path": Path("a.png"), "size": (64, 32)}}
    config = config_from(data, ["source.frames=3"])
    assert (config.source.path, config.source.size) == ("a.png", (64, 32))
    assert data["source"] == {"kind": "image", "path": Path("a.png"), "size": (64, 32)}
    with pytest.raises(ConfigError, match=r'^settings: source\.patth: "patth" is not'):
        config_from({"name": "x", "source": {"kind": "noise", "patth": 1}}, name="settings")


def test_a_config_can_be_built_in_python() -> None:
    config = Config(
        name="x",
        source=NoiseSource(kind="noise", frames=3),
        feedback=CameraFeedback(kind="camera", zoom=2, move=(0, "sin(t)")),
    )
    assert config.feedback.zoom == Schedule(2.0)
    with pytest.raises(ValidationError, match="whole number"):
        Config(name="x", source=NoiseSource(kind="noise"), runtime={"batch": 0})


def test_loading_needs_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(SHORTEST + "dream: {layers: mixed4a}", encoding="utf-8")
    code = (
        "import sys, time; begin = time.perf_counter(); import pipeline.config as c;"
        "seconds = time.perf_counter() - begin; c.load_config(sys.argv[1]); c.config_table();"
        "heavy = {'torch', 'torchvision', 'cv2', 'numpy', 'imageio', 'tqdm'} & set(sys.modules);"
        "assert not heavy, heavy; print(seconds)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.yaml")],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 1.5  # about .2; a busy machine is slower


def test_a_lone_override_is_no_list_of_overrides(load) -> None:
    with pytest.raises(TypeError, match="overrides is a list"):
        config_from({"name": "x", "source": "noise"}, "seed=3")


def test_no_message_breaks_a_terminal(complaints) -> None:
    lines = complaints('"a\\n\\e[31mb": 1\n' + SHORTEST, "dream.step=\x1b[31m", "\x1b=\n3")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines), lines
