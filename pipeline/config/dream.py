"""The `dream` block: which layers of which network, at which sizes, in which steps.

Names of models and layers are checked against the engine's tables, which are read only when a
config is checked and need no torch.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue

from pipeline.config.channels import Channels, Each, numbers
from pipeline.config.checks import (
    Block,
    Shorthand,
    by_kind,
    by_name,
    refusal,
    refuse,
)
from pipeline.config.shaping import Blur, Classes, Guide, ShortGuide, Transforms
from pipeline.config.terms import ClimbedTerm, LayerTerm, Objective, climbed
from pipeline.config.values import NotNegative, PathText, Positive
from pipeline.errors import ConfigError
from pipeline.schedule import SCHEDULE_SCHEMA, Schedule


class LayerSettings(Block):
    """What one layer is asked for; a bare schedule is its weight."""

    weight: Schedule = Field(
        Schedule(1.0), description="its share among the layers; negative: away from it"
    )
    objective: Objective | None = Field(None, description="null: that of `dream`")
    channels: Channels = Field(
        None,
        description="a channel or a list of channels; null: all; over time, as in `{0: 12, 4: [3, "
        "5]}`, cross-faded between moments; each: frame k climbs channel k alone, or the k-th of a "
        "list, which makes an atlas",
    )


def _expand_layer(value: Any) -> Any:
    if isinstance(value, int | float | str | Schedule) and not isinstance(value, bool):
        return {"weight": value}
    if isinstance(value, Mapping) and value:
        moments = [k for k in value if not isinstance(k, str) or re.fullmatch(r"[\d.]+f?", k)]
        return {"weight": value} if len(moments) == len(value) else value
    return value


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
    Shorthand(
        partial(by_name, noun="layer", item=dict),
        (_NAME, _NAMES),
        "a layer, a list of layers, or a map",
    ),
]


class Smooth(Block):
    """How the gradient is smoothed before a step."""

    kind: Literal["none", "gaussian", "cascade", "laplacian", "decorrelate"] = Field(
        description="cascade: three Gaussians that widen over the iterations; "
        "laplacian: each band normalised; decorrelate: the spectrum and colours of photographs, "
        "for feature visualisation"
    )
    sigma: NotNegative = Field(
        Schedule(0.5), description="width in pixels, of `gaussian` and `cascade`"
    )
    growth: float = Field(
        2.0,
        ge=0,
        le=100,
        description="how much wider `cascade` gets over an octave's iterations, pixels",
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
        "null: the model's default layer, or none where there are `classes`",
    )
    classes: Classes | None = Field(
        None,
        description="classes the picture is to become, by name or number (`dream classes`), with "
        "weights like `layers`",
    )
    objective: Objective = Field(
        "mean_square",
        description="what is made to grow at a layer; neuron: a channel at the centre; "
        "guide: the likeness to `guide`",
    )
    guide: ShortGuide | None = Field(
        None, validate_default=True, description="a picture that `objective: guide` follows"
    )
    decay: NotNegative = Field(
        Schedule(0.0),
        description="pull to the network's mean picture: at 4, a pixel .25 away from it is pulled "
        "as hard as the normalised gradient pushes",
    )
    tv: NotNegative = Field(
        Schedule(0.0),
        description="pull to flat areas (total variation), beside the normalised gradient",
    )
    transforms: Transforms = Field(
        Transforms(), description="random rotations and scales of what the network sees"
    )
    blur: Blur | None = Field(None, description="a blur of the picture now and then; null: never")
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
    smooth: Annotated[
        Smooth, by_kind("none", "gaussian", "cascade", "laplacian", "decorrelate")
    ] = Field(Smooth(kind="cascade"), description="smoothing of the gradient")
    normalize: Literal["mean_abs", "std", "none"] = Field(
        "mean_abs", description="what the gradient is divided by"
    )
    merge: Literal["detail", "replace", "blend"] = Field(
        "detail", description="what an octave hands to the next: its detail, its picture, or a mix"
    )
    blend: float = Field(0.5, ge=0, le=1, description="weight of the mix, for `merge: blend`")
    octave_blur: float = Field(
        0.0,
        ge=0,
        le=100,
        description="Gaussian before the picture is reduced for an octave, sigma in pixels; "
        "octaves are then made of one another",
    )
    normalize_tiles: bool = Field(
        False, description="normalise each tile on its own rather than the whole gradient"
    )

    color: Literal["free", "keep", "match"] = Field(
        "free",
        description="keep: the source's colours, only light is dreamed; match: every frame gets "
        "the source's mean and contrast, so that nothing drifts; under a camera colours are only "
        "ever toned down to it",
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
            ((name, "channels"), f"{name} has channels 0 to {count - 1}, not {max(named)}")
            for name, each in (layers or {}).items()
            if model
            and (named := numbers(each.channels))
            and max(named) >= (count := _channel_count(model, name))
        ]
        if problems:
            raise refusal(problems)
        return layers

    @field_validator("guide")
    @classmethod
    def _followed(cls, guide: Guide | None, info: ValidationInfo) -> Guide | None:
        if not {"layers", "objective"} <= info.data.keys():  # wrong themselves
            return guide
        usual = info.data["objective"]
        layers = info.data["layers"] or {"the layer": LayerSettings()}
        following = [n for n, each in layers.items() if (each.objective or usual) == "guide"]
        if guide is None and following:
            refuse(f"{following[0]} is to follow a guide: give `guide: photo.jpg`")
        if any(isinstance(layers[name].channels, Each) for name in following):
            refuse("a guide is followed by channels that all frames share: not by `channels: each`")
        if guide is not None and not following:
            refuse("no layer follows the guide: set `objective: guide`")
        return guide

    def layer_terms(self) -> tuple[LayerTerm, ...]:
        """Return the terms of `layers` in the order written, or of the model's default layer."""
        from pipeline.engine.networks import spec

        layers = self.layers
        if layers is None:
            layers = {} if self.classes else {spec(self.model).default_layer: LayerSettings()}
        return tuple(
            LayerTerm(name, layer.weight, layer.objective or self.objective, layer.channels)
            for name, layer in layers.items()
        )

    def terms(self) -> tuple[ClimbedTerm, ...]:
        """Return every term that is climbed: those of `layers`, then a logit for each class.

        Channels that change over time are several terms, each with its share of the weight.
        """
        from pipeline.engine.classes import class_index
        from pipeline.engine.networks import spec

        head = spec(self.model).head
        logits = [
            ClimbedTerm(head, weight, "mean", (class_index(self.model, name),))
            for name, weight in (self.classes or {}).items()
        ]
        return (*(each for term in self.layer_terms() for each in climbed(term)), *logits)

    def first_layer(self) -> str:
        """Return the first of `layers`, or the model's default layer."""
        from pipeline.engine.networks import spec

        return next(iter(self.layers or ()), spec(self.model).default_layer)

    def most_frames(self) -> dict[str, int]:
        """Return how many frames there can be, by the layers of which each climbs one channel."""
        return {
            term.layer: len(numbers(term.channels)) or _channel_count(self.model, term.layer)
            for term in self.layer_terms()
            if isinstance(term.channels, Each)
        }
