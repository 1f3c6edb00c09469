"""Channels over time, as they stand in a config."""

from fractions import Fraction

import pytest

from pipeline.config import config_from, differing_keys, resolved_dict
from pipeline.config.channels import MAX_MOMENTS
from pipeline.schedule import Schedule
from pipeline.variants import plan_sweep

TEXT = "name: x\nsource: noise\ndream:\n  layers: {mixed4a: {%s}}\n"
FPS = Fraction(10)


def weights(config, frame: int) -> dict[tuple[int, ...] | None, float]:
    """What every set of channels weighs at a frame, without those that weigh nothing."""
    found = {term.channels: term.weight_at(frame, FPS) for term in config.dream.terms()}
    return {channels: weight for channels, weight in found.items() if weight}


def test_at_a_moment_its_channels_are_climbed_and_between_two_both(load) -> None:
    config = load(TEXT % "channels: {0: 12, 2: 77, 40f: [3, 5]}")
    assert [weights(config, frame) for frame in (0, 20, 40, 99)] == [
        {(12,): 1}, {(77,): 1}, {(3, 5): 1}, {(3, 5): 1},
    ]  # fmt: skip
    assert weights(config, 5) == {(12,): 0.75, (77,): 0.25}
    assert weights(config, 38) == pytest.approx({(77,): 0.1, (3, 5): 0.9})


def test_channels_stay_between_two_moments_of_their_own_and_come_back(load) -> None:
    config = load(TEXT % "channels: {1: 12, 2: 12, 4: null, 6: 12}")
    assert weights(config, 0) == weights(config, 15) == weights(config, 20) == {(12,): 1}
    assert weights(config, 35) == {(12,): 0.25, None: 0.75}
    assert weights(config, 50) == {None: 0.5, (12,): 0.5}
    assert len(config.dream.terms()) == 2


def test_two_moments_at_one_time_are_a_jump(load) -> None:
    # At noise's usual 24 frames per second frame 48 is second 2; here, 20 and 2.
    config = load(TEXT % "channels: {0: 12, 20f: 12, 2: 77}")
    assert weights(config, 19) == {(12,): 1}
    assert weights(config, 20) == {(77,): 1}


def test_moments_may_be_written_in_any_order(load) -> None:
    config = load(TEXT % "channels: {2: 77, 0: 12}")
    assert weights(config, 5) == {(12,): 0.75, (77,): 0.25}


def test_a_layers_own_weight_may_change_too(load) -> None:
    config = load(TEXT % "channels: {0: 12, 4: 77}, weight: {0: 0, 4: -2}")
    assert [weights(config, frame) for frame in (0, 20, 40)] == [
        {}, {(12,): -0.5, (77,): -0.5}, {(77,): -2},
    ]  # fmt: skip
    config = load(TEXT % "channels: {0: 12, 4: 77}, weight: t")
    assert weights(config, 10) == {(12,): 0.75, (77,): 0.25}


def test_every_layer_has_a_schedule_of_its_own_beside_classes(load) -> None:
    dream = load(
        "name: x\nsource: noise\ndream:\n  model: alexnet\n  classes: [goldfish]\n  layers:\n"
        "    conv5: {channels: {0: 1, 2: 2}, objective: norm}\n    conv4: 0.5\n"
        "    conv3: {channels: {0: 1, 3: [4, 5]}}\n"
    ).dream
    assert [(t.layer, t.objective, t.channels) for t in dream.terms()] == [
        ("conv5", "norm", (1,)), ("conv5", "norm", (2,)), ("conv4", "mean_square", None),
        ("conv3", "mean_square", (1,)), ("conv3", "mean_square", (4, 5)),
        ("classifier.6", "mean", (1,)),
    ]  # fmt: skip
    assert [term.layer for term in dream.layer_terms()] == ["conv5", "conv4", "conv3"]
    assert dream.terms()[2].share == Schedule(1.0)


def test_a_moment_is_given_on_the_command_line(load) -> None:
    config = load(TEXT % "channels: {0: 12, 4: 77}", "dream.layers.mixed4a.channels.4=[8, 9]")
    assert weights(config, 40) == {(8, 9): 1}


def test_a_sweep_compares_schedules(load, tmp_path) -> None:
    load(TEXT % "weight: 1")
    plan = plan_sweep("render.yaml", ["dream.layers.mixed4a.channels={0: 1, 2: 3},7,{0: 2}"])
    numbers = [{t.channels for t in v.config.dream.terms()} for v in plan.variants]
    assert numbers == [{(1,), (3,)}, {(7,)}, {(2,)}]


@pytest.mark.parametrize(
    ("channels", "at", "message"),
    [
        ("{}", "", f"a schedule of channels needs 1 to {MAX_MOMENTS} moments, got 0"),
        ("{0: 12, 4: -1}", "[4]", "-1 is neither a channel, from 0, nor a list of channels"),
        ("{0: 12, 4f: []}", ".4f", "[] is neither a channel, from 0, nor a list of channels"),
        ("{0: [3, 3]}", "[0]", "[3, 3] names a channel twice"),
        ("{0: 1.5}", "[0]", "1.5 is neither a channel"),
        ("{0: 12, 4: 99999}", "", "mixed4a has channels 0 to "),
        ("{0: 12, 4: each}", "", "each gives every frame a channel by itself"),
        ("{0: 12, each: [4]}", "", "each gives every frame a channel by itself"),
        ("{-2: 12}", "", "-2 is not a moment: seconds (2.5) or a frame (30f) is needed"),
        ("{4s: 12}", "", "'4s' is not a moment"),
        ("{0: 12, 0f: 5, 0.0: 1}", "", "is written twice"),
        ('{1: 12, "1.0": 5}', "", "the moment 1 is given twice"),
        ("t", "", '"t" is neither a channel'),
    ],
)
def test_wrong_schedules_are_refused_in_a_line(complaints, channels, at, message) -> None:
    (line,) = complaints(TEXT % f"channels: {channels}")
    assert line.startswith("render.yaml:4: ")
    assert message in line
    if "twice" not in message:
        assert f"dream.layers.mixed4a.channels{at}: " in line


def test_there_is_an_end_to_moments(load, complaints) -> None:
    moments = [f"{k}f: {k}" for k in range(MAX_MOMENTS + 1)]
    assert len(load(TEXT % f"channels: {{{', '.join(moments[:-1])}}}").dream.terms()) == MAX_MOMENTS
    (line,) = complaints(TEXT % f"channels: {{{', '.join(moments)}}}")
    assert f"1 to {MAX_MOMENTS} moments, got {MAX_MOMENTS + 1}" in line


def test_plain_data_reads_back_the_same_and_tells_moments_apart(load) -> None:
    config = load(TEXT % "channels: {0: 12, 4.50: [7, 3], 30f: null}")
    recorded = resolved_dict(config)
    channels = recorded["dream"]["layers"]["mixed4a"]["channels"]
    assert channels == {"0": [12], "4.5": [7, 3], "30f": None}
    again = config_from(recorded)
    assert resolved_dict(again) == recorded
    assert again.dream.terms() == config.dream.terms()
    other = resolved_dict(load(TEXT % "channels: {0: 12, 4.5: [7, 4], 30f: null}"))
    assert differing_keys(recorded, other) == ["dream.layers.mixed4a.channels[4.5]"]
