"""What shapes a dream besides its layers: classes, a guide, turns, blurs."""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from pipeline.config.checks import Block, Range, Shorthand, by_name, refuse
from pipeline.config.values import PATH_SCHEMA, NotNegative, PathText, Size
from pipeline.errors import ConfigError
from pipeline.schedule import Schedule


def _known_class(name: str, info: ValidationInfo) -> str:
    from pipeline.engine.classes import class_index
    from pipeline.engine.networks import spec

    model = info.data.get("model")  # absent where it is wrong itself
    if model is None:
        return name
    try:
        index = class_index(model, name)
    except ConfigError as error:
        refuse(str(error))
    count = spec(model).classes
    if index >= count and info.data.get("weights") is None:  # other weights, other classes
        refuse(f"{model} has classes 0 to {count - 1}, not {index}")
    return name


_NAME = {"type": ["string", "integer"]}
_NAMES = {"type": "array", "items": _NAME, "minItems": 1, "uniqueItems": True}
Classes = Annotated[
    dict[Annotated[str, AfterValidator(_known_class)], Schedule],
    Shorthand(
        partial(by_name, noun="class", item=lambda: 1.0),
        (_NAME, _NAMES),
        "a class, a list of classes, or a map",
    ),
]


class Guide(Block):
    """A picture whose features the dream follows; its path alone stands for it."""

    path: PathText = Field(description="the picture, relative to the current directory")
    match: Literal["best", "mean"] = Field(
        "best",
        description="best: at every place the feature of the guide that fits best; "
        "mean: the guide's features as a whole",
    )
    size: Size = Field(
        (320, 320),
        description="[width, height] it is fitted within, the aspect kept, once for all octaves: "
        "the size at which its features are seen",
    )


def _expand_guide(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


ShortGuide = Annotated[Guide, Shorthand(_expand_guide, (PATH_SCHEMA,))]


class Transforms(Block):
    """Random motions of what the network is shown, drawn anew for every step."""

    rotate: NotNegative = Field(Schedule(0.0), description="largest rotation either way, degrees")
    scale: Annotated[Schedule, Range(at_least=1)] = Field(
        Schedule(1.0), description="largest enlargement, and reduction, as a factor"
    )


class Blur(Block):
    """A blur of the picture itself now and then (Yosinski et al. 2015)."""

    every: int = Field(ge=1, description="after every so many steps of an octave")
    sigma: NotNegative = Field(Schedule(0.5), description="width in pixels")
