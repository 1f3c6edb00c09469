"""The manifest of a render: what it is, so that it can be continued, refused or left alone.

Its keys: `pipeline` (version), `config` and `config_hash`, `variants` (the configs by name, of a
render of several), `inputs` (name, frames, fingerprint), `notes`, `resolved` (what auto became, and
how work was divided when memory ran short), `engine` (model, weights, gradient, and guide if there
is one), `remarks` (what keeps the engine from being faster here), `outputs` (settings and files of
each), `finished`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline import __version__
from pipeline.config import Config, Guide, Output, config_hash, differing_keys, resolved_dict
from pipeline.errors import ResumeError
from pipeline.frames import FrameStore, read_json, replace_file, write_json
from pipeline.inputs import Input
from pipeline.media.atomic import remove
from pipeline.media.facts import COPY, FACTS, MASK
from pipeline.media.ingest import fingerprint

_NAME = "manifest.json"
_CONFIG = "config.yaml"


@dataclass(frozen=True)
class Wanted:
    """One output of one input.

    Attributes:
        input: whose frames.
        output: what is asked for.
        file: its name in the input's folder.
    """

    input: Input
    output: Output
    file: str

    @property
    def key(self) -> str:
        """Its path within the render's folder."""
        return f"{self.input.name}/{self.file}" if self.input.name else self.file


def wanted(config: Config, inputs: Sequence[Input]) -> list[Wanted]:
    """Every output of every input; of several inputs each has its own name in its files."""
    result = []
    for each in inputs:
        for output, file in zip(config.outputs, config.output_names(), strict=True):
            if each.name and output.file is None:
                file = each.name + file.removeprefix(config.name)
            result.append(Wanted(each, output, file))
    return result


class Manifest:
    """A render's manifest, kept on disk as it changes.

    Args:
        folder: of the render.
        data: its content.
    """

    def __init__(self, folder: Path, data: dict[str, Any]) -> None:
        self.folder = folder
        self._data = data

    @classmethod
    def open(cls, folder: Path, config: Config, variants: Sequence[Config] = ()) -> "Manifest":
        """Begin a render, or continue the one that is there.

        Args:
            folder: of the render.
            config: of the render.
            variants: see `renderer.render`.

        Raises:
            ResumeError: the one that is there is of another config.
        """
        settings = resolved_dict(config)
        several = {variant.name: resolved_dict(variant) for variant in variants}
        found = read_json(folder / _NAME)
        keys = _differing(found, settings, several) if found else []
        if found and keys:
            if "engine" in found:
                raise ResumeError(
                    f"{folder} holds a render of another config: {', '.join(keys)} differ; "
                    "use another `name`, or --overwrite to start again"
                )
            remove_render(folder)  # nothing was dreamed yet
            found = None
        data = found or {"pipeline": __version__, "outputs": {}, "finished": False}
        data |= {"config": settings, "config_hash": config_hash(settings)}
        if several:
            data["variants"] = several
        manifest = cls(folder, data)
        manifest._save()
        for name, each in (several or {"": settings}).items():
            (folder / name).mkdir(exist_ok=True)
            text = yaml.safe_dump(each, sort_keys=False, allow_unicode=True)
            replace_file(folder / name / _CONFIG, text.encode())
        return manifest

    @property
    def fresh(self) -> bool:
        """Whether this render's inputs were never all opened."""
        return "inputs" not in self._data

    @property
    def resolved(self) -> dict[str, Any] | None:
        """What the first run resolved; None before there is one."""
        return self._data.get("resolved")

    @property
    def finished(self) -> bool:
        """Whether all frames were made and all outputs written once."""
        return bool(self._data["finished"])

    def record_inputs(self, inputs: Sequence[Input]) -> None:
        """Keep what is rendered.

        Raises:
            ResumeError: it is not what was rendered before.
        """
        now = [_identity(each) for each in inputs]
        if not self.fresh and self._data["inputs"] != now:
            names = ", ".join(dict.fromkeys(n for each in inputs for n in _files(each)[:3]))
            raise ResumeError(
                f"{self.folder} holds a render of other pictures ({names} changed since); "
                "use another `name`, or --overwrite to start again"
            )
        self._data["inputs"] = now
        self._data["notes"] = list(dict.fromkeys(n for each in inputs for n in each.notes))
        self._save()

    def check_guide(self, guide: Guide | None) -> None:
        """See that a guide is the one that the frames were dreamed along, if any were.

        Raises:
            InputError: it cannot be read.
            ResumeError: it is not.
        """
        before = self._data.get("engine", {}).get("guide")
        if guide is not None and before not in (None, fingerprint(Path(guide.path))):
            raise ResumeError(
                f"{self.folder} was begun with another guide ({guide.path} changed since); "
                "use another `name`, or --overwrite to start again"
            )

    def check_weights(self, path: str | None) -> None:
        """See that a file of weights is the one that the frames were dreamed with, if any were.

        Args:
            path: of the user's own file, if that is asked for.

        Raises:
            ResumeError: it is not.
        """
        before = self._data.get("engine", {}).get("weights")
        own = Path(path).expanduser() if path else None
        if before is None or own is None or not own.is_file():  # a finished render needs none
            return
        with own.open("rb") as file:
            now = hashlib.file_digest(file, "sha256").hexdigest()
        if now != before:
            raise ResumeError(
                f"{self.folder} was begun with other weights ({path} changed since); "
                "use another `name`, or --overwrite to start again"
            )

    def record_engine(
        self, resolved: Mapping[str, Any], engine: Mapping[str, Any], remarks: Sequence[str] = ()
    ) -> None:
        """Keep what decides the bytes of the frames, before the first of them.

        Args:
            resolved: what `auto` became.
            engine: see `build.make_dreamer`.
            remarks: what keeps it from being faster here; to be read, decides nothing.

        Raises:
            ResumeError: an earlier run used other weights or another gradient.
        """
        before = self._data.get("engine")
        if before is not None and before != engine:
            keys = [key for key in engine if before.get(key) != engine[key]]
            raise ResumeError(
                f"{self.folder} was begun with another {' and '.join(keys)}: "
                "its frames would not match; --overwrite starts again"
            )
        self._data |= {"resolved": dict(resolved), "engine": dict(engine), "remarks": [*remarks]}
        self._save()

    def record_split(self, split: Mapping[str, Any]) -> None:
        """Keep that memory ran out and the work was divided; a rerun begins that way."""
        self._data["resolved"] |= split
        self._save()

    def stale_outputs(self, config: Config, inputs: Sequence[Input]) -> list[Wanted]:
        """Outputs that are missing, incomplete or of other settings than asked for now."""
        return [want for want in wanted(config, inputs) if not self._is_fresh(want)]

    def record_output(self, want: Wanted, paths: Sequence[Path]) -> None:
        """Keep what an output was made with."""
        self._data["outputs"][want.key] = {
            "settings": want.output.model_dump(mode="json"),
            "files": {p.relative_to(self.folder).as_posix(): p.stat().st_size for p in paths},
        }
        self._save()

    def forget_outputs(self) -> None:
        """Have every output made again."""
        self._data["outputs"] = {}

    def finish(self) -> None:
        """All frames were made and all outputs written."""
        self._data["finished"] = True
        self._save()

    def output_paths(self, config: Config, inputs: Sequence[Input]) -> tuple[Path, ...]:
        """Files of the outputs, input by input, in the config's order."""
        entries = (self._data["outputs"][want.key] for want in wanted(config, inputs))
        return tuple(self.folder / name for entry in entries for name in entry["files"])

    def _is_fresh(self, want: Wanted) -> bool:
        entry = self._data["outputs"].get(want.key)
        if entry is None or entry["settings"] != want.output.model_dump(mode="json"):
            return False
        paths = {self.folder / name: size for name, size in entry["files"].items()}
        return all(p.exists() and p.stat().st_size == size for p, size in paths.items())

    def _save(self) -> None:
        write_json(self.folder / _NAME, self._data)


