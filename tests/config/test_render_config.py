"""What the blocks of a config ask of one another."""

import pytest

from pipeline.schedule import Schedule

SOURCES = {
    "noise": "noise",
    "image": "{kind: image, path: a.png}",
    "images": "{kind: images, path: a}",
    "video": "{kind: video, path: a.mp4}",
}
ACCEPTED = {
    ("noise", "none"), ("noise", "camera"), ("image", "none"), ("image", "camera"),
    ("images", "none"), ("video", "none"), ("video", "flow"),
}  # fmt: skip


@pytest.mark.parametrize("feedback", ["none", "camera", "flow"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_feedback_must_fit_its_source(load, complaints, source: str, feedback: str) -> None:
    text = f"name: x\nsource: {SOURCES[source]}\nfeedback:\n  kind: {feedback}\n"
    if (source, feedback) in ACCEPTED:
        assert load(text).feedback.kind == feedback
    else:
        (line,) = complaints(text)
        assert line.startswith(
            f"render.yaml:4: feedback.kind: {feedback} cannot carry a source of kind {source}; "
            f"it takes none"
        )


def test_a_feedback_that_does_not_fit_is_reported_among_the_others(complaints) -> None:
    lines = complaints(
        "name: x\nsource: noise\nfeedback: flow\ndream: {octaves: 0}\noutputs: [gif, gif]"
    )
    assert [line.split(": ")[:2] for line in lines] == [
        ["render.yaml:3", "feedback"],
        ["render.yaml:4", "dream.octaves"],
        ["render.yaml:5", "outputs[1]"],
    ]


def test_a_model_and_a_layer_must_be_known(complaints) -> None:
    text = "name: x\nsource: noise\ndream:\n  model: {}\n  layers:\n    - {}\n"
    (line,) = complaints(text.format("googlenett", "inception4c"))
    assert line.startswith('render.yaml:4: dream.model: "googlenett" is not a model. Did you mean')
    assert '"googlenet"' in line
    (line,) = complaints(text.format("googlenet", "inception4f"))
    assert line.startswith(
        'render.yaml:6: dream.layers[0]: "inception4f" is not a layer of googlenet. Did you mean'
    )
    assert "`dream layers googlenet` lists all" in line


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        ("vgg16", "relu4_3"),
        ("vgg16", "22"),
        ("googlenet", "inception_4c/output"),
        ("bvlc_googlenet", "inception_4d_3x3_reduce"),
        ("inception_v3", "mixed2"),
        ("resnet50", "layer3.5"),
        ("dreamnet", "mixed4a"),
    ],
)
def test_the_layer_names_people_type_are_accepted(load, model: str, layer: str) -> None:
    config = load(f"name: x\nsource: noise\ndream: {{model: {model}, layers: {layer}}}")
    assert [term.layer for term in config.dream.terms()] == [layer]


def test_layers_may_be_a_name_a_list_or_a_map(load) -> None:
    text = "name: x\nsource: noise\ndream: {objective: norm, layers: %s}"
    one = load(text % "mixed4a").dream.terms()
    assert one == load(text % "[mixed4a]").dream.terms()
    assert one == load(text % "{mixed4a: 1}").dream.terms()
    assert one == load(text % "{mixed4a: {}}").dream.terms()
    assert [term[:4] for term in one] == [("mixed4a", Schedule(1.0), "norm", None)]
    several = load(
        text % "{mixed3a: 2, mixed3b: {0: 1, 48f: 0}, mixed4a: cos(t), mixed4b: {weight: -1, "
        "objective: mean, channels: [3, 1]}, mixed4c: {weight: {0: 1, 2: 0}, channels: 5}}"
    )
    assert [term[:4] for term in several.dream.terms()] == [
        ("mixed3a", Schedule(2.0), "norm", None),
        ("mixed3b", Schedule.parse({0: 1, "48f": 0}), "norm", None),
        ("mixed4a", Schedule("cos(t)"), "norm", None),
        ("mixed4b", Schedule(-1.0), "mean", (3, 1)),
        ("mixed4c", Schedule.parse({0: 1, 2: 0}), "norm", (5,)),
    ]


