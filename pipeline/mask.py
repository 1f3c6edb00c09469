"""What a config's `mask` names, opened: a picture, or a video that was ingested first."""

from pathlib import Path

from pipeline.config import Config, VideoSource
from pipeline.config import Mask as MaskConfig
from pipeline.errors import InputError
from pipeline.ingested import Progress, open_ingested
from pipeline.media.facts import MASK
from pipeline.media.ingest import fingerprint
from pipeline.media.masks import PICTURES, Mask, still_mask
from pipeline.media.sources import Source


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
    facts, copy = open_ingested(
        path,
        folder / MASK,
        fresh=fresh,
        on_progress=on_progress,
        start=config.source.start if isinstance(config.source, VideoSource) else 0,
        frames=frames,
        size=source.sizes[0],
        fps=source.fps,
    )
    if facts.frames < frames:
        raise InputError(
            f"mask: {path} has {facts.frames} frames at {source.fps} fps, and {frames} are needed: "
            "give a longer video, or a picture for all frames"
        )
    return Mask(path.name, facts.fingerprint, copy.read, wanted.feather, wanted.invert, copy.close)
