"""A render that is open: its inputs, its manifest and its frame stores, and nobody else's."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import build
from pipeline.config import Config
from pipeline.disk import check_disk
from pipeline.errors import ConfigError, PipelineError
from pipeline.frames import FrameStore
from pipeline.ingested import Progress
from pipeline.inputs import Input, copies, look_at_inputs, open_inputs, side_by_side
from pipeline.lock import locked
from pipeline.manifest import Manifest, remove_render
from pipeline.plan import FrameId


@dataclass(frozen=True)
class Job:
    """What a render is made from, and where it goes.

    Attributes:
        config: of all of it: what to write, and where and how to run.
        inputs: its clips, each with the config it is dreamed by.
        stores: where the dreams of each input go.
        manifest: of the render.
    """

    config: Config
    inputs: Sequence[Input]
    stores: Sequence[FrameStore]
    manifest: Manifest

    @property
    def ids(self) -> set[FrameId]:
        """Every frame of every input."""
        return {FrameId(i, f) for i, each in enumerate(self.inputs) for f in range(each.frames)}

    def done(self) -> set[FrameId]:
        """Find the frames that are on disk, whole."""
        return {
            FrameId(i, f)
            for i, (each, store) in enumerate(zip(self.inputs, self.stores, strict=True))
            for f in store.done(each.frames)
        }


@contextmanager
def open_job(
    config: Config,
    folder: Path,
    *,
    variants: Sequence[Config] = (),
    overwrite: bool = False,
    on_progress: Progress = lambda *_: None,
) -> Iterator[Job]:
    """Open a render; nobody else can render into its folder meanwhile.

    Args:
        config: of the render.
        folder: of the render.
        variants: see `renderer.render`.
        overwrite: delete what an earlier render made there.
        on_progress: told of name, frames done and frames in all (None: not known) of an ingest.

    Raises:
        PipelineError: see `pipeline.errors`.
        ValueError: variants that cannot be rendered together.
    """
    with locked(folder), ExitStack() as stack:
        if overwrite:
            remove_render(folder)
        manifest = Manifest.open(folder, config, variants)
        if any(build.shared(variant) != build.shared(config) for variant in variants):
            raise ValueError("these variants cannot be rendered together: see `build.shared`")
        try:
            if manifest.fresh and (copied := copies(config)):
                looked = look_at_inputs(config, folder)
                if variants and len(looked) > 1:
                    raise ConfigError("a sweep compares one clip: give source.path a single file")
                sizes = [size for each in looked for size in each.source.sizes]
                check_disk(folder, sizes * max(1, len(variants)), sizes * copied)
            inputs = open_inputs(config, folder, fresh=manifest.fresh, on_progress=on_progress)
            if variants:
                inputs = side_by_side(inputs[0], variants)
            for each in inputs:  # Windows deletes no file that something still reads
                stack.callback(each.close)
            build.check_sizes(config, inputs)
        except PipelineError:
            if manifest.fresh:  # what could not begin does not stand in a mended config's way
                remove_render(folder)
            raise
        manifest.record_inputs(inputs)
        manifest.check_guide(config.dream.guide)
        manifest.check_weights(config.dream.weights)
        stores = [stack.enter_context(FrameStore(each.folder)) for each in inputs]
        yield Job(config, inputs, stores, manifest)
