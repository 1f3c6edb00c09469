"""The same render with several values of its settings, side by side on one sheet.

    dream sweep configs/photo_dream.yaml dream.step=0.006,0.012 dream.layers=mixed3a,mixed4a

Variants that need no engine of their own (`build.shared` tells) are one render, in which each is an
input: the network is made ready once, and its batches are made of all of them. Each such render is
a folder `outputs/NAME-sweep/render-N/` with a folder for every variant, named after its values.

What is there is the state: a variant that was begun is continued in the render it was begun in, in
its old company, so a sweep that was stopped ends as if it never was. One with more values dreams
the new variants alone, as a further render. Dreams are chaotic, and rounding differs with the
batch: with `runtime.batch: 1` a variant is, to the byte, what `dream render` makes of its values,
and with larger batches an equally good picture that is not the same in every pixel.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

from pipeline.build import first_shown, shared
from pipeline.config import Config, config_from
from pipeline.errors import ResumeError
from pipeline.frames import FrameStore
from pipeline.inputs import look_at_inputs
from pipeline.lock import locked
from pipeline.manifest import recorded_variants, remove_render
from pipeline.media.contact_sheet import Tile, contact_sheet
from pipeline.media.encode import encode_mp4, encode_webm
from pipeline.media.ffmpeg import Frame
from pipeline.media.gif import encode_gif
from pipeline.media.images import fit, write_png
from pipeline.media.webp import encode_webp
from pipeline.renderer import Listener, render
from pipeline.variants import Sweep

_SIDE = 320  # longer side of a tile, pixels: several are looked at together
_MOST_MB = 10  # of an animation that plays in a page


def sweep(
    plan: Sweep,
    *,
    root: Path = Path("outputs"),
    overwrite: bool = False,
    listener: Listener | None = None,
) -> tuple[Path, ...]:
    """Render every variant, then lay their last frames side by side.

    Args:
        plan: from `variants.plan_sweep`.
        root: everything lands in `root / plan.name`.
        overwrite: start again; every render that holds one of the variants is deleted.
        listener: is told of the progress of each render.

    Returns:
        The sheet, then the animations, side by side too, as far as the config asks for any.

    Raises:
        PipelineError: see `pipeline.errors`.
    """
    folder = root / plan.name
    listener = listener or Listener()
    begun = _begun(folder, overwrite)
    if overwrite:
        for name in [name for name, known in begun.items() if known.keys() & plan.configs.keys()]:
            with locked(folder / name):
                remove_render(folder / name)
            del begun[name]
    groups = _groups(plan, folder, begun)
    with ExitStack() as stack:
        clips: dict[str, _Clip] = {}
        for number, (name, configs) in enumerate(groups.items(), 1):
            listener.notice(f"{number} of {len(groups)}: {_in_common(plan, configs)}")
            whole = configs[0].model_copy(update={"name": name})
            done = render(whole, variants=configs, root=folder, listener=listener)
            for config in configs:
                store = stack.enter_context(FrameStore(done.folder / config.name, recent=1))
                frames = done.frames // len(configs)  # of one clip
                clips[config.name] = _Clip(store, first_shown(config), frames)
        grid = _Grid(plan, [clips[variant.config.name] for variant in plan.variants])
        files = [folder / f"{plan.name}.png"]
        write_png(grid[len(grid) - 1], files[0])
        config = plan.variants[0].config
        if len(grid) > 1 and config.source.kind != "images":
            home = next(name for name, configs in groups.items() if config in configs)
            fps = look_at_inputs(config, folder / home)[0].source.fps
            files += [folder / f"{plan.name}.{kind}" for kind in plan.animations]
            for path in files[1:]:
                _animate(grid, path, fps)
    return tuple(files)


def _begun(folder: Path, overwrite: bool) -> dict[str, dict[str, Any]]:
    """What was begun in a sweep's folder: by render, the configs of its variants by name."""
    begun = {}
    for path in sorted(folder.glob("render-*")):
        try:
            variants = recorded_variants(path)
        except ResumeError:
            if not overwrite:
                raise
            variants = {}
        if variants or any(path.glob("*/frames/*.png")):
            begun[path.name] = variants
    return begun


def _groups(
    plan: Sweep, folder: Path, begun: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[Config]]:
    """What is rendered together, by the name of the render.

    A render that was begun is continued as it is, with variants that are no longer asked for; the
    rest is grouped by what it shares.
    """
    wanted, groups = plan.configs, {}
    for name, known in begun.items():
        if known.keys() & wanted.keys():
            groups[name] = [
                wanted.get(variant) or config_from(settings, name=str(folder / name))
                for variant, settings in known.items()
            ]
    there = {config.name for configs in groups.values() for config in configs}
    fresh: dict[str, list[Config]] = defaultdict(list)
    for config in wanted.values():
        if config.name not in there:
            fresh[shared(config)].append(config)
    names = (name for n in count(1) if (name := f"render-{n}") not in begun)
    groups |= dict(zip(names, fresh.values(), strict=False))
    # One network after the other: the one at hand is kept.
    return dict(sorted(groups.items(), key=lambda group: _network(group[1][0])))


def _network(config: Config) -> tuple[str, str]:
    return config.dream.model, config.dream.weights or ""


def _in_common(plan: Sweep, configs: Sequence[Config]) -> str:
    """What a render of several variants is called: how many, and the values they share."""
    names = {config.name for config in configs}
    values = [variant.values for variant in plan.variants if variant.config.name in names]
    common = [each[0] for each in zip(*values, strict=True) if len(set(each)) == 1]
    several = f"{len(configs)} variants side by side"
    return "  ".join(common if len(configs) == 1 else [several, *common])


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
