"""The kinds of value that blocks share: frame rates, sizes, paths, file names, moments, devices."""

import math
import os
import re
from fractions import Fraction
from typing import Annotated, Any, Final, Literal

from pydantic.functional_serializers import PlainSerializer
from pydantic.json_schema import JsonSchemaValue

from pipeline.config.checks import Checked, Range, is_whole, refuse, shown
from pipeline.names import COMPONENT
from pipeline.schedule import Schedule

NTSC_RATES: Final = {
    decimal: Fraction(round(float(decimal)) * 1000, 1001)
    for decimal in ("23.976", "23.98", "29.97", "47.952", "59.94", "119.88")
}
"""The decimals that stand for the NTSC rates, all n * 1000/1001."""

MAX_FPS: Final = 1000
MIN_SIDE: Final = 16
MAX_SIDE: Final = 16_384  # beyond it H.264, PNG readers and GPU textures give up

Positive = Annotated[Schedule, Range(above=0)]
NotNegative = Annotated[Schedule, Range(at_least=0)]


def _fps(value: object) -> Fraction:
    rate: Fraction | None = None
    if isinstance(value, Fraction):
        rate = value
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        text = str(value).strip()
        if text in NTSC_RATES:
            return NTSC_RATES[text]
        if re.fullmatch(r"(?a:\d{1,9}(\.\d{1,9})?|\d{1,9}/[1-9]\d{0,8})", text):
            rate = Fraction(text)
    # MP4 and ffmpeg keep both parts of a rate as 32-bit integers.
    if rate is None or not 0 < rate <= MAX_FPS or rate.denominator > 1_000_000:
        refuse(
            f"{shown(value)} is not a frame rate: a number above 0 and up to {MAX_FPS}, or a "
            f'fraction such as "30000/1001", is needed'
        )
    return rate


Fps = Annotated[
    Fraction,
    Checked(
        _fps,
        {
            "title": "frame rate",
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_FPS},
                {"type": "string", "pattern": r"^\d+(/\d+|\.\d+)?$"},
            ],
        },
    ),
    PlainSerializer(str, return_type=str),
]


def _size(value: Any) -> tuple[int, int]:
    whole = isinstance(value, list | tuple) and len(value) == 2 and all(map(is_whole, value))
    if not whole or min(value) < MIN_SIDE or max(value) > MAX_SIDE:
        refuse(
            f"{shown(value)} is not a size: [width, height], each {MIN_SIDE} to {MAX_SIDE}, is "
            f"needed"
        )
    width, height = value
    return width, height


Size = Annotated[
    tuple[int, int],
    Checked(
        _size,
        {
            "title": "[width, height]",
            "type": "array",
            "items": {"type": "integer", "minimum": MIN_SIDE, "maximum": MAX_SIDE},
            "minItems": 2,
            "maxItems": 2,
        },
    ),
]


def _path(value: object) -> str:
    if not isinstance(value, str):
        refuse(f"{shown(value)} is not a path; put it in quotes if it is one")
    if not value or "\0" in value:
        refuse(f"{shown(value)} is not a path")
    # A shell expands ~ in words of its own only, never inside a YAML file or behind `=`.
    return os.path.expanduser(value) if value.startswith(("~/", "~\\")) else value


def _paths(value: object) -> str | tuple[str, ...]:
    if isinstance(value, list | tuple) and value:
        return tuple(_path(item) for item in value)
    return _path(value)


PATH_SCHEMA: Final[JsonSchemaValue] = {"title": "path", "type": "string", "minLength": 1}
_PATHS: Final[JsonSchemaValue] = {"type": "array", "items": PATH_SCHEMA, "minItems": 1}

PathText = Annotated[str, Checked(_path, PATH_SCHEMA)]
PathTexts = Annotated[
    str | tuple[str, ...],
    Checked(_paths, {"title": "path or list of paths", "anyOf": [PATH_SCHEMA, _PATHS]}),
]


def _component(value: object) -> str:
    if not isinstance(value, str):
        refuse(f'{shown(value)} is not a name; put it in quotes: "{value}"')
    if not re.fullmatch(COMPONENT, value):
        refuse(
            f"{shown(value)} cannot name a file or folder: up to 100 letters, digits, . _ and -, "
            f"no dot at either end, are accepted, except what Windows takes for a device (con, nul)"
        )
    return value


_COMPONENT_SCHEMA: Final[JsonSchemaValue] = {"type": "string", "pattern": f"^{COMPONENT}$"}
Component = Annotated[str, Checked(_component, {"title": "name", **_COMPONENT_SCHEMA})]


def file_name(*suffixes: str) -> Checked:
    """Accept a file name of one path component with one of some suffixes, or null."""

    def check(value: object) -> str | None:
        if value is None:
            return None
        name = _component(value)
        if not name.endswith(suffixes):
            refuse(f"{shown(value)} must end in {' or '.join(suffixes)}")
        return name

    name = {"title": " or ".join(f"NAME{each}" for each in suffixes), **_COMPONENT_SCHEMA}
    return Checked(check, {"anyOf": [name, {"type": "null"}]})


_DEVICE: Final = r"auto|cpu|mps|cuda(:[0-9]{1,3})?"


def _device(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(_DEVICE, value):
        refuse(f"{shown(value)} is not a device: auto, cpu, mps, cuda or cuda:N is needed")
    return value


Device = Annotated[
    str,
    Checked(
        _device,
        {
            "title": "`auto`, `cpu`, `mps`, `cuda` or `cuda:N`",
            "type": "string",
            "pattern": f"^({_DEVICE})$",
        },
    ),
]


def _frame_choice(value: Any) -> str | tuple[int, ...]:
    if isinstance(value, str) and value in ("last", "all"):
        return value
    if isinstance(value, list | tuple) and value and all(map(is_whole, value)):
        frames = tuple(value)
        if min(frames) >= 0 and len(set(frames)) == len(frames):
            return frames
    refuse(f"{shown(value)} is neither last nor all nor a list of different frames from 0")


_FRAMES: Final[JsonSchemaValue] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0},
    "minItems": 1,
    "uniqueItems": True,
}
FrameChoice = Annotated[
    Literal["last", "all"] | tuple[int, ...],
    Checked(_frame_choice, {"anyOf": [{"enum": ["last", "all"]}, _FRAMES]}),
]


def _moment(value: object) -> str | float:
    if isinstance(value, str) and value in ("middle", "last"):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(value)
    refuse(f"{shown(value)} is neither middle nor last nor a time in seconds")


Moment = Annotated[
    Literal["middle", "last"] | float,
    Checked(_moment, {"anyOf": [{"enum": ["middle", "last"]}, {"type": "number", "minimum": 0}]}),
]
