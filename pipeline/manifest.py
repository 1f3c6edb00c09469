"""The manifest of a render: what it is, so that it can be continued, refused or left alone.

{"pipeline": version, "config": {...}, "input": {...}, "resolved": {...}, "engine": {...},
"outputs": {file: {"settings": {...}, "files": {name: bytes}}}, "finished": bool}
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import __version__
from pipeline.config import Config, Output, differing_keys, resolved_dict
from pipeline.errors import ResumeError
from pipeline.frames import FrameStore, read_json, replace_file, write_json
from pipeline.media.sources import Source

_NAME = "manifest.json"


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
    def open(cls, folder: Path, config: Config, source: Source) -> "Manifest":
        """Begin a render, or continue the one that is there.

        Raises:
            ResumeError: the one that is there is of another config or other pictures.
        """
        settings = resolved_dict(config)
        pictures = {"fingerprint": source.fingerprint, "frames": len(source.sizes)}
        found = read_json(folder / _NAME)
        if found is None:
            data = {
                "pipeline": __version__,
                "config": settings,
                "input": pictures,
                "outputs": {},
                "finished": False,
            }
            manifest = cls(folder, data)
        else:
            if keys := differing_keys(found["config"], settings):
                raise ResumeError(
                    f"{folder} holds a render of another config: {', '.join(keys)} differ; "
                    "use another `name`, or --overwrite to start again"
                )
            if found["input"] != pictures:
                raise ResumeError(
                    f"{folder} holds a render of other pictures ({', '.join(source.names[:3])} "
                    "changed since); use another `name`, or --overwrite to start again"
                )
            manifest = cls(folder, found | {"config": settings})
        manifest._save()
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        replace_file(folder / "config.yaml", text.encode())
        return manifest

    @property
    def resolved(self) -> dict[str, Any] | None:
        """What the first run resolved; None before there is one."""
        return self._data.get("resolved")

    @property
    def finished(self) -> bool:
        """Whether all frames were made and all outputs written once."""
        return bool(self._data["finished"])

    def record_engine(self, resolved: Mapping[str, Any], engine: Mapping[str, Any]) -> None:
        """Keep what decides the bytes of the frames, before the first of them.

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
        self._data |= {"resolved": dict(resolved), "engine": dict(engine)}
        self._save()

    def record_split(self, split: Mapping[str, Any]) -> None:
        """Keep that memory ran out and the work was divided."""
        self._data["resolved"] |= {"tile": split["tile"]}
        self._data["split"] = dict(split)
        self._save()

    def stale_outputs(self, config: Config) -> dict[str, Output]:
        """Outputs that are missing, incomplete or of other settings than asked for now."""
        return {
            file: output
            for file, output in zip(config.output_names(), config.outputs, strict=True)
            if not self._is_fresh(file, output)
        }

    def record_output(self, file: str, output: Output, paths: Sequence[Path]) -> None:
        """Keep what an output was made with."""
        self._data["outputs"][file] = {
            "settings": output.model_dump(mode="json"),
            "files": {path.name: path.stat().st_size for path in paths},
        }
        self._save()

    def forget_outputs(self) -> None:
        """Have every output made again."""
        self._data["outputs"] = {}

    def finish(self) -> None:
        """All frames were made and all outputs written."""
        self._data["finished"] = True
        self._save()

    def output_paths(self, config: Config) -> tuple[Path, ...]:
        """Files of the config's outputs, in its order."""
        entries = (self._data["outputs"][file] for file in config.output_names())
        return tuple(self.folder / name for entry in entries for name in entry["files"])

    def _is_fresh(self, file: str, output: Output) -> bool:
        entry = self._data["outputs"].get(file)
        if entry is None or entry["settings"] != output.model_dump(mode="json"):
            return False
        paths = {self.folder / name: size for name, size in entry["files"].items()}
        return all(p.exists() and p.stat().st_size == size for p, size in paths.items())

    def _save(self) -> None:
        write_json(self.folder / _NAME, self._data)


def recorded_config(folder: Path) -> dict[str, Any]:
    """The config of the render in a folder, as plain values.

    Raises:
        ResumeError: there is no render, or its manifest is damaged.
    """
    found = read_json(folder / _NAME)
    if found is None:
        raise ResumeError(f"there is no render in {folder} (it has no {_NAME})")
    config = found["config"]
    assert isinstance(config, dict)
    return config


def remove_render(folder: Path) -> None:
    """Delete what the manifest lists, and nothing else; without a manifest, nothing."""
    path = folder / _NAME
    if not path.exists():
        return
    try:
        found = read_json(path)
    except ResumeError:
        found = None
    if found is not None:
        for entry in found["outputs"].values():
            for name in entry["files"]:
                (folder / name).unlink(missing_ok=True)
        FrameStore.remove_from(folder, found["input"]["frames"])
    (folder / "config.yaml").unlink(missing_ok=True)
    path.unlink()
