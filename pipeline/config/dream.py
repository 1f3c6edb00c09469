"""The `dream` block: which layers of which network, at which sizes, in which steps.

Names of models and layers are checked against the engine's tables, which are read only when a
config is checked and need no torch.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue

from pipeline.config.checks import (
    Block,
    Checked,
    Shorthand,
    by_kind,
    is_whole,
    refusal,
    refuse,
    shown,
)
from pipeline.config.values import NotNegative, PathText, Positive
from pipeline.errors import ConfigError
from pipeline.schedule import SCHEDULE_SCHEMA, Schedule

Objective = Literal["mean_square", "norm", "mean"]


def _channels(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    channels = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not channels or not all(is_whole(channel) and channel >= 0 for channel in channels):
        refuse(f"{shown(value)} is neither a channel, from 0, nor a list of channels")
    if len(set(channels)) < len(channels):
        refuse(f"{shown(value)} names a channel twice")
    return channels


_CHANNEL: Final[JsonSchemaValue] = {"type": "integer", "minimum": 0}
_CHANNEL_LIST: Final[JsonSchemaValue] = {"type": "array", "items": _CHANNEL, "minItems": 1}
Channels = Annotated[
    tuple[int, ...] | None,
    Checked(_channels, {"anyOf": [_CHANNEL, _CHANNEL_LIST, {"type": "null"}]}),
]


class LayerSettings(Block):
    """What one layer is asked for; a bare schedule is its weight."""

    weight: Schedule = Field(
        Schedule(1.0), description="its share among the layers; negative: away from it"
    )
    objective: Objective | None = Field(None, description="null: that of `dream`")
    channels: Channels = Field(None, description="a channel or a list of channels; null: all")


class LayerTerm(NamedTuple):
    """One term of the dream's objective, with every default filled in."""

    layer: str
    weight: Schedule
    objective: Objective
    channels: tuple[int, ...] | None


def _expand_layer(value: Any) -> Any:
    if isinstance(value, int | float | str | Schedule) and not isinstance(value, bool):
        return {"weight": value}
    if isinstance(value, Mapping) and value:
        moments = [k for k in value if not isinstance(k, str) or re.fullmatch(r"[\d.]+f?", k)]
        return {"weight": value} if len(moments) == len(value) else value
    return value


def _expand_layers(value: Any) -> Any:
    """Bring a name or a list of names into the form of a map.

    A whole number is a name too: VGG's features.22 is often written 22.
    """
    if isinstance(value, str) or is_whole(value):
        return {str(value): {}}
    if isinstance(value, list | tuple) and value:
        for index, name in enumerate(value):
            if not isinstance(name, str) and not is_whole(name):
                refuse(f"{shown(name)} is not the name of a layer", index)
            if str(name) in map(str, value[:index]):
                refuse(f"{shown(name)} is named twice", index)
        return {str(name): {} for name in value}
    if isinstance(value, Mapping) and value:
        return {str(name) if is_whole(name) else name: each for name, each in value.items()}
    if value is None:
        return None
    refuse(f"{shown(value)} names no layer: a name, a list of names or a map of names is needed")


def _channel_count(model: str, layer: str) -> int:
    from pipeline.engine.layers import resolve

    return resolve(model, layer).channels


def _known_layer(name: str, info: ValidationInfo) -> str:
    model = info.data.get("model")  # absent where it is wrong itself
    try:
        if model is not None:
            _channel_count(model, name)
    except ConfigError as error:
        refuse(str(error))
    return name


_NAME: Final[JsonSchemaValue] = {"type": ["string", "integer"]}
_NAMES: Final[JsonSchemaValue] = {
    "type": "array",
    "items": _NAME,
    "minItems": 1,
    "uniqueItems": True,
}
Layers = Annotated[
    dict[
        Annotated[str, AfterValidator(_known_layer)],
        Annotated[LayerSettings, Shorthand(_expand_layer, (SCHEDULE_SCHEMA,))],
    ],
    Shorthand(_expand_layers, (_NAME, _NAMES), "a layer, a list of layers, or a map"),
]


class Smooth(Block):
    """How the gradient is smoothed before a step."""

    kind: Literal["none", "gaussian", "cascade", "laplacian"] = Field(
        description="cascade: three Gaussians that widen over the iterations; "
        "laplacian: each band normalised"
    )
    sigma: NotNegative = Field(
        Schedule(0.5), description="width in pixels, of `gaussian` and `cascade`"
    )


class Dream(Block):
    """What is dreamed, and how strongly."""

    model: str = Field("dreamnet", description="a network; `dream models` lists them")
    weights: PathText | None = Field(
        None, description="a .safetensors or .pth file; null: the network's own"
    )
    layers: Layers | None = Field(
        None,
        description="what the dream excites; `dream layers MODEL` lists the names; "
        "null: the model's default layer",
    )
    objective: Objective = Field("mean_square", description="what is made to grow at a layer")
    octaves: int = Field(3, ge=1, le=16, description="sizes at which a picture is dreamed")
    ratio: float = Field(1.4, gt=1, le=16, description="size of an octave over the one before")
    iterations: int = Field(
        20, ge=0, description="steps per octave on a frame that starts from scratch"
    )
    step: Positive = Field(
        Schedule(0.012), description="size of a step, of the range [0, 1], after normalisation"
    )
    jitter: NotNegative = Field(
        Schedule(24.0), description="largest random shift before a step, in pixels (rounded)"
    )
    smooth: Annotated[Smooth, by_kind("none", "gaussian", "cascade", "laplacian")] = Field(
        Smooth(kind="cascade"), description="smoothing of the gradient"
    )
    normalize: Literal["mean_abs", "std", "none"] = Field(
        "mean_abs", description="what the gradient is divided by"
    )
    merge: Literal["detail", "replace", "blend"] = Field(
        "detail", description="what an octave hands to the next: its detail, its picture, or a mix"
    )
    blend: float = Field(0.5, ge=0, le=1, description="weight of the mix, for `merge: blend`")
    normalize_tiles: bool = Field(
        False, description="normalise each tile on its own rather than the whole gradient"
    )

    @field_validator("model")
    @classmethod
    def _known_model(cls, name: str) -> str:
        from pipeline.engine.networks import spec

        try:
            return spec(name).name
        except ConfigError as error:
            refuse(str(error))

    @field_validator("layers")
    @classmethod
    def _known_channels(cls, layers: Layers | None, info: ValidationInfo) -> Layers | None:
        model = info.data.get("model")
        problems = [
            ((name, "channels"), f"{name} has channels 0 to {count - 1}, not {max(each.channels)}")
            for name, each in (layers or {}).items()
            if model
            and each.channels
            and max(each.channels) >= (count := _channel_count(model, name))
        ]
        if problems:
            raise refusal(problems)
        return layers

    def terms(self) -> tuple[LayerTerm, ...]:
        """Return the objective's terms in the order written, or the model's default layer."""
        from pipeline.engine.networks import spec

        layers = self.layers or {spec(self.model).default_layer: LayerSettings()}
        return tuple(
            LayerTerm(name, layer.weight, layer.objective or self.objective, layer.channels)
            for name, layer in layers.items()
        )
