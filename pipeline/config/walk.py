"""From a key path to what may stand there: used to type overrides and to explain errors."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from pipeline.config.checks import Shorthand
from pipeline.config.document import KeyPath
from pipeline.config.values import PATH_SCHEMA


def setting_at(annotation: Any, data: Any, path: KeyPath) -> Any:
    """Return the annotation of the setting at a path, or None where there is no such setting.

    Args:
        annotation: what `data` is to be, a block's class to begin with.
        data: the unchecked values; their `kind` tells which block of a union is meant.
        path: keys and list indices.
    """
    for key in path:
        block = block_of(annotation, data)
        if block is not None:
            field = block.model_fields.get(str(key))
            if field is None:
                return None
            # Pydantic keeps a field's metadata apart from its annotation.
            annotation = field.annotation
            if field.metadata:
                annotation = Annotated[(annotation, *field.metadata)]
        else:
            annotation = _item(annotation)
        if annotation is None:
            return None
        data = _get(data, key)
    return annotation


def value_at(data: Any, path: KeyPath) -> Any:
    """Return what stands at a path, None where there is nothing."""
    for key in path:
        data = _get(data, key)
    return data


def block_of(annotation: Any, data: Any) -> type[BaseModel] | None:
    """Return the block's class that a value is meant to be, if it is a block at all."""
    blocks = [a for a in _members(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    if len(blocks) <= 1:
        return blocks[0] if blocks else None
    kind = data.get("kind") if isinstance(data, Mapping) else None
    return next((block for block in blocks if kind in kinds_of(block)), None)


def kinds(annotation: Any) -> tuple[str, ...]:
    """Return every kind that a block of several kinds may have."""
    blocks = [a for a in _members(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    return tuple(kind for block in blocks for kind in kinds_of(block))


def kinds_of(block: type[BaseModel]) -> tuple[str, ...]:
    """Return the values that a block's `kind` may have; none for a block without."""
    return get_args(block.model_fields["kind"].annotation) if "kind" in block.model_fields else ()


def is_text(annotation: Any) -> bool:
    """Whether a setting is text or a path, so that an override is taken as it stands."""
    members = [a for a in _members(annotation) if a is not NoneType]
    text = [a for a in members if a is str or _is_text_literal(a)]
    return bool(text) and all(a in text or get_args(a)[:1] == (str,) for a in members)


def is_path_or_map(annotation: Any) -> bool:
    """Whether a path alone stands for the settings of a block."""
    return any(
        isinstance(each, Shorthand) and PATH_SCHEMA in each.schemas
        for each in _metadata(annotation)
    )


def accepts(annotation: Any, kind: type) -> bool:
    """Whether None, a list or a tuple is among what a setting may be."""
    return any(a is kind or get_origin(a) is kind for a in _members(annotation))


def expanded(annotation: Any, value: Any) -> Any:
    """Return a value in its long form where the setting has a shorthand."""
    for each in _metadata(annotation):
        if isinstance(each, Shorthand):
            return each.expand(value)
    return value


def _is_text_literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal and all(
        isinstance(a, str) for a in get_args(annotation)
    )


def _item(annotation: Any) -> Any:
    for each in _members(annotation):
        if get_origin(each) in (list, tuple, dict):
            return [a for a in get_args(each) if a is not Ellipsis][-1]
    return None


def _members(annotation: Any) -> Iterator[Any]:
    """The alternatives of a union, without metadata."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _members(each)
    else:
        yield annotation


def _metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from metadata
        yield from _metadata(inner)
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _metadata(each)


def _get(data: Any, key: str | int | float) -> Any:
    if isinstance(data, Mapping):
        return data.get(key)
    if isinstance(data, list | tuple) and isinstance(key, int) and key < len(data):
        return data[key]
    return None
