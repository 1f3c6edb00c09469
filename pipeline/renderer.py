"""The loop: for every batch of the plan, seeds -> dreams -> frame store; then the outputs."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from pipeline import build
from pipeline.build_feedback import make_composite
from pipeline.config import Config
from pipeline.disk import check_disk
from pipeline.engine.memory import give_back_freed_memory
from pipeline.errors import PipelineError, ResumeError
from pipeline.frames import FrameRecord, FrameStore
from pipeline.ingested import Progress
from pipeline.job import Job, open_job
from pipeline.manifest import Wanted
from pipeline.media.atomic import remove
from pipeline.media.facts import COPY, MASK
from pipeline.outputs import StoredFrames, write_output
from pipeline.plan import Batch, FrameId, most_held, remaining
from pipeline.runtime import describe, resolve_runtime

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.feedback.composite import Composite

_OUTPUTS_AT_ONCE = 2

T = TypeVar("T")


@dataclass(frozen=True)
class BatchDone:
    """What `Listener.batch` hears.

    Attributes:
        frames: that were just made.
        iterations: they took; 0 for frames filled from their neighbours.
        seconds: the batch took, from seeds to 8-bit pictures.
        strength: mean of the objective at the last step.
        done: how many frames there are now.
        total: how many there will be.
    """

    frames: tuple[FrameId, ...]
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
        notes: what a user should know of the inputs, such as where a damaged one ended.
    """

    folder: Path
    outputs: tuple[Path, ...]
    frames: int
    dreamed: int
    encoded: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listener:
    """Who is told of progress.

    Attributes:
        batch: after every batch.
        notice: a line worth showing.
        ingest: name, frames read and frames in all (None: not known) of a video being read.
    """

    batch: Callable[[BatchDone], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None
    ingest: Progress = lambda *_: None


def render(
    config: Config,
    *,
    variants: Sequence[Config] = (),
    overwrite: bool = False,
    root: Path = Path("outputs"),
    listener: Listener | None = None,
) -> Rendered:
    """Render a config, or continue it where an earlier run stopped.

    Args:
        config: what to render.
        variants: to render instead of it, together: each is an input with a folder of its name, and
            batches are made of all of them. They are equal in what `build.shared` tells, as is
            `config`, whose outputs are made of every one.
        overwrite: start again, deleting what an earlier render of this name made.
        root: the render lands in `root / config.name`.
        listener: is told of progress.

    Returns:
        Where everything is.

    Raises:
        PipelineError: see `pipeline.errors`.
        ValueError: variants that cannot be rendered together.
    """
    listener = listener or Listener()
    with open_job(
        config,
        root / config.name,
        variants=variants,
        overwrite=overwrite,
        on_progress=listener.ingest,
    ) as job:
        missing: set[FrameId] = set()
        if config.keep_frames or not job.manifest.finished:
            missing = job.ids - job.done()
        elif job.manifest.stale_outputs(config, job.inputs):
            raise ResumeError(
                f"the frames of {job.manifest.folder} were not kept, so no output can be made "
                "again; --overwrite dreams them again"
            )
        if missing:
            _dream(job, missing, listener)
            give_back_freed_memory()  # a 1080p dream's is gigabytes
        encoded = _encode(job, listener)
        if not config.keep_frames:
            for each in job.inputs:
                each.close()
                FrameStore.remove_from(each.folder, each.frames)
                for copy in (each.folder / COPY, each.folder / MASK / COPY):
                    remove(copy)
        return _rendered(job, len(missing), encoded)


def encode(
    config: Config, *, root: Path = Path("outputs"), listener: Listener | None = None
) -> Rendered:
    """Make the outputs again from the stored frames of a render.

    Raises:
        ResumeError: frames are missing.
        EncodeError: an output could not be written.
    """
    listener = listener or Listener()
    with open_job(config, root / config.name, on_progress=listener.ingest) as job:
        if missing := job.ids - job.done():
            total = len(job.ids)
            raise ResumeError(
                f"{job.manifest.folder} has {total - len(missing)} of {total} frames; render first"
            )
        job.manifest.forget_outputs()
        return _rendered(job, 0, _encode(job, listener))


def _dream(job: Job, missing: set[FrameId], listener: Listener) -> None:
    """Make the missing frames."""
    config, inputs = job.config, job.inputs
    total = len(job.ids)
    check_disk(job.manifest.folder, [inputs[i].source.sizes[f] for i, f in missing])
    if len(missing) < total:
        listener.notice(f"continuing: {total - len(missing)} of {total} frames are there")
    resolved = resolve_runtime(config, inputs[0].source.sizes[0], job.manifest.resolved)
    dreamer, engine = build.make_dreamer(config, resolved)
    remarks = [each for each in (dreamer.slow_because, dreamer.refusal) if each]
    job.manifest.record_engine(asdict(resolved), engine, remarks)
    listener.notice(describe(resolved, engine))
    if dreamer.slow_because:
        listener.notice(dreamer.slow_because)
    plan = build.make_plan(inputs, resolved.batch)
    coming = list(remaining(plan, job.ids - missing))
    for index, held in most_held(plan).items():
        job.stores[index].recent = held
    last = {node.id.input: batch for batch in coming for node in batch.nodes}
    split, slow_because, left = dreamer.split, dreamer.slow_because, set(missing)
    composite = make_composite(inputs, resolved, stores=job.stores, coming=coming)
    with closing(composite):
        for batch in coming:
            start = time.perf_counter()
            dreams = dreamer(
                _seeds(job, batch, composite),
                iterations=batch.iterations,
                keys=[build.frame_key(inputs, node.id) for node in batch.nodes],
                settings=[build.step_settings(inputs, node.id) for node in batch.nodes],
                reach=composite.reach(batch.nodes),
            )
            strength = dreams.strength.tolist()
            pictures = composite.finish(batch.nodes, dreams.pictures)
            _store(job, batch, pictures, strength, start)
            left.difference_update(node.id for node in batch.nodes)
            for index in {node.id.input for node in batch.nodes if last[node.id.input] is batch}:
                job.stores[index].forget()
            if dreamer.split != split:
                split = dreamer.split
                job.manifest.record_split(asdict(split))
                listener.notice(f"memory was short: going on in smaller pieces ({split})")
            if dreamer.slow_because != slow_because:
                slow_because = dreamer.slow_because
                listener.notice(str(slow_because))
            listener.batch(
                BatchDone(
                    frames=tuple(node.id for node in batch.nodes),
                    iterations=batch.iterations,
                    seconds=time.perf_counter() - start,
                    strength=sum(strength) / len(strength),
                    done=total - len(left),
                    total=total,
                )
            )
    for store in job.stores:
        store.flush()


def _seeds(job: Job, batch: Batch, composite: "Composite") -> "Tensor":
    from pipeline.feedback.seed import stacked

    return stacked(
        composite.seed(
            node, [job.stores[parent.input].read(parent.frame) for parent in node.parents]
        )
        for node in batch.nodes
    )


def _store(
    job: Job, batch: Batch, dreams: "Tensor", strength: Sequence[float], start: float
) -> None:
    """Round to 8 bits and hand over to the stores."""
    from pipeline.feedback.seed import to_pictures

    pictures = to_pictures(dreams)
    each = (time.perf_counter() - start) / len(pictures)
    for index, store in enumerate(job.stores):
        mine = [k for k, node in enumerate(batch.nodes) if node.id.input == index]
        if mine:
            store.write(
                [FrameRecord(batch.nodes[k].id.frame, each, strength[k]) for k in mine],
                [pictures[k] for k in mine],
            )


def _encode(job: Job, listener: Listener) -> int:
    """Make the outputs that are missing or stale; returns how many.

    Several at a time: not all that an encoder does is done on several cores. What could be written
    is recorded, whatever became of the others.
    """
    stale = job.manifest.stale_outputs(job.config, job.inputs)
    stopped = Event()
    failures: list[PipelineError] = []

    def write(want: Wanted) -> tuple[list[Path], float]:
        start = time.perf_counter()
        store, config = job.stores[job.inputs.index(want.input)], want.input.config
        count = len(want.input.source.sizes)
        frames = StoredFrames(store, count, build.first_shown(config), stopped)
        return write_output(want, frames, config), time.perf_counter() - start

    with ThreadPoolExecutor(_OUTPUTS_AT_ONCE, thread_name_prefix="encode") as pool:
        running = {pool.submit(write, want): want for want in stale}
        try:
            for done in _completed(running):
                try:
                    paths, seconds = done.result()
                except PipelineError as failure:
                    failures.append(failure)
                    continue
                job.manifest.record_output(running[done], paths)
                several = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
                name = paths[0].relative_to(job.manifest.folder)
                listener.notice(f"wrote {name}{several} in {seconds:.1f} s")
        except BaseException:  # Ctrl-C, above all
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        raise failures[0]
    job.manifest.finish()
    return len(stale)


def _completed(running: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """As `as_completed`, in short waits: on Windows Ctrl-C does not interrupt a long one."""
    left = set(running)
    while left:
        done, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
        yield from done


def _rendered(job: Job, dreamed: int, encoded: int) -> Rendered:
    paths = job.manifest.output_paths(job.config, job.inputs)
    notes = tuple(dict.fromkeys(note for each in job.inputs for note in each.notes))
    return Rendered(job.manifest.folder, paths, len(job.ids), dreamed, encoded, notes)
