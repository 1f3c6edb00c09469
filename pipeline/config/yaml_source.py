"""YAML as a config needs it: 1.2 scalars, no duplicate keys, and the line of every value.

PyYAML alone reads YAML 1.1, where `1e-3` is text, `1:30` is 90, `017` is 15, `no` is False and the
second of two equal keys silently wins. Here scalars follow the YAML 1.2 core schema, and the parsed
document remembers where each value stands, so that an error found much later can name its line.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.config.document import Document, KeyPath, Problem
from pipeline.errors import ConfigError

MAX_BYTES: Final = 256 * 1024  # a config is some kB; PyYAML reads about 100 kB a second
MAX_VALUES: Final = 20_000  # after aliases are followed: ten lines of them can mean 10^9 values

MAX_DIGITS: Final = 40  # of an integer; thousands could not even be shown


def read_yaml(path: Path | str) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: the file cannot be read or is not YAML; one line that names the place.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a directory; a YAML file is needed")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{_neighbour(path)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({reason})") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES // 1024} kB: not a config")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text") from None
    return parse_yaml(text, str(path))


def _neighbour(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.iterdir() if each.suffix in (".yaml", ".yml")]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f'. Did you mean "{path.with_name(close[0])}"?' if close else ""


def parse_yaml(text: str, name: str) -> Document:
    """Parse YAML text; duplicate keys and unusable values are collected in `problems`.

    Args:
        text: one document.
        name: what to call it in messages.

    Raises:
        ConfigError: not YAML at all.
    """
    try:
        node = _CoreLoader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{place}: {_syntax_message(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name}:{line}: contains the unprintable character {error.character!r}"
        ) from None
    except RecursionError:
        raise ConfigError(f"{name}: is nested too deeply") from None
    document = Document(None, name)
    if node is not None:
        document.data = _Reader(document).value(node, ())
    return document


class _CoreLoader(yaml.SafeLoader):
    """PyYAML's reader with the scalars of the YAML 1.2 core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)


def _resolve(tag: str, pattern: str, first: str) -> None:
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(f"(?a:{pattern})$"), list(first)
    )


_resolve("merge", "<<", "<")
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_resolve(
    "float",
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "-+.0123456789",
)
_CoreLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile("(~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)


class _Reader:
    """Turns nodes into values, noting lines and problems in the document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.left = MAX_VALUES
        self.above: list[int] = []  # the nodes being read, to find one that contains itself

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(path, line)
        self.count(node)
        if id(node) in self.above:
            raise ConfigError(f"{self.document.name}:{line}: an alias contains itself")
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        self.above.append(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
                return self.mapping(node, path)
        finally:
            self.above.pop()
        return self.refuse(path, f"the tag {_shown_tag(node)} is not accepted")

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        first_lines: dict[Any, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.key(key_node, path)
            if key is None:
                continue
            line = key_node.start_mark.line + 1
            if key in first_lines:
                self.document.lines[(*path, key)] = line
                self.refuse((*path, key), f"is written twice, first at line {first_lines[key]}")
                continue
            first_lines[key] = line
            self.document.lines[(*path, key)] = line
            values[key] = self.value(value_node, (*path, key))
        for key_node, value_node in self.merged(node, path, ()):
            key = self.key(key_node, path)
            if key is not None and key not in values:
                self.document.lines[(*path, key)] = key_node.start_mark.line + 1
                values[key] = self.value(value_node, (*path, key))
        return values

    def merged(
        self, node: yaml.MappingNode, path: KeyPath, above: tuple[int, ...]
    ) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The keys and values of the maps behind `<<:`, those that win first."""
        for key_node, value_node in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge":
                continue
            several = isinstance(value_node, yaml.SequenceNode)
            for each in value_node.value if several else [value_node]:
                self.count(each)
                if not isinstance(each, yaml.MappingNode) or id(each) in (*above, id(node)):
                    self.refuse(path, "`<<` needs a map, or a list of maps, other than itself")
                    continue
                yield from (p for p in each.value if p[0].tag != "tag:yaml.org,2002:merge")
                yield from self.merged(each, path, (*above, id(node)))

    def count(self, node: yaml.Node) -> None:
        """Count one more value, so that aliases of aliases cannot fill the memory."""
        self.left -= 1
        if self.left < 0:
            line = node.start_mark.line + 1
            raise ConfigError(f"{self.document.name}:{line}: means more than {MAX_VALUES} values")

    def key(self, node: yaml.Node, path: KeyPath) -> str | int | float | None:
        value = self.scalar(node, path) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return value
        self.document.problems.append(
            Problem(
                f"{self.document.name}:{node.start_mark.line + 1}",
                path,
                "a key must be text or a number",
                node.start_mark.line + 1,
            )
        )
        return None

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = node.value
        match node.tag.removeprefix("tag:yaml.org,2002:"):
            case "str" | "merge":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float" as kind:
                try:
                    return _integer(text) if kind == "int" else _float(text)
                except ValueError:
                    return self.refuse(path, f"{text!r:.40} is not a number that can be used")
        return self.refuse(path, f"the tag {_shown_tag(node)} is not accepted")

    def refuse(self, path: KeyPath, message: str) -> None:
        self.document.problems.append(self.document.problem(path, message))


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError
    if text.startswith("0o"):
        return int(text[2:], 8)
    if text.startswith("0x"):
        return int(text[2:], 16)
    return int(text)


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _shown_tag(node: yaml.Node) -> str:
    return node.tag.replace("tag:yaml.org,2002:", "!!")


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if "single document" in (error.context or ""):
        return "a second document begins; a config is one"
    context = f"{error.context}: " if error.context else ""
    return f"is not valid YAML ({context}{problem})"
