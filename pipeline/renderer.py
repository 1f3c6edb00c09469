"""The loop: for every batch of the plan, seeds -> dreams -> frame store; then the outputs."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline import build
from pipeline.config import Config
from pipeline.errors import ResumeError
from pipeline.frames import FrameRecord, FrameStore, locked
from pipeline.manifest import Manifest, remove_render
from pipeline.media.ffmpeg import Frame
from pipeline.media.sources import Source
from pipeline.outputs import portable_text, write_output
from pipeline.plan import FrameId, remaining


@dataclass(frozen=True)
class BatchDone:
    """What `on_batch` hears.

    Attributes:
        frames: indices of the frames that were just made.
        iterations: they took; 0 for frames filled from their neighbours.
        seconds: the batch took, from seeds to 8-bit pictures.
        strength: mean of the objective at the last step.
        done: how many frames there are now.
        total: how many there will be.
    """

    frames: tuple[int, ...]
    iterations: int
    seconds: float
    strength: float
    done: int
    total: int


@dataclass(frozen=True)
class Rendered:
    """A finished render.

    Attributes:
        folder: everything it made is in here.
        outputs: the files asked for.
        frames: how many there are.
        dreamed: how many of them this run made.
        encoded: how many outputs this run made.
    """

    folder: Path
    outputs: tuple[Path, ...]
    frames: int
    dreamed: int
    encoded: int


@dataclass(frozen=True)
class Listener:
    """Who is told of progress.

    Attributes:
        batch: after every batch.
        notice: a line worth showing.
    """

    batch: Callable[[BatchDone], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None


def render(
    config: Config,
    *,
    overwrite: bool = False,
    root: Path = Path("outputs"),
    listener: Listener | None = None,
) -> Rendered:
    """Render a config, or continue it where an earlier run stopped.

    Args:
        config: what to render.
        overwrite: start again, deleting what an earlier render of this name made.
        root: the render lands in `root / config.name`.
        listener: is told of progress.

    Returns:
        Where everything is.

    Raises:
        PipelineError: see `pipeline.errors`.
    """
    listener = listener or Listener()
    folder = root / config.name
    source = build.make_source(config)
    total = len(source.sizes)
    with locked(folder):
        if overwrite:
            remove_render(folder)
        manifest = Manifest.open(folder, config, source)
        with FrameStore(folder) as store:
            gone = manifest.finished and not config.keep_frames
            missing = frozenset() if gone else frozenset(range(total)) - store.done(total)
            if gone and manifest.stale_outputs(config):
                raise ResumeError(
                    f"the frames of {folder} were not kept, so other outputs cannot be made; "
                    "--overwrite dreams them again"
                )
            if missing:
                if len(missing) < total:
                    listener.notice(
                        f"continuing: {total - len(missing)} of {total} frames are there"
                    )
                _dream(config, source, store, missing, manifest, listener)
            store.flush()
            encoded = _encode(config, source, store, manifest, listener)
        manifest.finish()
        if not config.keep_frames:
            FrameStore.remove_from(folder, total)
    return Rendered(folder, manifest.output_paths(config), total, len(missing), encoded)


def encode(
    config: Config, *, root: Path = Path("outputs"), listener: Listener | None = None
) -> Rendered:
    """Make the outputs again from the stored frames of a render.

    Raises:
        ResumeError: frames are missing.
        EncodeError: an output could not be written.
    """
    folder = root / config.name
    source = build.make_source(config)
    total = len(source.sizes)
    with locked(folder):
        manifest = Manifest.open(folder, config, source)
        with FrameStore(folder) as store:
            if missing := set(range(total)) - store.done(total):
                raise ResumeError(
                    f"{folder} has {total - len(missing)} of {total} frames; render first"
                )
            manifest.forget_outputs()
            encoded = _encode(config, source, store, manifest, listener or Listener())
        manifest.finish()
    return Rendered(folder, manifest.output_paths(config), total, 0, encoded)


def _dream(
    config: Config,
    source: Source,
    store: FrameStore,
    missing: frozenset[int],
    manifest: Manifest,
    listener: Listener,
) -> None:
    """Make the missing frames."""
    import torch

    from pipeline.feedback.seed import to_pictures

    total = len(source.sizes)
    build.check_disk(store.folder, [source.sizes[frame] for frame in missing])
    resolved = build.resolve_runtime(config, source.sizes[0], manifest.resolved)
    dreamer, engine = build.make_dreamer(config, resolved)
    manifest.record_engine(asdict(resolved), engine)
    listener.notice(build.describe(resolved, engine))
    feedback = build.make_feedback(config, source, resolved.device)
    plan = build.make_plan(config, source, resolved.batch)
    split, left = dreamer.split, set(missing)
    for batch in remaining(plan, {FrameId(0, f) for f in range(total) if f not in missing}):
        start = time.perf_counter()
        frames = [node.id.frame for node in batch.nodes]
        seeds = torch.stack(
            [
                feedback.seed(node, source.read, _parents(node.parents, store))
                for node in batch.nodes
            ]
        )
        dreams = dreamer(
            seeds,
            iterations=batch.iterations,
            keys=[build.frame_key(config.seed, f) for f in frames],
            settings=[build.step_settings(config, f, source.fps) for f in frames],
        )
        pictures = to_pictures(dreams.pictures)
        strengths = dreams.strength.tolist()
        seconds = time.perf_counter() - start
        each = seconds / len(frames)
        store.write(
            [FrameRecord(f, each, s) for f, s in zip(frames, strengths, strict=True)], pictures
        )
        left -= set(frames)
        if dreamer.split != split:
            split, left = dreamer.split, set(missing)
            manifest.record_split(asdict(split))
            listener.notice(f"memory was short: going on in pieces ({split})")
        listener.batch(
            BatchDone(
                tuple(frames),
                batch.iterations,
                seconds,
                sum(strengths) / len(strengths),
                total - len(left),
                total,
            )
        )


def _parents(ids: Iterable[FrameId], store: FrameStore) -> list[Frame]:
    return [store.read(id.frame) for id in ids]


def _encode(
    config: Config, source: Source, store: FrameStore, manifest: Manifest, listener: Listener
) -> int:
    """Make the outputs that are missing or stale; returns how many."""
    stale = manifest.stale_outputs(config)
    for file, output in stale.items():
        start = time.perf_counter()
        paths = write_output(
            output,
            file,
            folder=manifest.folder,
            store=store,
            source=source,
            comment=portable_text(config),
        )
        manifest.record_output(file, output, paths)
        listener.notice(f"wrote {file} in {time.perf_counter() - start:.1f} s")
    return len(stale)
