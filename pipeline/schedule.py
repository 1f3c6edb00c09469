"""A number that changes over time: a constant, a map of moments, or an expression.

    2.0                       the same at every frame
    {0: 1.5, 30f: 3.0}        linear between moments, the ends held
    1 + .5 * sin(2*pi*t/8)    an expression in t (seconds) and f (the frame)

A moment is a number of seconds or, as 30f, a frame. Maps and expressions follow time, not frames:
at another frame rate a render takes the same course.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pipeline.errors import ConfigError
from pipeline.expression import MAX_LENGTH, compiled, is_constant

MAX_POINTS: Final = 10_000  # moments of a map

MOMENT_PATTERN: Final = r"^(\d+f|\d+(\.\d*)?|\.\d+)$"
_MOMENT: Final = re.compile(MOMENT_PATTERN, re.ASCII)

SCHEDULE_SCHEMA: Final[JsonSchemaValue] = {
    "title": "schedule",
    "anyOf": [
        {"type": "number"},
        {
            "type": "object",
            "minProperties": 1,
            "patternProperties": {MOMENT_PATTERN: {"type": "number"}},
            "additionalProperties": False,
        },
        {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
    ],
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A number over time, as the user wrote it; make one with `Schedule.parse`.

    Attributes:
        value: a float, an expression, or (moment, number) pairs in the order written, where a
            moment is seconds ("1.5") or a frame ("30f"). Two moments at one time make a jump.
    """

    value: float | str | tuple[tuple[str, float], ...]

    @classmethod
    def parse(cls, value: object) -> "Schedule":
        """Read a schedule as it stands in a YAML or JSON file.

        Args:
            value: a number, a map of moments to numbers, or an expression.

        Raises:
            ConfigError: it is none of them, or an expression without a finite value at frame 0.
        """
        match value:
            case Schedule():
                return value
            case bool():
                pass
            case int() | float():
                return cls(_finite(value, "a schedule"))
            case str():
                schedule = cls(value.strip())
                schedule.at(0, Fraction(1))  # at frame 0 the frame rate does not matter
                return schedule
            case Mapping():
                return cls(_points(value))
        raise ConfigError(
            f"{value!r:.60} is not a schedule: a number, a map such as {{0: 1.5, 10: 3.0}} or an "
            f'expression such as "1 + .5*sin(t)" is needed'
        )

    def at(self, frame: int | Fraction, fps: Fraction) -> float:
        """Return the value at a frame.

        Args:
            frame: index from 0; a fraction lies between two frames.
            fps: frames per second, exact.

        Raises:
            ConfigError: the expression has no finite value there; the message names the frame.
        """
        if isinstance(self.value, float):
            return self.value
        seconds = Fraction(frame) / fps
        if isinstance(self.value, tuple):
            return _interpolate(self.value, seconds, fps)
        try:
            result = compiled(self.value)(float(seconds), float(frame))
        except ArithmeticError as error:
            raise ConfigError(f"{self.value!r} has no value at frame {frame}: {error}") from None
        except ValueError:  # math.pow(-1, .5), math.sin(inf)
            result = math.nan
        if not math.isfinite(result):
            raise ConfigError(f"{self.value!r} has no finite value at frame {frame}")
        return result

    @property
    def is_constant(self) -> bool:
        """Whether every frame has the same value."""
        if isinstance(self.value, str):
            return is_constant(self.value)
        return isinstance(self.value, float) or len({number for _, number in self.value}) == 1

    @property
    def corners(self) -> tuple[float, ...]:
        """The numbers that bound the schedule whatever the frame rate; none for an expression."""
        if isinstance(self.value, float):
            return (self.value,)
        return () if isinstance(self.value, str) else tuple(number for _, number in self.value)

    def scaled(self, factor: float) -> "Schedule":
        """Return this schedule times a factor; an expression at its longest is left as it is."""
        if isinstance(self.value, float):
            return Schedule(self.value * factor)
        if isinstance(self.value, tuple):
            return Schedule(tuple((moment, number * factor) for moment, number in self.value))
        longer = f"({self.value}) * {factor:g}"
        return self if len(longer) > MAX_LENGTH else Schedule.parse(longer)

    def written(self) -> float | str | dict[str, float]:
        """Return what `parse` reads back as this schedule; JSON-able."""
        return dict(self.value) if isinstance(self.value, tuple) else self.value

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _validated,
            serialization=core_schema.plain_serializer_function_ser_schema(cls.written),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return dict(SCHEDULE_SCHEMA)


def _validated(value: object) -> Schedule:
    """Hand a ConfigError to pydantic, which collects the errors of a whole file."""
    try:
        return Schedule.parse(value)
    except ConfigError as error:
        raise PydanticCustomError("schedule", "{reason}", {"reason": str(error)}) from None


def _finite(number: int | float, what: str) -> float:
    try:
        result = float(number)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ConfigError(f"{what} must be a finite number, got {number!r:.60}")
    return result


def _points(moments: Mapping[Any, Any]) -> tuple[tuple[str, float], ...]:
    if not moments or len(moments) > MAX_POINTS:
        raise ConfigError(f"a schedule's map needs 1 to {MAX_POINTS} moments, got {len(moments)}")
    points: dict[str, float] = {}
    for key, number in moments.items():
        moment = read_moment(key)
        if moment in points:
            raise ConfigError(f"the moment {moment} is given twice")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConfigError(f"at {moment} a number is needed, got {number!r:.60}")
        points[moment] = _finite(number, f"the value at {moment}")
    return tuple(points.items())


def read_moment(key: object) -> str:
    """Bring the key of a map to one form: 0, 0.0 and "0" are the same moment.

    Raises:
        ConfigError: it is neither seconds (2.5) nor a frame (30f).
    """
    text = "" if isinstance(key, bool) else str(key).strip()
    if len(text) > 20 or not _MOMENT.fullmatch(text):
        raise ConfigError(f"{key!r:.60} is not a moment: seconds (2.5) or a frame (30f) is needed")
    if text.endswith("f"):
        return f"{int(text[:-1])}f"
    return f"{Decimal(text).normalize():f}"


@lru_cache(maxsize=256)
def _timed(
    points: tuple[tuple[str, float], ...], fps: Fraction
) -> tuple[list[Fraction], list[float]]:
    """The seconds and the numbers of a map, in time order."""
    timed = [
        (int(moment[:-1]) / fps if moment.endswith("f") else Fraction(moment), number)
        for moment, number in points
    ]
    timed.sort(key=lambda each: each[0])  # stable: of two at one time, the later written counts
    return [seconds for seconds, _ in timed], [number for _, number in timed]


def _interpolate(points: tuple[tuple[str, float], ...], seconds: Fraction, fps: Fraction) -> float:
    """Linear between the moments on both sides, held before the first and after the last."""
    times, numbers = _timed(points, fps)
    index = bisect_right(times, seconds)
    if index in (0, len(times)):
        return numbers[max(index - 1, 0)]
    start, end = times[index - 1], times[index]
    share = float((seconds - start) / (end - start))
    low, high = sorted((numbers[index - 1], numbers[index]))
    value = numbers[index - 1] * (1 - share) + numbers[index] * share
    return min(max(value, low), high)  # rounding may leave the interval by a bit