def test_without_layers_the_models_default_is_dreamed(load) -> None:
    from pipeline.engine.networks import spec

    config = load("name: x\nsource: noise\ndream: {model: googlenet}")
    assert config.dream.layers is None
    (term,) = config.dream.terms()
    assert term[:4] == (spec("googlenet").default_layer, Schedule(1.0), "mean_square", None)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("[]", "[] names no layer: a name, a list of names or a map of names is needed"),
        ("{}", "a map names no layer"),
        ("1.5", "1.5 names no layer"),
        ("[mixed4a, mixed4a]", 'layers[1]: "mixed4a" is named twice'),
        ("[mixed4a, {}]", "layers[1]: a map is not the name of a layer"),
        ("{mixed4a: [1]}", "dream.layers.mixed4a: a map is needed, got [1]"),
        ("{mixed4a: true}", "dream.layers.mixed4a: a map is needed, got true"),
        ("{mixed4a: {channels: []}}", "[] is neither a channel, from 0, nor a list of channels"),
        ("{mixed4a: {channels: [1, 1]}}", "[1, 1] names a channel twice"),
        ("{mixed4a: {channels: 1.0}}", "1.0 is neither a channel"),
        ("{mixed4a: {channels: [0, 99999]}}", "mixed4a.channels: mixed4a has channels 0 to "),
        ("{mixed4a: {objective: max}}", '"max" is not one of mean_square, norm, mean'),
        ("{mixed4a: {0: 1, x: 2}}", '"x" is not a setting of dream.layers.mixed4a'),
    ],
)
def test_wrong_layers_are_refused(complaints, layers: str, message: str) -> None:
    lines = complaints(f"name: x\nsource: noise\ndream:\n  layers: {layers}\n")
    assert any(message in line for line in lines), lines
    assert all(line.startswith("render.yaml:4: dream.layers") for line in lines)


def test_outputs_are_named_after_the_render(load) -> None:
    config = load(
        "name: x\nsource: noise\noutputs: [mp4, gif, png, poster, {kind: png, frames: all}, "
        "{kind: png, frames: [3], file: still.png}, {kind: poster, file: a.png}]"
    )
    assert config.output_names() == (
        "x.mp4", "x.gif", "x.png", "x-poster.jpg", "x-{frame:06d}.png", "still-{frame:06d}.png",
        "a.png",
    )  # fmt: skip
    assert config.output_names()[4].format(frame=12) == "x-000012.png"


@pytest.mark.parametrize(
    "outputs",
    [
        "[mp4, mp4]",
        "[gif, {kind: gif, width: 100}]",
        "[{kind: png, frames: all}, {kind: png, frames: [1, 2]}]",
        "[{kind: png, frames: all}, {kind: png, file: x-000003.png}]",
        "[{kind: png, file: a.png}, {kind: poster, file: A.png}]",
        "[mp4, {kind: mp4, file: X.mp4}]",
    ],
)
def test_two_outputs_cannot_write_the_same_file(complaints, outputs: str) -> None:
    (line,) = complaints(f"name: x\nsource: noise\noutputs: {outputs}")
    assert line.startswith("render.yaml:3: outputs[1]: would write ")
    assert line.endswith("like outputs[0]; give one of them a `file`")


def test_a_file_tells_two_outputs_of_a_kind_apart(load) -> None:
    config = load(
        "name: x\nsource: noise\noutputs: [gif, {kind: gif, file: small.gif, width: 100}]"
    )
    assert config.output_names() == ("x.gif", "small.gif")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("{kind: mp4, file: a.gif}", 'outputs[0].file: "a.gif" must end in .mp4'),
        ("{kind: mp4, file: a/b.mp4}", 'outputs[0].file: "a/b.mp4" cannot name a file'),
        ("{kind: poster, file: a.gif}", '"a.gif" must end in .jpg or .jpeg or .png'),
        ("{kind: mp4, preset: fastest}", 'Did you mean "faster"?'),
        ("{kind: mp4, crf: 52}", "outputs[0].crf: must be at most 51, got 52"),
        ("{kind: gif, seconds: 0}", "outputs[0].seconds: must be more than 0, got 0"),
        ("{kind: gif, max_fps: 51}", "outputs[0].max_fps: must be at most 50, got 51"),
        ("{kind: gif, crf: 3}", '"crf" is not a setting of outputs[0] of kind gif'),
    ],
)
def test_a_wrong_output_is_refused(complaints, output: str, message: str) -> None:
    (line,) = complaints(f"name: x\nsource: noise\noutputs:\n  - {output}")
    assert line.startswith("render.yaml:4: outputs[0]")
    assert message in line


def test_a_render_must_leave_something(load, complaints) -> None:
    text = "name: x\nsource: noise\noutputs: []\n"
    assert load(text).outputs == ()
    assert complaints(text + "keep_frames: false") == [
        "render.yaml:4: keep_frames: false without any outputs leaves nothing of the render"
    ]


