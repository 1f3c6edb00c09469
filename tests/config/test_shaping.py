"""Classes, guides, restraints, turns and blurs, as they stand in a config."""

import pytest

from pipeline.config import config_from, resolved_dict
from pipeline.schedule import Schedule

TEXT = "name: x\nsource: noise\ndream:\n  %s\n"
ALEXNET = "name: x\nsource: noise\ndream:\n  model: alexnet\n  %s\n"


@pytest.mark.parametrize("written", ["green snake", "Green_Snake", "[green-snake]", "55", '"55"'])
def test_a_class_is_the_mean_of_its_logit(load, written: str) -> None:
    dream = load(ALEXNET % f"classes: {written}").dream
    assert [term[:4] for term in dream.terms()] == [("classifier.6", Schedule(1.0), "mean", (55,))]


def test_classes_have_weights_like_layers_and_stand_beside_them(load) -> None:
    dream = load(
        ALEXNET % "classes: {green snake: {0: 1, 5: 0}, boa constrictor: t, 7: -1}\n  layers: conv5"
    ).dream
    assert [(t.layer, t.weight, t.channels) for t in dream.terms()] == [
        ("conv5", Schedule(1.0), None),
        ("classifier.6", Schedule.parse({0: 1, 5: 0}), (55,)),
        ("classifier.6", Schedule("t"), (61,)),
        ("classifier.6", Schedule(-1.0), (7,)),
    ]


def test_classes_are_given_on_the_command_line(load) -> None:
    dream = load(ALEXNET % "classes: goldfish", "dream.classes=green snake").dream
    assert dream.terms()[0].channels == (55,)
    dream = load(ALEXNET % "classes: goldfish", "dream.classes.green snake=2").dream
    assert [term.channels for term in dream.terms()] == [(1,), (55,)]


@pytest.mark.parametrize(
    ("dream", "message"),
    [
        ("classes: green snak", '"green snak" is not a class of ImageNet. Did you mean "green sn'),
        (
            "classes: [snake]",
            'mean "thunder snake" or "ringneck snake" or "hognose snake"? `dream cl',
        ),
        ("classes: [snake]", "`dream classes snake` lists them."),
        ("classes: xqzzz", "ImageNet. `dream classes` lists them."),
        ("classes: 1000", "alexnet has classes 0 to 999, not 1000"),
        ("classes: []", "[] names no class"),
        ("classes: [1, 1]", "1 is named twice"),
        ("classes: {goldfish: [1]}", "[1] is not a schedule"),
        ("classes: {goldfish: 1, tenchh: 1}", 'Did you mean "tench"?'),
        ("class: goldfish", 'Did you mean "classes"?'),
    ],
)
def test_wrong_classes_are_refused(complaints, dream: str, message: str) -> None:
    (line,) = complaints(ALEXNET % dream)
    assert line.startswith("render.yaml:5: dream.class")
    assert message in line


def test_a_network_without_classifier_says_who_has_one(complaints) -> None:
    (line,) = complaints(TEXT % "classes: goldfish")
    assert "dreamnet has no classifier; bvlc_googlenet, " in line


def test_other_weights_may_have_other_classes(load) -> None:
    dream = load(ALEXNET % "classes: 4000\n  weights: a.pth").dream
    assert dream.terms()[0].channels == (4000,)


def test_a_neuron_is_a_channel_at_the_centre(load) -> None:
    dream = load(TEXT % "layers: {mixed4a: {objective: neuron, channels: 3}}").dream
    assert [term[:4] for term in dream.terms()] == [("mixed4a", Schedule(1.0), "neuron", (3,))]


def test_a_guide_is_a_path_or_a_map(load) -> None:
    guide = load(TEXT % "objective: guide\n  guide: a.jpg").dream.guide
    assert (guide.path, guide.match, guide.size) == ("a.jpg", "best", (320, 320))
    guide = load(
        TEXT % "layers: {mixed3b: {objective: guide}, mixed4a: 1}\n"
        "  guide: {path: a.jpg, match: mean, size: [100, 80]}"
    ).dream.guide
    assert (guide.path, guide.match, guide.size) == ("a.jpg", "mean", (100, 80))
    dream = load(TEXT % "objective: guide\n  guide: a.jpg", "dream.guide.path=#1.jpg").dream
    assert dream.guide.path == "#1.jpg"


@pytest.mark.parametrize(
    ("dream", "message"),
    [
        ("guide: a.jpg", "no layer follows the guide: set `objective: guide`"),
        ("objective: guide", "the layer is to follow a guide: give `guide: photo.jpg`"),
        ("layers: {mixed3b: {objective: guide}}", "mixed3b is to follow a guide: give"),
        ("{objective: guide, guide: {match: best}}", "dream.guide.path: is required"),
        ("{objective: guide, guide: {path: a, match: bets}}", '"bets" is not one of best, mean'),
        ("{objective: guide, guide: 5}", "dream.guide: a map is needed, got 5"),
    ],
)
def test_a_guide_and_its_followers_need_one_another(complaints, dream: str, message: str) -> None:
    (line,) = complaints((TEXT % dream).replace(":\n  {", ": {"))
    assert message in line


@pytest.mark.parametrize(
    ("dream", "message"),
    [
        ("decay: -1", "dream.decay: must be at least 0 at all times, got -1"),
        ("tv: {0: 1, 2: -1}", "dream.tv: must be at least 0"),
        ("transforms: {scale: 0.9}", "dream.transforms.scale: must be at least 1"),
        ("transforms: {rotate: -5}", "dream.transforms.rotate: must be at least 0"),
        ("blur: {every: 0}", "dream.blur.every: must be at least 1, got 0"),
        ("blur: {sigma: 1}", "dream.blur.every: is required"),
        ("octave_blur: -1", "dream.octave_blur: must be at least 0"),
        ("smooth: {kind: cascade, growth: -1}", "dream.smooth.growth: must be at least 0"),
    ],
)
def test_wrong_restraints_are_refused(complaints, dream: str, message: str) -> None:
    (line,) = complaints(TEXT % dream)
    assert line.startswith("render.yaml:4: dream.")
    assert message in line


def test_plain_data_reads_back_the_same(load) -> None:
    config = load(
        ALEXNET % "classes: {green snake: sin(t), 7: 2}\n  decay: 1+t\n  blur: {every: 4}\n"
        "  transforms: {rotate: {0: 1, 2: 5}}\n  smooth: {kind: cascade, growth: 4}"
    )
    resolved = resolved_dict(config)
    assert resolved["dream"]["layers"] is None
    again = config_from(resolved)
    assert resolved_dict(again) == resolved
    assert again.dream.terms() == config.dream.terms()
