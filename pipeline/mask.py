"""What a config's `mask` names, opened: a picture, or a video that was ingested first."""

from collections.abc import Callable
from pathlib import Path

from pipeline.config import Config, VideoSource
from pipeline.config import Mask as MaskConfig
from pipeline.errors import InputError, ResumeError
from pipeline.media.facts import MASK, read_facts
from pipeline.media.ingest import fingerprint, ingest
from pipeline.media.masks import PICTURES, Mask, still_mask
from pipeline.media.sources import Source
from pipeline.media.working_copy import WorkingCopy

MOST_LANES = 16  # side by side; as many places of a working copy are kept open

Progress = Callable[[str, int, int | None], None]


def is_video(mask: MaskConfig) -> bool:
    """Whether a mask has a picture for every frame."""
    return Path(mask.path).suffix.lower() not in PICTURES


def open_mask(
    config: Config, source: Source, folder: Path, *, fresh: bool, on_progress: Progress
) -> Mask | None:
    """Open the mask of one clip; a video is taken at the clip's rate, from the same second on.

    Args:
        config: of the render.
        source: the clip.
        folder: of the clip; a video's working copy goes into `folder/mask`.
        fresh: whatever lies there is of another render: ingest again.
        on_progress: told of name, frames done and frames in all (None: not known) of an ingest.

    Returns:
        The mask; None if the config has none.

    Raises:
        InputError: it cannot be read, or ends before the clip does.
        ResumeError: it has changed since it was ingested.
    """
    wanted = config.mask
    if wanted is None:
        return None
    path, frames = Path(wanted.path), len(source.sizes)
    if not is_video(wanted):
        return still_mask(
            path, fingerprint=fingerprint(path), feather=wanted.feather, invert=wanted.invert
        )
    folder = folder / MASK
    facts = None if fresh else read_facts(folder)
    if facts is None:
        folder.mkdir(parents=True, exist_ok=True)
        facts = ingest(
            path,
            folder,
            start=config.source.start if isinstance(config.source, VideoSource) else 0,
            frames=frames,
            size=source.sizes[0],
            fps=source.fps,
            on_progress=lambda done, total: on_progress(path.name, done, total),
        )
    elif path.exists() and fingerprint(path) != facts.fingerprint:
        raise ResumeError(
            f"{path} has changed since {folder} was begun; use another `name`, or --overwrite"
        )
    if facts.frames < frames:
        raise InputError(
            f"mask: {path} has {facts.frames} frames at {source.fps} fps, and {frames} are needed: "
            "give a longer video, or a picture for all frames"
        )
    copy = WorkingCopy(folder, facts, readers=MOST_LANES)
    return Mask(path.name, facts.fingerprint, copy.read, wanted.feather, wanted.invert)
