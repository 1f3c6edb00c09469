"""The config explained to people (the README's table) and to editors (a JSON schema)."""

from fractions import Fraction
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import to_jsonable_python

from pipeline.config.blocks import Mask, Runtime
from pipeline.config.dream import Dream, LayerSettings, Smooth
from pipeline.config.render import Config, Feedback, Output, Source
from pipeline.config.shaping import Blur, Guide, Transforms
from pipeline.schedule import Schedule

BLOCKS: Final[tuple[tuple[str, tuple[type[BaseModel], ...]], ...]] = (
    ("", (Config,)),
    ("source", get_args(Source)),
    ("feedback", get_args(Feedback)),
    ("dream", (Dream,)),
    ("dream.layers.NAME", (LayerSettings,)),
    ("dream.guide", (Guide,)),
    ("dream.smooth", (Smooth,)),
    ("dream.transforms", (Transforms,)),
    ("dream.blur", (Blur,)),
    ("mask", (Mask,)),
    ("outputs[N]", get_args(Output)),
    ("runtime", (Runtime,)),
)


_PREFACE: Final = """\
A *schedule* is a number, a map of moments such as `{0: 1.5, 10: 3.0}` (keys are seconds, `30f` is
frame 30; linear between them, the ends held) or an expression such as `1 + .5*sin(2*pi*t/8)` in
`t` (seconds) and `f` (the frame), with `sin cos pi abs min max exp` and arithmetic. Where a block
has a `kind`, the kind's name alone stands for the block with its defaults: `outputs: [mp4, gif]`.
Paths are relative to the current directory."""


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a config as users may write it, the shorthands included."""
    schema = Config.model_json_schema(mode="validation", schema_generator=_Schema)
    schema["title"] = "A DeepDream render"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def config_table() -> str:
    """Return Markdown that documents every setting: a table per block, in the order of a config."""
    schema = json_schema()
    tables = [
        _table(path, schema["$defs"].get(block.__name__, schema))
        for path, blocks in BLOCKS
        for block in blocks
    ]
    return "\n\n".join([_PREFACE, *tables]) + "\n"


class _Schema(GenerateJsonSchema):
    """Pydantic's generator, with defaults as a user writes them and no titles made of names."""

    def encode_default(self, dft: Any) -> Any:
        return _written(dft)

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _written(value: Any) -> Any:
    """A default as it would stand in a YAML file; a block is named by its kind alone."""
    match value:
        case Schedule():
            number = value.written()
            return int(number) if isinstance(number, float) and number.is_integer() else number
        case BaseModel():
            return getattr(value, "kind", {})
        case tuple():
            return [_written(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case Fraction():
            return int(value) if value.denominator == 1 else str(value)
    return to_jsonable_python(value)


def _table(path: str, schema: JsonSchemaValue) -> str:
    settings = dict(schema["properties"])
    title = path
    if "const" in settings.get("kind", {}):
        title = f"{path}: {{kind: {settings.pop('kind')['const']}}}"
    lines = [f"**{f'`{title}`' if title else 'A config'}**: {schema['description']}"]
    if not settings:
        return lines[0]
    lines += ["", "| setting | accepts | default | what it is |", "|---|---|---|---|"]
    required = schema.get("required", ())
    for name, each in settings.items():
        default = "required" if name in required else f"`{_shown(each['default'])}`"
        meaning = each.get("description", "which of these it is")
        lines.append(f"| `{name}` | {_accepts(each)} | {default} | {meaning} |")
    return "\n".join(lines)


def _accepts(schema: JsonSchemaValue) -> str:
    """Say in words what a setting's schema accepts."""
    match schema:
        case {"title": title}:
            return str(title)
        case {"enum": values}:
            return ", ".join(f"`{_shown(value)}`" for value in values)
        case {"const": value}:
            return f"`{_shown(value)}`"
        case {"anyOf": choices} | {"oneOf": choices}:
            return " or ".join(dict.fromkeys(_accepts(choice) for choice in choices))
        case {"prefixItems": items}:
            return f"[{', '.join(_accepts(item) for item in items)}]"
        case {"type": "array", "items": items}:
            return f"list of {_accepts(items).replace('number', 'numbers')}"
        case {"type": "integer" | "number" as kind}:
            return f"{'whole ' * (kind == 'integer')}number{_bounds(schema)}"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "null"}:
            return "`null`"
        case {"type": "string"}:
            return "text"
    return "a map"


def _bounds(schema: JsonSchemaValue) -> str:
    bounds = ("minimum", "maximum", "exclusiveMinimum")
    # Some versions of pydantic write 1 as 1.0.
    low, high, above = (_whole(schema[key]) if key in schema else None for key in bounds)
    if low is not None and high is not None:
        return f" {low} to {high}"
    if low is not None:
        return f" ≥ {low}"
    if above is not None:
        return f" > {above}" + (f", ≤ {high}" if high is not None else "")
    return ""


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{', '.join(_shown(each) for each in value)}]"
        case {}:
            return "{}"
    return str(value)
