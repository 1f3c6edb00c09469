"""Which channels of a layer a dream climbs: some, all, others in every frame, or others in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic.json_schema import JsonSchemaValue

from pipeline.config.checks import Checked, is_whole, nearest, refuse, shown
from pipeline.errors import ConfigError
from pipeline.schedule import MOMENT_PATTERN, Schedule, read_moment

Some = tuple[int, ...] | None
"""Channels that are climbed together; None: all of a layer."""

# Whatever is climbed at some time is a term of its own: a network is prepared for every pair of
# them that meets, and on a GPU all are evaluated all the time.
MAX_MOMENTS: Final = 100


@dataclass(frozen=True)
class Each:
    """Every frame climbs one channel alone: frame k channel k, or the k-th of a list."""

    channels: tuple[int, ...] | None = None

    def at(self, frame: int) -> int:
        """Return the channel of a frame."""
        return frame if self.channels is None else self.channels[frame]

    def written(self) -> str | dict[str, list[int]]:
        """Return what a config reads back as this; JSON-able."""
        return "each" if self.channels is None else {"each": list(self.channels)}


@dataclass(frozen=True)
class ChannelSchedule:
    """Channels over time: at a moment exactly its own, between two moments both, cross-faded.

    Attributes:
        moments: (moment, channels) pairs in the order written, the moments as in a `Schedule`: two
            at one time make a jump.
    """

    moments: tuple[tuple[str, Some], ...]

    def shares(self) -> dict[Some, Schedule]:
        """Return what is climbed at some time, and how much of it when.

        A share is linear between 1 at its channels' own moments and 0 at those of others, so that
        at any time the shares add up to 1.
        """
        return {
            some: Schedule(tuple((at, float(other == some)) for at, other in self.moments))
            for _, some in self.moments
        }

    def written(self) -> dict[str, list[int] | None]:
        """Return what a config reads back as this; JSON-able."""
        return {at: None if some is None else list(some) for at, some in self.moments}


Chosen = Some | Each | ChannelSchedule


def numbers(channels: Chosen) -> tuple[int, ...]:
    """Return the channels that are given by number."""
    match channels:
        case Each():
            return channels.channels or ()
        case ChannelSchedule():
            return tuple(number for _, some in channels.moments for number in some or ())
    return channels or ()


def _channels(value: Any) -> Chosen:
    if value is None or isinstance(value, Each | ChannelSchedule):
        return value
    if value == "each":
        return Each()
    if isinstance(value, Mapping):
        if list(value) == ["each"]:
            return Each(_channel_list(value["each"]))
        return ChannelSchedule(_moments(value))
    return _channel_list(value)


def _moments(value: Mapping[Any, Any]) -> tuple[tuple[str, Some], ...]:
    if not 1 <= len(value) <= MAX_MOMENTS:
        refuse(f"a schedule of channels needs 1 to {MAX_MOMENTS} moments, got {len(value)}")
    moments: dict[str, Some] = {}
    for key, chosen in value.items():
        if "each" in (key, chosen):
            refuse("each gives every frame a channel by itself: it is no part of a schedule")
        try:
            moment = read_moment(key)
        except ConfigError as error:
            refuse(str(error))
        if moment in moments:
            refuse(f"the moment {moment} is given twice")
        moments[moment] = None if chosen is None else _channel_list(chosen, key)
    return tuple(moments.items())


def _channel_list(value: Any, *path: str | int | float) -> tuple[int, ...]:
    channels = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not channels or not all(is_whole(channel) and channel >= 0 for channel in channels):
        hint = nearest(value, ["each"]) if isinstance(value, str) else ""
        refuse(f"{shown(value)} is neither a channel, from 0, nor a list of channels{hint}", *path)
    if len(set(channels)) < len(channels):
        refuse(f"{shown(value)} names a channel twice", *path)
    return channels


_CHANNEL: Final[JsonSchemaValue] = {"type": "integer", "minimum": 0}
_CHANNEL_LIST: Final[JsonSchemaValue] = {"type": "array", "items": _CHANNEL, "minItems": 1}
_NULL: Final[JsonSchemaValue] = {"type": "null"}
_EACH: Final[JsonSchemaValue] = {
    "title": "{each: [channels]}",
    "type": "object",
    "properties": {"each": _CHANNEL_LIST},
    "required": ["each"],
    "additionalProperties": False,
}
_SCHEDULE: Final[JsonSchemaValue] = {
    "title": "map of moments to these",
    "type": "object",
    "minProperties": 1,
    "patternProperties": {MOMENT_PATTERN: {"anyOf": [_CHANNEL, _CHANNEL_LIST, _NULL]}},
    "additionalProperties": False,
}
Channels = Annotated[
    Chosen,
    Checked(
        _channels,
        {"anyOf": [_CHANNEL, _CHANNEL_LIST, _NULL, _SCHEDULE, {"const": "each"}, _EACH]},
    ),
]
