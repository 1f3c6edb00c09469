"""The README's table, the editors' schema, and the configs that are shipped."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import config_table, json_schema, load_config
from pipeline.config.docs import BLOCKS
from pipeline.config.yaml_source import read_yaml

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.rglob("*.yaml"))


def test_configs_are_shipped() -> None:
    names = {path.stem for path in SHIPPED}
    assert names >= {
        "noise_zoom", "photo_dream", "photo_grow", "folder_batch", "video_dream", "readme_gif",
    }  # fmt: skip


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_config_loads_and_says_what_it_is(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert schema, first
    assert (path.parent / schema[1]).resolve() == CONFIGS / "schema.json"
    opening = "\n".join(line for line in rest[:10] if line.startswith("#"))
    command = re.search(r"^#     (dream render|make \w+ CONFIG=)(.*)$", opening, re.MULTILINE)
    assert command, opening
    assert f"configs/{path.relative_to(CONFIGS)}" in command[2]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_config_reads_the_same_in_yaml_1_1(path: Path) -> None:
    """An editor's YAML reader may be an older one."""
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == read_yaml(path).data


def test_the_schema_file_is_up_to_date() -> None:
    written = json.loads((CONFIGS / "schema.json").read_text(encoding="utf-8"))
    assert written == json_schema(), "run: dream schema > configs/schema.json"


def test_every_setting_is_described() -> None:
    schema = json_schema()
    for block in [schema, *schema["$defs"].values()]:
        assert block["description"], block["title"]
        for name, setting in block["properties"].items():
            assert name == "kind" or setting["description"], (block["title"], name)


def test_the_table_has_every_setting_of_every_block() -> None:
    table = config_table()
    for _, blocks in BLOCKS:
        for block in blocks:
            rows = [name for name in block.model_fields if name != "kind"]
            assert all(f"\n| `{name}` | " in table for name in rows), block
    assert "| `octaves` | whole number 1 to 16 | `3` | " in table
    assert "| `path` | path | required | " in table
    assert "| `zoom` | schedule | `1` | factor per second" in table
    assert "**`source: {kind: noise}`**: " in table
    for line in table.splitlines():
        assert not line.startswith("|") or len(re.findall(r"(?<!\\)\|", line)) == 5, line


def test_the_schema_names_every_block_in_the_table() -> None:
    covered = {block.__name__ for _, blocks in BLOCKS for block in blocks}
    assert covered == {"Config", *json_schema()["$defs"]}


