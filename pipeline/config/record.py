"""A config as plain data: for the manifest, to be compared when a render is continued."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.config.channels import ChannelSchedule, Chosen, Each
from pipeline.config.document import KeyPath, dotted
from pipeline.config.render import Config

PICTURE_NEUTRAL: Final = ("outputs", "keep_frames")
"""Settings that may differ when a render is continued: no frame depends on them."""


def resolved_dict(config: Config) -> dict[str, Any]:
    """Return everything a render depends on, JSON-able and in a stable order.

    `config_from` reads it back. Frame rates are texts such as "30000/1001"; a model's default
    layer is written out.
    """
    data = config.model_dump(mode="json")
    data["dream"]["layers"] = {
        term.layer: {
            "weight": term.weight.written(),
            "objective": term.objective,
            "channels": _written_channels(term.channels),
        }
        for term in config.dream.layer_terms()
    } or None
    return data


def _written_channels(channels: Chosen) -> Any:
    if isinstance(channels, Each | ChannelSchedule):
        return channels.written()
    return None if channels is None else list(channels)


def config_hash(resolved: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, of a resolved config without what is `PICTURE_NEUTRAL`."""
    kept = {key: value for key, value in resolved.items() if key not in PICTURE_NEUTRAL}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def differing_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys at which two resolved configs differ, but for `PICTURE_NEUTRAL`."""
    return [
        dotted(path) for path in _differences(ours, theirs, ()) if path[0] not in PICTURE_NEUTRAL
    ]


def _differences(ours: Any, theirs: Any, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in dict.fromkeys([*ours, *theirs]):
            yield from _differences(ours.get(key), theirs.get(key), (*path, key))
    elif ours != theirs:
        yield path
