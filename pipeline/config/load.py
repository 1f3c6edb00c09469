"""From a file or plain data to a config, every problem reported at once."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from pipeline.config.checks import Range
from pipeline.config.document import Document, KeyPath, dotted
from pipeline.config.messages import config_error, located
from pipeline.config.overrides import apply_overrides
from pipeline.config.render import Config
from pipeline.config.yaml_source import read_yaml
from pipeline.errors import ConfigError
from pipeline.schedule import Schedule

CHECKED_FRAMES: Final = 2000  # at most so many frames of an expression are tried before a render
_NO_LIMITS: Final = Range()


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML config and lay overrides over it.

    Args:
        path: a YAML file.
        overrides: `key=value` texts, as `pipeline.config.overrides` describes.

    Raises:
        ConfigError: everything that is wrong, one line each: `file:line: setting: message`.
    """
    return _checked(read_yaml(path), overrides)


def config_from(
    data: Mapping[str, Any], overrides: Iterable[str] = (), *, name: str = "config"
) -> Config:
    """Make a config from plain data, such as `resolved_dict` returns.

    Args:
        data: what a YAML file would hold.
        overrides: as in `load_config`.
        name: what to call the data in messages.

    Raises:
        ConfigError: everything that is wrong, one line each.
    """
    return _checked(Document(_as_yaml(data), name), overrides)


def _as_yaml(value: Any) -> Any:
    """Copy plain data as YAML would give it; overrides change the copy."""
    if isinstance(value, Mapping):
        return {key: _as_yaml(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_yaml(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _checked(document: Document, overrides: Iterable[str]) -> Config:
    if document.data is None:
        raise ConfigError(f"{document.name}: is empty; a config has at least a name and a source")
    if not isinstance(document.data, dict):
        raise ConfigError(f"{document.name}: is not a map of settings such as `name: my_dream`")
    if isinstance(overrides, str):  # an iterable of str too, as far as types go
        raise TypeError(f"overrides is a list of key=value texts, got {overrides!r}")
    apply_overrides(document, overrides, Config)
    try:
        config = Config.model_validate(document.data)
        problems = document.problems + [
            document.problem(path, message) for path, message in _schedule_problems(config)
        ]
    except ValidationError as error:
        problems = document.problems + located(error, Config, document)
    if problems:
        raise config_error(problems)
    return config


def check_schedules(config: Config, *, frames: int, fps: Fraction) -> None:
    """Refuse an expression without a finite, accepted value at some frame.

    Noise and pictures are tried as a config is loaded; a video once it has been read.

    Args:
        config: any config.
        frames: how many frames will be rendered.
        fps: at what rate.

    Raises:
        ConfigError: names each setting and the first frame found.
    """
    found = [f"{dotted(path)}: {message}" for path, message in _tried(config, frames, fps)]
    if found:
        raise ConfigError("\n".join(found))


def _schedule_problems(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """What can be tried before the source is opened: a video's length and rate are its own."""
    source = config.source
    frames = getattr(source, "frames", None) if source.kind in ("noise", "image") else None
    yield from _tried(config, frames or 1, source.fps or Fraction(24))


def _tried(config: Config, frames: int, fps: Fraction) -> Iterator[tuple[KeyPath, str]]:
    every = max(1, -(-frames // CHECKED_FRAMES))
    tried = [*range(0, frames, every), frames - 1]
    for path, schedule, limits in _schedules(config, ()):
        if not isinstance(schedule.value, str):
            continue  # constants and maps were checked as they were read
        for frame in tried:
            try:
                message = limits.complaint(schedule.at(frame, fps))
            except ConfigError as error:
                yield path, str(error)
                break
            if message:
                yield path, f"{message} at frame {frame}"
                break


def _schedules(
    value: Any, path: KeyPath, limits: Range = _NO_LIMITS
) -> Iterator[tuple[KeyPath, Schedule, Range]]:
    """Every schedule of a config with its key path and its range."""
    match value:
        case Schedule():
            yield path, value, limits
        case BaseModel():
            for name, field in type(value).model_fields.items():
                own = (each for each in field.metadata if isinstance(each, Range))
                yield from _schedules(getattr(value, name), (*path, name), next(own, _NO_LIMITS))
        case dict():
            for key, each in value.items():
                yield from _schedules(each, (*path, key), limits)
        case tuple():
            for index, each in enumerate(value):
                yield from _schedules(each, (*path, index), limits)
