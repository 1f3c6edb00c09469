"""Which channels of a layer a dream climbs: some, all, or in every frame another one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic.json_schema import JsonSchemaValue

from pipeline.config.checks import Checked, is_whole, nearest, refuse, shown


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


def numbers(channels: tuple[int, ...] | Each | None) -> tuple[int, ...]:
    """Return the channels that are given by number."""
    return (channels.channels if isinstance(channels, Each) else channels) or ()


def _channels(value: Any) -> tuple[int, ...] | Each | None:
    if value is None or isinstance(value, Each):
        return value
    if value == "each":
        return Each()
    if isinstance(value, Mapping) and list(value) == ["each"]:
        return Each(_channel_list(value["each"]))
    return _channel_list(value)


def _channel_list(value: Any) -> tuple[int, ...]:
    channels = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not channels or not all(is_whole(channel) and channel >= 0 for channel in channels):
        hint = nearest(value, ["each"]) if isinstance(value, str) else ""
        refuse(f"{shown(value)} is neither a channel, from 0, nor a list of channels{hint}")
    if len(set(channels)) < len(channels):
        refuse(f"{shown(value)} names a channel twice")
    return channels


_CHANNEL: Final[JsonSchemaValue] = {"type": "integer", "minimum": 0}
_CHANNEL_LIST: Final[JsonSchemaValue] = {"type": "array", "items": _CHANNEL, "minItems": 1}
_EACH: Final[JsonSchemaValue] = {
    "title": "{each: [channels]}",
    "type": "object",
    "properties": {"each": _CHANNEL_LIST},
    "required": ["each"],
    "additionalProperties": False,
}
Channels = Annotated[
    tuple[int, ...] | Each | None,
    Checked(
        _channels,
        {"anyOf": [_CHANNEL, _CHANNEL_LIST, {"const": "each"}, _EACH, {"type": "null"}]},
    ),
]
