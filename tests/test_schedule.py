import copy
import json
import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipeline.errors import ConfigError
from pipeline.schedule import Schedule

FPS = Fraction(24)
NTSC = Fraction(30000, 1001)
seconds = st.integers(0, 100) | st.floats(0, 100).map(lambda x: round(x, 3))
moments = seconds | st.integers(0, 3000).map(lambda n: f"{n}f")
values = st.floats(-1e6, 1e6)
rates = st.sampled_from([Fraction(1), FPS, Fraction(25), NTSC, Fraction(60)])


def test_a_constant_is_the_same_at_every_frame() -> None:
    schedule = Schedule.parse(2)
    assert [schedule.at(frame, FPS) for frame in (0, 7, 10**6)] == [2.0] * 3
    assert schedule.is_constant


def test_a_map_is_linear_between_moments_and_held_outside() -> None:
    schedule = Schedule.parse({2: 1.5, 10: 3.5})
    at = {0: 1.5, 2: 1.5, 4: 2.0, 6: 2.5, 10: 3.5, 11: 3.5}
    assert {s: schedule.at(s * 24, FPS) for s in at} == at
    assert not schedule.is_constant


def test_a_map_may_name_frames_and_need_not_be_in_order() -> None:
    schedule = Schedule.parse({"48f": 4, 0: 0, "1": 1})
    assert [schedule.at(frame, FPS) for frame in (0, 12, 24, 36, 48)] == [0, 0.5, 1, 2.5, 4]
    assert schedule.at(48, Fraction(48)) == 1  # frame 48 is second 1 now: the later written counts


def test_two_moments_at_one_time_make_a_jump() -> None:
    schedule = Schedule.parse({0: 0, "24f": 1, 1.0: 5, 2: 5})
    assert [schedule.at(frame, FPS) for frame in (0, 12, 24, 25)] == [0, 0.5, 5, 5]


def test_time_is_exact_at_fractional_rates() -> None:
    schedule = Schedule.parse({"0": 0, "1001": 30000})
    assert schedule.at(12345, NTSC) == 12345
    assert Schedule.parse("t").at(30000, NTSC) == 1001.0


def test_an_expression_knows_seconds_and_frames() -> None:
    schedule = Schedule.parse("1 + .5*t + f")
    assert schedule.at(12, FPS) == 1 + 0.25 + 12
    assert schedule.at(Fraction(1, 2), FPS) == pytest.approx(1 + 0.5 / 48 + 0.5)
    assert Schedule.parse("2*pi").is_constant
    assert not schedule.is_constant


@given(st.dictionaries(moments, values, min_size=1, max_size=6), st.integers(0, 5000), rates)
def test_a_map_stays_within_its_values(points: dict, frame: int, fps: Fraction) -> None:
    schedule = Schedule.parse(points)
    assert min(points.values()) <= schedule.at(frame, fps) <= max(points.values())


@given(st.dictionaries(st.integers(0, 3000), values, min_size=1, max_size=6), rates)
def test_a_map_passes_through_its_values(points: dict, fps: Fraction) -> None:
    schedule = Schedule.parse({f"{frame}f": value for frame, value in points.items()})
    assert {frame: schedule.at(frame, fps) for frame in points} == points


@given(values | st.dictionaries(moments, values, min_size=1, max_size=4) | st.just("1 + sin(t)"))
def test_what_is_written_is_read_back(value: object) -> None:
    schedule = Schedule.parse(value)
    again = Schedule.parse(json.loads(json.dumps(schedule.written())))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule


def test_equal_schedules_are_equal_however_they_are_written() -> None:
    assert Schedule.parse(1) == Schedule.parse(1.0)
    assert Schedule.parse({0: 1, 2.50: 2}) == Schedule.parse({"0.0": 1.0, "2.5": 2})
    assert Schedule.parse({0: 1}) != Schedule.parse(1)
    assert Schedule.parse(" t ") == Schedule.parse("t")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "True is not a schedule"),
        (None, "None is not a schedule"),
        ([1, 2], "is not a schedule: a number, a map"),
        (float("nan"), "must be a finite number, got nan"),
        (float("inf"), "must be a finite number, got inf"),
        (10**400, "must be a finite number"),
        ({}, "needs 1 to 10000 moments, got 0"),
        ({-1: 2}, "-1 is not a moment"),
        ({"2s": 2}, "'2s' is not a moment"),
        ({"1.5f": 2}, "'1.5f' is not a moment"),
        ({True: 2}, "True is not a moment"),
        ({1e-7: 2}, "1e-07 is not a moment"),
        ({0: "t"}, "at 0 a number is needed, got 't'"),
        ({0: True}, "at 0 a number is needed, got True"),
        ({3: float("nan")}, "the value at 3 must be a finite number"),
        ({"1": 1, 1: 2}, "the moment 1 is given twice"),
        ({"07f": 1, "7f": 2}, "the moment 7f is given twice"),
        ("1 / t", "'1 / t' has no value at frame 0: "),
        ("9**9**9", "has no value at frame 0: the exponent 3.8742e+08 is beyond 64"),
        ("1e999", "has no finite value at frame 0"),
        ("(0-1)**.5", "has no finite value at frame 0"),
        ("sin(1e308*1e308)", "has no finite value at frame 0"),
        ("tan(t)", "'tan' is none"),
    ],
)
def test_what_is_no_schedule_is_refused(value: object, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Schedule.parse(value)
    assert message in str(error.value)


def test_a_frame_without_a_value_is_named() -> None:
    schedule = Schedule.parse("1 / (f - 30)")
    assert schedule.at(29, FPS) == -1
    with pytest.raises(ConfigError, match="no value at frame 30"):
        schedule.at(30, FPS)
    with pytest.raises(ConfigError, match="no value at frame 18: math range error"):
        Schedule.parse("exp(40*f)").at(18, FPS)


@given(st.sampled_from([3.0, {"0": 1.0, "2": -4.0}, "1 + t"]), st.integers(0, 100))
def test_a_scaled_schedule_is_scaled_at_every_frame(value: object, frame: int) -> None:
    schedule = Schedule.parse(value)
    assert schedule.scaled(0.5).at(frame, FPS) == pytest.approx(schedule.at(frame, FPS) / 2)


def test_an_expression_too_long_to_be_scaled_is_left() -> None:
    schedule = Schedule.parse("t" + " " * 190 + "+1")
    assert schedule.scaled(0.5) == schedule


def test_it_is_a_field_type_for_pydantic() -> None:
    class Model(BaseModel):
        step: Schedule = Schedule(0.5)

    assert Model(step={"0": 1, "2f": 2}).model_dump(mode="json") == {"step": {"0": 1.0, "2f": 2.0}}
    assert Model().step.at(3, FPS) == 0.5
    assert {"type": "number"} in Model.model_json_schema()["properties"]["step"]["anyOf"]
    with pytest.raises(ValidationError, match="is not a schedule"):
        Model(step=[1])