def _identity(each: Input) -> dict[str, Any]:
    """What a manifest keeps of an input."""
    told = {"name": each.name, "frames": each.frames, "fingerprint": each.source.fingerprint}
    return told if each.mask is None else told | {"mask": each.mask.fingerprint}


def _files(each: Input) -> list[str]:
    mask = [] if each.mask is None else [each.mask.name]
    return [*mask, *each.source.names]


def _differing(
    found: Mapping[str, Any], settings: Mapping[str, Any], several: Mapping[str, Any]
) -> list[str]:
    """Dotted keys at which what is there differs from what is asked for, each once."""
    before = found.get("variants", {})
    if list(before) != list(several):
        return ["variants"]
    pairs = [(found["config"], settings), *((before[name], several[name]) for name in several)]
    return list(dict.fromkeys(key for pair in pairs for key in differing_keys(*pair)))


def recorded_variants(folder: Path) -> dict[str, dict[str, Any]]:
    """The configs of variants that were begun together in a folder, as plain values by name.

    Returns:
        Nothing if there is no such render, or nothing of it was dreamed yet.

    Raises:
        ResumeError: its manifest is damaged.
    """
    found = read_json(folder / _NAME) or {}
    variants: dict[str, dict[str, Any]] = found.get("variants", {}) if "engine" in found else {}
    return variants


def recorded_config(folder: Path) -> dict[str, Any]:
    """The config of the render in a folder, as plain values.

    Raises:
        ResumeError: there is no render, it is of several variants, or its manifest is damaged.
    """
    found = read_json(folder / _NAME)
    if found is None:
        raise ResumeError(f"there is no render in {folder} (it has no {_NAME})")
    if "variants" in found:
        raise ResumeError(f"{folder} holds variants of a sweep: render the chosen one by itself")
    config = found["config"]
    assert isinstance(config, dict)
    return config


def remove_render(folder: Path) -> None:
    """Delete what the manifest lists, and nothing else; without a manifest, nothing."""
    path = folder / _NAME
    if not path.exists():
        return
    try:
        found = read_json(path) or {}
    except ResumeError:
        found = {}
    for entry in found.get("outputs", {}).values():
        for name in entry["files"]:
            remove(folder / name)
    variants = found.get("variants", {})
    for name in [*variants, ""]:
        remove(folder / name / _CONFIG)
    frames = {each["name"]: each["frames"] for each in found.get("inputs", ())}
    for name in dict.fromkeys([*variants, *frames, ""]):
        part = folder / name
        FrameStore.remove_from(part, frames.get(name, 0))
        for ingested in (part / MASK, part):
            for file in (COPY, FACTS):
                remove(ingested / file)
            if ingested != folder and ingested.is_dir() and not any(ingested.iterdir()):
                ingested.rmdir()
    remove(path)
