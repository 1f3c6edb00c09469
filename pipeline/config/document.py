"""A config before it is checked: plain values, and where each of them comes from."""

from dataclasses import dataclass, field
from typing import Any, Final

KeyPath = tuple[str | int | float, ...]

AFTER_ALL_LINES: Final = 1 << 30  # where the problems of overrides are sorted


def dotted(path: KeyPath) -> str:
    """Write a key path: `outputs[0].width`, `dream.layers[features.22]`."""
    text = ""
    for key in path:
        if isinstance(key, int) or "." in str(key):
            text += f"[{key}]"
        else:
            text += f".{key}" if text else str(key)
    return text


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config: where it stands, which setting it is, and what is the matter.

    Attributes:
        place: "file.yaml:12" or 'override "a.b=1"'.
        path: the keys that lead to the setting.
        message: the matter, without place and path.
        line: the line in the file, for sorting; overrides come last.
    """

    place: str
    path: KeyPath
    message: str
    line: int


@dataclass
class Document:
    """A parsed config before it is checked; overrides are applied onto it.

    Attributes:
        data: dicts, lists and scalars.
        name: what to call the file in messages.
        lines: the line, from 1, of each value by its path.
        overridden: for a path that an override has set, that override.
        problems: what was found while reading and while applying overrides.
    """

    data: Any
    name: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    overridden: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Locate a problem: by the override or line of its setting, or of the nearest above."""
        below = (each for each in reversed(self.overridden) if each[: len(path)] == path)
        if path and (part := next(below, None)):
            return self._blame(part, path, message)
        for length in range(len(path), -1, -1):
            if path[:length] in self.overridden:
                return self._blame(path[:length], path, message)
            if path[:length] in self.lines:
                line = self.lines[path[:length]]
                return Problem(f"{self.name}:{line}", path, message, line)
        return Problem(self.name, path, message, 0)

    def _blame(self, overridden: KeyPath, path: KeyPath, message: str) -> Problem:
        return override_problem(self.overridden[overridden], path, message)


def override_problem(override: str, path: KeyPath, message: str) -> Problem:
    """Locate a problem at an override as a whole."""
    return Problem(f'override "{override}"', path, message, AFTER_ALL_LINES)
