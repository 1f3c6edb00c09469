"""What pydantic found wrong, in one located line each: what was given and what is accepted."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.checks import nearest, shown
from pipeline.config.document import Document, KeyPath, Problem, dotted
from pipeline.config.walk import block_of, kinds, setting_at, value_at
from pipeline.errors import ConfigError

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text (put it in quotes)",
    "dict_type": "a map",
    "model_type": "a map",
    "list_type": "a list",
    "tuple_type": "a list",
    "mapping_type": "a map",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_NOTHING = object()  # what stands below a key that the file does not have


def config_error(problems: list[Problem]) -> ConfigError:
    """Make one error of all problems, in the order of their lines; overrides come last."""
    lines: list[str] = []
    for problem in sorted(problems, key=lambda p: p.line):
        where = f"{problem.place}: {dotted(problem.path)}" if problem.path else problem.place
        lines.append(_printable(f"{where}: {problem.message}"))
    return ConfigError("\n".join(dict.fromkeys(lines)))


def _printable(text: str) -> str:
    """Escape what could change a terminal or look like a line of its own."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def located(error: ValidationError, root: type[BaseModel], document: Document) -> list[Problem]:
    """Translate pydantic's errors into problems, without those a known problem has caused."""
    known = [problem.path for problem in document.problems]
    found = []
    for details in error.errors(include_url=False):
        for path, message in _messages(details, root, document):
            if not any(path[: len(each)] == each for each in known if each):
                found.append(document.problem(path, message))
    return found


def _messages(
    details: ErrorDetails, root: type[BaseModel], document: Document
) -> Iterator[tuple[KeyPath, str]]:
    loc = details["loc"]
    if loc[-1:] == ("[key]",):  # a key of a map is wrong, such as a layer's name
        loc = loc[:-1]
    path = _written_path(loc, document.data)
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "config":
        for below, message in context["problems"]:
            yield _written_path((*loc, *below), document.data), message
    elif kind in ("extra_forbidden", "invalid_key"):
        yield path, _unknown(path, root, document.data)
    elif kind == "missing":
        yield path if path[-1:] == loc[-1:] else (*path, loc[-1]), "is required"
    elif kind in ("union_tag_not_found", "union_tag_invalid", "model_attributes_type"):
        yield from _wrong_kind(path, given, root, document.data)
    elif kind == "literal_error":
        names = [name.strip("'") for name in context["expected"].replace(" or ", ", ").split(", ")]
        yield path, f"{shown(given)} is not one of {', '.join(names)}{nearest(str(given), names)}"
    elif kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        limit = str(context[bound]).removesuffix(".0")
        yield path, f"must be {words} {limit}, got {shown(given)}"
    elif kind in ("too_short", "too_long"):
        length = context.get("min_length", context.get("max_length"))
        yield path, f"a list of {length} is needed, got {shown(given)}"
    elif kind in _WANTED:
        yield path, f"{_WANTED[kind]} is needed, got {shown(given)}"
    else:
        yield path, details["msg"]


def _unknown(path: KeyPath, root: type[BaseModel], data: Any) -> str:
    owner = block_of(setting_at(root, data, path[:-1]), value_at(data, path[:-1]))
    names = list(owner.model_fields) if owner else []
    where = dotted(path[:-1])
    if where and owner and isinstance(kind := (value_at(data, path[:-1]) or {}).get("kind"), str):
        where += f" of kind {kind}"
    accepted = ", ".join(name for name in names if name != "kind") or "none"
    return (
        f"{shown(str(path[-1]))} is not a setting of {where or 'a config'}"
        f"{nearest(str(path[-1]), names) or f'; it has {accepted}'}"
    )


def _wrong_kind(
    path: KeyPath, given: Any, root: type[BaseModel], data: Any
) -> Iterator[tuple[KeyPath, str]]:
    names = kinds(setting_at(root, data, path))
    choices = ", ".join(names)
    if isinstance(given, dict) and "kind" in given:
        value = given["kind"]
        short = not isinstance(value_at(data, path), dict)  # the kind stands alone for its block
        message = f"{shown(value)} is not one of {choices}{nearest(str(value), names)}"
        yield path if short else (*path, "kind"), message
    else:
        yield path, f"needs a `kind`: {choices}"


def _written_path(loc: tuple[int | str, ...], data: Any) -> KeyPath:
    """Bring pydantic's location back to what stands in the file.

    Pydantic names the kind of a union on the way (source, noise, frames) and the long form of what
    was written short: a layer in a list is located by its index, a bare weight by its layer.
    """
    path: list[str | int | float] = []
    for key in loc:
        if isinstance(data, dict):
            written = next((k for k in data if str(k) == str(key)), None)
            if written is not None:
                path.append(written)
                data = data[written]
            elif data.get("kind") == key:
                continue
            else:
                path.append(key)
                data = _NOTHING
        elif isinstance(data, list | tuple):
            index = next((i for i, item in enumerate(data) if str(item) == str(key)), None)
            if isinstance(key, int):
                index = key
            if index is None or index >= len(data):
                return tuple(path)
            path.append(index)
            data = data[index]
        elif data is _NOTHING:
            path.append(key)
        else:
            return tuple(path)  # the rest is inside a shorthand
    return tuple(path)
