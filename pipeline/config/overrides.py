"""`key=value` settings from the command line, laid over a document before it is checked.

    feedback.zoom=3                numbers, lists and maps are read as YAML
    source.path=007.mp4            text and paths are taken as they stand; null unsets them
    outputs[0].width=320           an item of a list by its index, also outputs.0.width
    dream.layers[features.22]=1    a key that contains a dot
    source.kind=image              what the new kind does not have is dropped

Only the first `=` separates, so a value may contain more of them.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from pipeline.config.document import Document, KeyPath, dotted, override_problem
from pipeline.config.walk import (
    accepts,
    block_of,
    expanded,
    is_path_or_map,
    is_text,
    setting_at,
    value_at,
)
from pipeline.config.yaml_source import parse_yaml
from pipeline.errors import ConfigError

_KEY: Final = re.compile(r"[^.\[\]]+(\[[^\[\]]+\]|\.[^.\[\]]+)*")
_PART: Final = re.compile(r"\[([^\[\]]+)\]|\.?([^.\[\]]+)")


def apply_overrides(document: Document, overrides: Iterable[str], root: type[BaseModel]) -> None:
    """Lay overrides over a document; what is wrong with them is added to its problems.

    A longer key wins over a shorter one and `kind` is set before its neighbours, so the order
    matters only between equal keys: the last wins.
    """
    parsed = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not _KEY.fullmatch(key.strip()):
            message = "key=value is needed, such as dream.octaves=4"
            document.problems.append(override_problem(override, (), message))
            continue
        parts = [bracket or plain for bracket, plain in _PART.findall(key.strip())]
        parsed.append((parts, value, override))
    parsed.sort(key=lambda each: (len(each[0]), each[0][-1] != "kind"))
    for parts, value, override in parsed:
        try:
            _apply(document, parts, value, override, root)
        except ConfigError as error:
            document.problems.append(override_problem(override, (), str(error)))


def _apply(
    document: Document, parts: list[str], text: str, override: str, root: type[BaseModel]
) -> None:
    if not isinstance(document.data, dict):
        raise ConfigError("there is no config to change")
    path: KeyPath = ()
    holder: Any = document.data
    for depth, part in enumerate(parts):
        key = _key(holder, part, path)
        annotation = setting_at(root, document.data, (*path, key))
        if depth == len(parts) - 1:
            value = _value(annotation, text)
            if key == "kind":
                _drop_foreign(document, path, holder, value, root)
            _forget(document, (*path, key))
            document.overridden[(*path, key)] = override
            _set(holder, key, value)
            return
        holder = _opened(document, holder, key, (*path, key), annotation, root)
        path = (*path, key)


def _key(holder: Any, part: str, path: KeyPath) -> str | int:
    if not isinstance(holder, list):
        # A map of moments or layers may have numbers as keys.
        return next((key for key in holder if str(key) == part), part)
    if not re.fullmatch(r"(?a:\d{1,6})", part):
        raise ConfigError(f"{dotted(path)} is a list: {part!r} is not an index")
    if int(part) > len(holder):
        raise ConfigError(f"{dotted(path)} has {len(holder)} items, counted from 0")
    return int(part)


def _opened(
    document: Document,
    holder: Any,
    key: str | int,
    path: KeyPath,
    annotation: Any,
    root: type[BaseModel],
) -> Any:
    """Return the map or list at a key, made from a shorthand or from the default if need be."""
    present = key in (range(len(holder)) if isinstance(holder, list) else holder)
    value = holder[key] if present else _default(path, document.data, root)
    with suppress(PydanticCustomError):  # what no shorthand takes is told of as it stands
        value = expanded(annotation, value)
    if value is None:
        value = {}
    if not isinstance(value, dict | list):
        raise ConfigError(f"{dotted(path)} has no settings of its own")
    _set(holder, key, value)
    return value


def _default(path: KeyPath, data: Any, root: type[BaseModel]) -> Any:
    """The default of a block that the file leaves out, as far as its kind goes."""
    owner = block_of(setting_at(root, data, path[:-1]), value_at(data, path[:-1]))
    field = owner.model_fields.get(str(path[-1])) if owner else None
    default = None if field is None or field.is_required() else field.get_default()
    if isinstance(default, tuple):
        return [_opening(item) for item in default]
    return {} if default is None else _opening(default)


def _opening(default: Any) -> Any:
    if not isinstance(default, BaseModel):
        return default
    kind = getattr(default, "kind", None)
    return {} if kind is None else {"kind": kind}


def _value(annotation: Any, text: str) -> Any:
    if annotation is not None and is_text(annotation):
        if text == "null" and accepts(annotation, type(None)):
            return None
        return (accepts(annotation, tuple) and _texts(text)) or text
    if annotation is not None and is_path_or_map(annotation):
        return _yaml(text) if text.startswith("{") or text == "null" else text
    return _yaml(text)


def _texts(text: str) -> list[str] | None:
    """Read a list of texts; None if it is none, such as the glob [ab]*.mp4."""
    with suppress(ConfigError):
        value = _yaml(text) if text.startswith("[") and text.endswith("]") else None
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return value
    return None


def _yaml(text: str) -> Any:
    try:
        document = parse_yaml(text, "value")
    except ConfigError as error:
        reason = re.sub(r"^value:(\d+: )?", "", str(error)).strip()
        raise ConfigError(f"the value {reason}") from None
    if document.problems:
        raise ConfigError("; ".join(problem.message for problem in document.problems))
    return document.data


def _drop_foreign(
    document: Document, path: KeyPath, holder: dict[Any, Any], kind: Any, root: type[BaseModel]
) -> None:
    """Drop the settings that the old kind has and the new one has not; a typo stays an error."""
    union = setting_at(root, document.data, path)
    old, new = block_of(union, holder), block_of(union, {"kind": kind})
    if old is None or new is None:
        return
    for key in [key for key in holder if key in old.model_fields and key not in new.model_fields]:
        if (*path, key) not in document.overridden:
            del holder[key]


def _forget(document: Document, path: KeyPath) -> None:
    """Forget lines and problems of what an override replaces."""
    below = [each for each in document.lines if each[: len(path)] == path]
    for each in below:
        del document.lines[each]
    document.problems[:] = [p for p in document.problems if p.path[: len(path)] != path]


def _set(holder: Any, key: str | int, value: Any) -> None:
    if isinstance(holder, list) and key == len(holder):
        holder.append(value)
    else:
        holder[key] = value