def _fits(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """As much of JSON schema as the config's uses; an unknown keyword fails the test."""
    known = {"title", "description", "default", "discriminator", "$schema", "$defs"}
    assert set(schema) <= known | set(_KEYWORDS), set(schema) - known - set(_KEYWORDS)
    return all(_KEYWORDS[key](schema, value, root) for key in schema if key in _KEYWORDS)


def _is(kind: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "null": value is None,
        "number": number,
        "integer": number and value == int(value),
    }[kind]


def _number(value: Any) -> bool:
    return _is("number", value)


def _types(schema: dict[str, Any]) -> list[str]:
    return schema["type"] if isinstance(schema["type"], list) else [schema["type"]]


def _properties(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    other = schema.get("additionalProperties", True)
    for key, each in value.items():
        inner = [properties[key]] if key in properties else []
        inner += [patterns[pattern] for pattern in patterns if re.search(pattern, key)]
        if not inner and (other is False or (other is not True and not _fits(other, each, root))):
            return False
        if not all(_fits(every, each, root) for every in inner):
            return False
    return True


_KEYWORDS = {
    "$ref": lambda s, v, r: _fits(r["$defs"][s["$ref"].rsplit("/", 1)[1]], v, r),
    "anyOf": lambda s, v, r: any(_fits(each, v, r) for each in s["anyOf"]),
    "oneOf": lambda s, v, r: sum(_fits(each, v, r) for each in s["oneOf"]) == 1,
    "enum": lambda s, v, r: v in s["enum"],
    "const": lambda s, v, r: v == s["const"],
    "type": lambda s, v, r: any(_is(kind, v) for kind in _types(s)),
    "minimum": lambda s, v, r: not _number(v) or v >= s["minimum"],
    "maximum": lambda s, v, r: not _number(v) or v <= s["maximum"],
    "exclusiveMinimum": lambda s, v, r: not _number(v) or v > s["exclusiveMinimum"],
    "exclusiveMaximum": lambda s, v, r: not _number(v) or v < s["exclusiveMaximum"],
    "minLength": lambda s, v, r: not isinstance(v, str) or len(v) >= s["minLength"],
    "maxLength": lambda s, v, r: not isinstance(v, str) or len(v) <= s["maxLength"],
    "pattern": lambda s, v, r: not isinstance(v, str) or bool(re.search(s["pattern"], v)),
    "minItems": lambda s, v, r: not isinstance(v, list) or len(v) >= s["minItems"],
    "maxItems": lambda s, v, r: not isinstance(v, list) or len(v) <= s["maxItems"],
    "uniqueItems": lambda s, v, r: not isinstance(v, list) or len(v) == len(set(map(str, v))),
    "items": lambda s, v, r: not isinstance(v, list) or all(_fits(s["items"], e, r) for e in v),
    "prefixItems": lambda s, v, r: (
        not isinstance(v, list)
        or all(_fits(each, e, r) for each, e in zip(s["prefixItems"], v, strict=False))
    ),
    "minProperties": lambda s, v, r: not isinstance(v, dict) or len(v) >= s["minProperties"],
    "required": lambda s, v, r: not isinstance(v, dict) or set(s["required"]) <= set(v),
    "properties": _properties,
    "patternProperties": _properties,
    "additionalProperties": _properties,
}

FORMS = """
- {name: x, source: noise}
- {name: x, source: {kind: noise, fps: 29.97, size: [64, 64]}, feedback: camera, outputs: [gif]}
- {name: x, source: {kind: noise, fps: 30000/1001}, dream: {layers: mixed4a, smooth: none}}
- {name: x, source: noise, dream: {layers: [mixed3a, mixed4a], step: {"0": 0.1, 30f: 0.2}}}
- {name: x, source: noise, dream: {layers: {mixed3a: 1, mixed4a: cos(t)}}}
- {name: x, source: noise, dream: {layers: {mixed3a: {channels: [1, 2]}, mixed4a: {weight: 2}}}}
- {name: x, source: noise, dream: {layers: {mixed3a: {channels: {"0": 1, 30f: [2, 3], "4": null}}}}}
- {name: x, source: noise, dream: {layers: {mixed3a: {"0": 1, "2": 0}}}}
- {name: x, source: noise, dream: {layers: {mixed3a: {weight: {"0": 1}}}}}
- {name: x, source: noise, dream: {model: vgg16, layers: 22}}
- {name: x, source: {kind: video, path: [a, b]}, feedback: {kind: flow, refine: [1, 2]}}
- {name: x, source: {kind: video, path: a, fps: null, frames: null}, feedback: flow}
- {name: x, source: noise, feedback: {kind: camera, move: [0, sin(t)], keyframe_every: 3}}
- {name: x, source: noise, runtime: {device: "cuda:1", tile: none, batch: 4, threads: auto}}
- {name: x, source: noise, outputs: [{kind: png, frames: [1, 2]}, {kind: poster, at: 1.5}]}
- {name: x, source: noise, outputs: [{kind: gif, max_mb: null, file: a.gif}]}
"""
NOT_FORMS = """
- {name: x}
- {name: x, source: image}
- {name: x/y, source: noise}
- {name: x, source: noise, sed: 3}
- {name: x, source: {kind: noise, path: a}}
- {name: x, source: {kind: noise, size: [64]}}
- {name: x, source: {kind: noise, frames: 0}}
- {name: x, source: noise, feedback: {kind: camera, zom: 3}}
- {name: x, source: noise, dream: {step: {a: 3}}}
- {name: x, source: noise, dream: {layers: []}}
- {name: x, source: noise, dream: {layers: {mixed4a: {weigth: 3}}}}
- {name: x, source: noise, dream: {layers: {mixed4a: {channels: {}}}}}
- {name: x, source: noise, dream: {layers: {mixed4a: {channels: {"0": -1}}}}}
- {name: x, source: noise, dream: {layers: {mixed4a: {channels: {"0": each}}}}}
- {name: x, source: noise, dream: {layers: {mixed4a: {channels: {4s: 1}}}}}
- {name: x, source: noise, runtime: {device: gpu}}
- {name: x, source: noise, outputs: [mp5]}
- {name: x, source: noise, outputs: [{kind: gif, crf: 3}]}
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_schema_accepts_what_is_shipped(path: Path) -> None:
    data = json.loads(json.dumps(read_yaml(path).data))  # keys of maps are texts to a schema
    assert _fits(json_schema(), data, json_schema())


@pytest.mark.parametrize("data", yaml.safe_load(FORMS), ids=str)
def test_the_schema_accepts_every_form_that_loads(load, data: dict) -> None:
    load(json.dumps(data))
    assert _fits(json_schema(), data, json_schema())


@pytest.mark.parametrize("data", yaml.safe_load(NOT_FORMS), ids=str)
def test_the_schema_refuses_what_does_not_load(complaints, data: dict) -> None:
    assert complaints(json.dumps(data))
    assert not _fits(json_schema(), data, json_schema())


def test_the_schemas_defaults_are_written_as_a_user_would() -> None:
    schema = json_schema()
    assert schema["properties"]["outputs"]["default"] == ["mp4"]
    assert schema["$defs"]["Dream"]["properties"]["smooth"]["default"] == "cascade"
    assert schema["$defs"]["CameraFeedback"]["properties"]["move"]["default"] == [0, 0]
    assert schema["$defs"]["NoiseSource"]["properties"]["fps"]["default"] == 24
    for block in schema["$defs"].values():
        for name, setting in block["properties"].items():
            if "default" in setting:
                assert _fits(setting, setting["default"], schema), (block["title"], name)
