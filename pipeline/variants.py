"""The configs of a sweep: every combination of the values that its settings are given."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from pipeline.config import Config, load_config, preview
from pipeline.errors import ConfigError

MOST_VARIANTS = 64
ANIMATIONS = ("mp4", "webm", "gif", "webp")
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Variant:
    """One combination of values.

    Attributes:
        values: a caption for each setting that is swept.
        config: the render.
    """

    values: tuple[str, ...]
    config: Config

    @property
    def label(self) -> str:
        """All values in one line."""
        return "  ".join(self.values)


@dataclass(frozen=True)
class Sweep:
    """What is compared.

    Attributes:
        name: of its folder and files.
        title: of the sheet.
        columns: of the sheet: a row for every value of the first setting, if there are several.
        animations: the kinds of output, of `ANIMATIONS`, that the config asks for.
        variants: in the order of the sheet.
    """

    name: str
    title: str
    columns: int | None
    animations: tuple[str, ...]
    variants: tuple[Variant, ...]

    @property
    def configs(self) -> dict[str, Config]:
        """What is rendered, by name."""
        return {variant.config.name: variant.config for variant in self.variants}


def plan_sweep(path: str | Path, settings: Sequence[str], *, small: bool = False) -> Sweep:
    """Make the configs of a sweep.

    Args:
        path: a YAML file.
        settings: `key=value,value,...`; commas inside brackets, braces and quotes do not separate.
            A setting with one value is an override of every variant.
        small: preview size and length.

    Raises:
        ConfigError: nothing to compare, more than `MOST_VARIANTS`, or whatever is wrong with the
            variants' configs, each line once.
    """
    given = [(setting.partition("=")[0], _values(setting)) for setting in settings]
    fixed = [setting for setting, (_, found) in zip(settings, given, strict=True) if not found[1:]]
    swept = {key: found for key, found in given if found[1:]}
    count = prod(map(len, swept.values()))
    if not swept:
        raise ConfigError("a sweep compares values: give some, such as dream.step=0.006,0.012")
    if count > MOST_VARIANTS:
        sizes = " x ".join(str(len(found)) for found in swept.values())
        raise ConfigError(
            f"{sizes} values are {count} variants, and a sweep has at most {MOST_VARIANTS}: "
            "give fewer values, or sweep one setting after the other"
        )
    if len(swept) + len(fixed) < len(settings):
        raise ConfigError("a setting is swept twice: put all of its values behind one `=`")
    configs: list[tuple[tuple[str, ...], Config]] = []
    complaints: dict[str, None] = {}
    for values in product(*swept.values()):
        chosen = [f"{key}={value}" for key, value in zip(swept, values, strict=True)]
        try:
            configs.append((tuple(chosen), load_config(path, [*fixed, *chosen])))
        except ConfigError as error:
            complaints |= dict.fromkeys(str(error).splitlines())
    if complaints:
        raise ConfigError("\n".join(complaints))
    first = configs[0][1]
    return Sweep(
        name=f"{first.name}-sweep{'-preview' if small else ''}",
        title=f"{first.name}: {', '.join(swept)}",
        columns=None if len(swept) == 1 else count // len(next(iter(swept.values()))),
        animations=tuple(o.kind for o in first.outputs if o.kind in ANIMATIONS),
        variants=tuple(_variant(chosen, config, small) for chosen, config in configs),
    )


def _values(setting: str) -> list[str]:
    """Split what stands behind the first `=` at the commas outside brackets and quotes."""
    _, _, text = setting.partition("=")
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "," and depth == 0:
            values.append("")
            continue
        depth += (character in "[{(") - (character in ")}]") if not quote else 0
        values[-1] += character
    return values


def _variant(chosen: Sequence[str], config: Config, small: bool) -> Variant:
    """Name a variant after its values: the same values mean the same folder in every sweep."""
    pairs = [setting.split("=", 1) for setting in chosen]
    values = tuple(f"{key.rpartition('.')[2]} {value}" for key, value in pairs)
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", " ".join(values)).strip("_.-")
    # What the name cannot show, or shows in a case that some file systems do not look at.
    if len(name) > _LONGEST_NAME or any(re.search(r"[^a-z0-9.-]", v) for _, v in pairs):
        digest = hashlib.blake2b("\0".join(chosen).encode(), digest_size=4).hexdigest()
        name = f"{name[:_LONGEST_NAME]}-{digest}"
    own = {"name": name, "outputs": (), "keep_frames": True}
    config = config.model_copy(update=own)
    if small:
        config = preview(config).model_copy(update={"outputs": ()})
    return Variant(values, config)
