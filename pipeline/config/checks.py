"""How a setting is checked and refused: the machinery under the config's values and blocks.

A value is checked by one function rather than as a union of simpler types, so that a wrong one
gives one message saying what is accepted; the JSON schema that tells editors the same stands
beside it.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pipeline.schedule import Schedule


class Block(BaseModel):
    """Base of every block of a config: frozen, strict, unknown settings refused."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def refuse(message: str, *path: str | int | float) -> NoReturn:
    """Raise what pydantic collects; `path` leads from the setting checked to the one at fault."""
    raise refusal([(path, message)])


def refusal(problems: Sequence[tuple[tuple[str | int | float, ...], str]]) -> PydanticCustomError:
    """Make one pydantic error of several problems, each with its path as in `refuse`."""
    reasons = "; ".join(message for _, message in problems)
    return PydanticCustomError("config", "{reasons}", {"reasons": reasons, "problems": problems})


def nearest(name: str, names: Iterable[str]) -> str:
    """Return '. Did you mean "x"?' for the closest of some names, or nothing."""
    lowered = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower()[:100], lowered, n=1)
    return f'. Did you mean "{lowered[close[0]]}"?' if close else ""


def shown(value: object, length: int = 60) -> str:
    """Show a value in a message the way a user would write it."""
    match value:
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case str():
            text = f'"{value}"'
        case dict():
            text = "a map"
        case list() | tuple():
            items = [shown(item, 20) for item in value[:6]] + ["..."] * (len(value) > 6)
            text = f"[{', '.join(items)}]"
        case _:
            text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


@dataclass(frozen=True, eq=False)
class Checked:
    """Metadata of a field that one function checks and one JSON schema describes."""

    check: Callable[[Any], Any]
    schema: JsonSchemaValue

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return dict(self.schema)


@dataclass(frozen=True, eq=False)
class Shorthand:
    """Metadata of a block that may be written shorter.

    Attributes:
        expand: returns the long form of a short one, and any other value as it is.
        schemas: of the short forms.
        title: names all forms in the documentation.
    """

    expand: Callable[[Any], Any]
    schemas: tuple[JsonSchemaValue, ...]
    title: str | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        title = {"title": self.title} if self.title else {}
        return {**title, "anyOf": [*self.schemas, handler(schema)]}


def by_kind(*kinds: str) -> Shorthand:
    """Let the name of a block's kind stand for the block with all its defaults."""

    def expand(value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    return Shorthand(expand, ({"enum": list(kinds)},))


def by_name(value: Any, noun: str, item: Callable[[], object]) -> Any:
    """Bring a name or a list of names into the form of a map; a whole number is a name too.

    Args:
        value: what was written.
        noun: what is named, such as "layer".
        item: makes what the map has for a name that stands alone.
    """
    if isinstance(value, str) or is_whole(value):
        return {str(value): item()}
    if isinstance(value, list | tuple) and value:
        for index, name in enumerate(value):
            if not isinstance(name, str) and not is_whole(name):
                refuse(f"{shown(name)} is not the name of a {noun}", index)
            if str(name) in map(str, value[:index]):
                refuse(f"{shown(name)} is named twice", index)
        return {str(name): item() for name in value}
    if isinstance(value, Mapping) and value:
        return {str(name) if is_whole(name) else name: each for name, each in value.items()}
    if value is None:
        return None
    refuse(f"{shown(value)} names no {noun}: a name, a list of names or a map of names is needed")


@dataclass(frozen=True)
class Range:
    """Metadata of a schedule: what its values may be at any time."""

    above: float = -math.inf
    at_least: float = -math.inf

    def complaint(self, value: float) -> str | None:
        """Say what is wrong with a value, if anything."""
        if value <= self.above:
            return f"must stay above {self.above:g}, got {value:g}"
        if value < self.at_least:
            return f"must be at least {self.at_least:g} at all times, got {value:g}"
        return None

    def check(self, schedule: Schedule) -> Schedule:
        """Refuse a constant or a map out of range; an expression can only be tried at frames."""
        for value in schedule.corners:
            if complaint := self.complaint(value):
                refuse(complaint)
        return schedule

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


def is_whole(value: object) -> bool:
    """Whether a value is an integer; YAML's true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole_or(*words: str, at_least: int) -> Checked:
    """Accept a whole number or one of some words, such as `auto`."""

    def check(value: Any) -> int | str:
        if value in words if isinstance(value, str) else is_whole(value) and value >= at_least:
            checked: int | str = value
            return checked
        hint = nearest(value, words) if isinstance(value, str) else ""
        refuse(
            f"{shown(value)} is neither {' nor '.join(words)} nor a whole number of at least "
            f"{at_least}{hint}"
        )

    number = {"type": "integer", "minimum": at_least}
    return Checked(check, {"anyOf": [{"enum": list(words)}, number]})
