"""The same render with several values of its settings, side by side on one sheet.

    dream sweep configs/photo_dream.yaml dream.step=0.006,0.012 dream.layers=mixed3a,mixed4a

Every combination is a render of its own in `outputs/NAME-sweep/`, named after its values. So a
sweep that was stopped goes on where it stopped, one with more values makes only what is new, and
the variant that is chosen can be rendered again to the byte: in batches of several variants, which
would round differently, it would be another picture.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod
from pathlib import Path

from pipeline.build import first_shown
from pipeline.config import Config, load_config, preview
from pipeline.errors import ConfigError
from pipeline.frames import FrameStore
from pipeline.inputs import look_at_inputs
from pipeline.media.contact_sheet import Tile, contact_sheet
from pipeline.media.encode import encode_mp4, encode_webm
from pipeline.media.ffmpeg import Frame
from pipeline.media.gif import encode_gif
from pipeline.media.images import fit, write_png
from pipeline.media.webp import encode_webp
from pipeline.renderer import Listener, render

MOST_VARIANTS = 64
ANIMATIONS = ("mp4", "webm", "gif", "webp")
_SIDE = 320  # longer side of a tile, pixels: several are looked at together
_LONGEST_NAME = 80
_MOST_MB = 10  # of an animation that plays in a page


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


def sweep(
    plan: Sweep,
    *,
    root: Path = Path("outputs"),
    overwrite: bool = False,
    listener: Listener | None = None,
) -> tuple[Path, ...]:
    """Render every variant, then lay their last frames side by side.

    Args:
        plan: from `plan_sweep`.
        root: everything lands in `root / plan.name`.
        overwrite: start again.
        listener: is told of the progress of each render.

    Returns:
        The sheet, then the animations, side by side too, as far as the config asks for any.

    Raises:
        PipelineError: see `pipeline.errors`.
    """
    folder = root / plan.name
    listener = listener or Listener()
    with ExitStack() as stack:
        clips = []
        for number, variant in enumerate(plan.variants, 1):
            listener.notice(f"{number} of {len(plan.variants)}: {variant.label}")
            done = render(variant.config, root=folder, overwrite=overwrite, listener=listener)
            if not (done.folder / "frames").is_dir():
                raise ConfigError("a sweep compares one clip: give source.path a single file")
            store = stack.enter_context(FrameStore(done.folder))
            clips.append(_Clip(store, first_shown(variant.config), done.frames))
        grid = _Grid(plan, clips)
        files = [folder / f"{plan.name}.png"]
        write_png(grid[len(grid) - 1], files[0])
        config = plan.variants[0].config
        if len(grid) > 1 and config.source.kind != "images":
            fps = look_at_inputs(config, folder / config.name)[0].source.fps
            files += [folder / f"{plan.name}.{kind}" for kind in plan.animations]
            for path in files[1:]:
                _animate(grid, path, fps)
    return tuple(files)


@dataclass(frozen=True)
class _Clip:
    """The frames of one variant; past its end, the last one."""

    store: FrameStore
    first: int
    end: int

    def at(self, frame: int) -> Frame:
        return self.store.read(min(self.first + frame, self.end - 1))


@dataclass(frozen=True)
class _Grid:
    """All variants' frames as the frames of one clip."""

    plan: Sweep
    clips: Sequence[_Clip]

    def __len__(self) -> int:
        return max(clip.end - clip.first for clip in self.clips)

    def __getitem__(self, frame: int, /) -> Frame:
        if not 0 <= frame < len(self):
            raise IndexError(frame)
        tiles = [
            Tile(
                fit(clip.at(frame), (_SIDE, _SIDE)),
                variant.values[0],
                "  ".join(variant.values[1:]),
            )
            for clip, variant in zip(self.clips, self.plan.variants, strict=True)
        ]
        return contact_sheet(tiles, title=self.plan.title, columns=self.plan.columns, side=_SIDE)

    def __iter__(self) -> Iterator[Frame]:
        return (self[frame] for frame in range(len(self)))


def _animate(grid: _Grid, path: Path, fps: Fraction) -> None:
    height, width = grid[0].shape[:2]
    match path.suffix:
        case ".mp4":
            encode_mp4(grid, path, size=(width, height), fps=fps)
        case ".webm":
            encode_webm(grid, path, size=(width, height), fps=fps)
        case ".gif":
            encode_gif(grid, path, fps=fps, max_mb=_MOST_MB)
        case ".webp":
            encode_webp(grid, path, fps=fps, max_mb=_MOST_MB)


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
    if len(name) > _LONGEST_NAME or re.search(r"[^A-Za-z0-9._ -]", "".join(values)):
        digest = hashlib.blake2b("\0".join(chosen).encode(), digest_size=4).hexdigest()
        name = f"{name[:_LONGEST_NAME]}-{digest}"
    own = {"name": name, "outputs": (), "keep_frames": True}
    config = config.model_copy(update=own)
    if small:
        config = preview(config).model_copy(update={"outputs": ()})
    return Variant(values, config)