def test_a_flow_has_the_settings_of_its_kind(load) -> None:
    config = load(
        "name: x\nsource: {kind: video, path: [a.mp4, b.mp4], start: 1.5, frames: 30, cuts: [7, 9],"
        " detect_cuts: false, size: [320, 180], fps: 25}\n"
        "feedback: {kind: flow, keyframe_every: 8, refine: [3], flow: raft_small, "
        "flow_weights: r.pth, carry: 1}"
    )
    source, feedback = config.source, config.feedback
    assert (source.path, source.cuts, source.detect_cuts) == (("a.mp4", "b.mp4"), (7, 9), False)
    assert (source.start, source.frames, source.fps) == (1.5, 30, 25)
    assert (feedback.keyframe_every, feedback.refine, feedback.carry) == (8, (3,), 1.0)
    assert (feedback.flow, feedback.flow_weights) == ("raft_small", "r.pth")
    assert feedback.flow_max_pixels == 1_000_000


@pytest.mark.parametrize(
    "camera",
    ["zoom: 2, move: [.1, 0]", "zoom: {1: 1.5, 2: 3, 8: 3, 9: 1.5}", "rotate: 8*sin(2*pi*t/9)"],
)
def test_a_loop_takes_any_camera_that_ends_as_it_begins(load, camera: str) -> None:
    config = load(f"name: x\nsource: noise\nfeedback: {{kind: camera, loop: 24, {camera}}}")
    assert config.feedback.loop == 24
    resting = load("name: x\nsource: noise\nfeedback: {kind: camera, loop: 24}\nmask: a.png")
    assert resting.mask.path == "a.png"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("source: {kind: video, path: a, cuts: [0]}", "source.cuts[0]: must be at least 1, got 0"),
        ("source: {kind: video, path: a, cuts: 3}", "source.cuts: a list is needed, got 3"),
        ("source: {kind: video, path: a, frames: 0}", "source.frames: must be at least 1, got 0"),
        ("source: {kind: video, path: a, start: -1}", "source.start: must be at least 0, got -1"),
        ("source: {kind: noise, scale: 0}", "source.scale: must be more than 0, got 0"),
        ("source: {kind: noise, fps: 0}", "source.fps: 0 is not a frame rate"),
        ("source: noise\nfeedback: {kind: camera, centre: [.5]}", "feedback.centre"),
        ("source: noise\nfeedback: {kind: camera, move: 1}", "feedback.move: a list is needed"),
        ("source: noise\nfeedback: {kind: camera, zoom: {0: 1, 3: 0}}", "must stay above 0, got 0"),
        ("source: noise\nfeedback: {kind: camera, keyframe_every: 0}", "keyframe_every: 0 is"),
        ("source: noise\ndream: {jitter: -1}", "dream.jitter: must be at least 0 at all times"),
        ("source: noise\ndream: {smooth: {kind: gaussian, sigma: -1}}", "dream.smooth.sigma: must"),
        ("source: noise\ndream: {octaves: 17}", "dream.octaves: must be at most 16, got 17"),
        ("source: noise\nfeedback: {kind: camera, loop: 121}", "need at least 242 frames"),
        ("source: noise\nfeedback: {kind: camera, loop: -1}", "feedback.loop: must be at least 0"),
        (
            "source: noise\nfeedback: {kind: camera, loop: 24, zoom: {0: 1.5, 9: 2}}",
            "feedback.loop: the camera has to move alike in the first and the last 24 frames, but "
            "feedback.zoom is 1.5 at frame 0 and 2 at frame 216",
        ),
        (
            "source: noise\nfeedback: {kind: camera, loop: 24, zoom: 2}\nmask: a.png",
            "mask: keeps the source, which a moving camera never comes back to",
        ),
        ("source: noise\nmask: {feather: 3}", "mask.path: is required"),
        ("source: noise\nmask: {path: m.png, feather: -1}", "mask.feather: must be at least 0"),
        ("source: noise\nmask: 3", "mask: "),
        ("source: noise\ndream: {color: gray}", 'dream.color: "gray" is not one of free, keep'),
        ("source: noise\nruntime: {threads: 0}", "runtime.threads: 0 is neither auto nor"),
        (
            "source: noise\nruntime: {precision: half}",
            '"half" is not one of auto, fp32, bf16, fp16',
        ),
    ],
)
def test_a_value_out_of_range_is_refused(complaints, block: str, message: str) -> None:
    lines = complaints(f"name: x\n{block}")
    assert any(message in line for line in lines), lines
    assert len(lines) == 1
