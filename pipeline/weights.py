"""Find, download, check and read weight files.

A file comes from one of three places: the package (dreamnet), the path in the config, or
torch.hub's checkpoints directory, where torchvision keeps its downloads and where any file may be
put by hand on a machine without a network.
"""

import hashlib
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.engine.classes import class_index
from pipeline.engine.networks import Network, NetworkSpec, build, spec
from pipeline.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

_ELSE = "or set `weights: path/to/file`; `model: dreamnet` needs none"


@dataclass(frozen=True)
class WeightFile:
    """A file with a network's weights.

    Attributes:
        path: where it is.
        sha256: of its bytes, hexadecimal, for the record.
    """

    path: Path
    sha256: str


def find(
    model: str, path: str | Path | None = None, *, download: bool = True, progress: bool = False
) -> WeightFile:
    """Find the weight file of a network; torch is only imported to download one.

    Args:
        model: key in `networks.MODELS`.
        path: a file of the user's; None for the package's or torchvision's.
        download: fetch a file that torchvision offers and the cache lacks.
        progress: show a bar on stderr while downloading.

    Returns:
        The file; what torchvision offers has been checked against the hash in its name.

    Raises:
        ConfigError: unknown `model`.
        WeightsError: there is no such file, or it is damaged; the message says where to put it.
    """
    facts = spec(model)
    if path is not None:
        own = Path(path).expanduser()
        if not own.is_file():
            raise WeightsError(f"{own}: no such weight file (`weights` of {model})")
        return _hashed(own)
    if facts.embedded:
        return _hashed(Path(__file__).with_name("engine") / facts.file)
    expected = checkpoints() / facts.file
    for cached in (expected, expected.with_suffix(".safetensors")):
        if cached.is_file():
            return _verified(cached)
    if not (facts.hub and download):
        raise WeightsError(
            f"{model} needs weights: put {facts.file} into {expected.parent} {_ELSE}"
        )
    _download(facts, expected, progress)
    return _verified(expected)


def load_state(path: str | Path) -> "dict[str, Tensor]":
    """Read a weight file's tensors, without ever running code from it.

    Args:
        path: .safetensors, or .pth / .pt as `torch.save` writes them.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        WeightsError: another kind of file, a damaged one, or a pickle of more than tensors.
    """
    import torch
    from safetensors.torch import load_file

    path = Path(path)
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise WeightsError(f"{path}: a weight file ends in .safetensors, .pth or .pt")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: refused, it holds more than tensors (a pickle can run code) or is damaged; "
            "a .safetensors file is always accepted"
        ) from error
    except Exception as error:  # whatever the readers raise: the file is of no use
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: not readable as weights ({reason})") from error
    # Training checkpoints keep the weights beside the optimiser's state.
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        raise WeightsError(f"{path}: not a state dict (tensors by name)")
    return dict(state)


def load_network(
    model: str, path: str | Path | None = None, *, download: bool = True, progress: bool = False
) -> tuple[Network, WeightFile]:
    """Find a network's weights and build it with them.

    Args:
        model: see `find`.
        path: see `find`.
        download: see `find`.
        progress: see `find`.

    Raises:
        ConfigError: unknown `model`.
        WeightsError: as `find` and `load_state`, or the file is another network's; the message
            names the file.
    """
    file = find(model, path, download=download, progress=progress)
    return _built(model, file), file


@lru_cache(maxsize=1)  # the renders of a sweep ask for the same network one after the other
def _built(model: str, file: WeightFile) -> Network:
    state = load_state(file.path)
    try:
        return build(model, state)
    except WeightsError as error:
        raise WeightsError(f"{file.path}: {error}") from error


def check_classes(network: Network, file: WeightFile, classes: Iterable[str]) -> None:
    """Hold classes against the classifier that a weight file has.

    Args:
        network: made of the file.
        file: for the message.
        classes: names or numbers, as in `dream.classes`.

    Raises:
        ConfigError: a number beyond the classifier, or a name where it knows other classes.
    """
    facts = spec(network.name)
    for name in classes:
        count = network.module.get_parameter(f"{facts.head}.weight").shape[0]
        if class_index(facts.name, name) >= count:
            raise ConfigError(
                f"dream.classes: {name} is no class of {file.path}, which has 0 to {count - 1}"
            )
        if count != facts.classes and not name.isdecimal():
            raise ConfigError(
                f'dream.classes: "{name}" is a class of ImageNet, and {file.path} has {count} '
                "others; give a number"
            )


def checkpoints() -> Path:
    """Return where torch.hub keeps downloaded weights (its rule, without importing torch)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(os.environ.get("TORCH_HOME", cache)).expanduser() / "hub" / "checkpoints"


def _download(facts: NetworkSpec, target: Path, progress: bool) -> None:
    import torch
    from torchvision.models import get_weight

    url = get_weight(facts.hub).url
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(target), _hash_in(target), progress)
    except (OSError, RuntimeError) as error:  # no network, a full disk; a wrong hash
        raise WeightsError(
            f"{facts.name}: {url} could not be downloaded ({error}); "
            f"put {facts.file} into {target.parent} {_ELSE}"
        ) from error


def _hash_in(path: Path) -> str | None:
    """Read the start of the sha256 that torchvision writes into its files' names."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    return found.group(1) if found else None


def _hashed(path: Path) -> WeightFile:
    with path.open("rb") as file:
        return WeightFile(path, hashlib.file_digest(file, "sha256").hexdigest())


def _verified(path: Path) -> WeightFile:
    file = _hashed(path)
    if not file.sha256.startswith(_hash_in(path) or ""):
        raise WeightsError(
            f"{path}: damaged, its sha256 starts with {file.sha256[:8]}: remove it and run again"
        )
    return file
