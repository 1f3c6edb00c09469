"""Working copies of videos: made once, then taken over by every later run of a render."""

from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from threading import Thread

from pipeline.errors import ResumeError
from pipeline.media.facts import Facts, read_facts
from pipeline.media.ffmpeg import Size
from pipeline.media.images import MAX_PIXELS
from pipeline.media.ingest import fingerprint, ingest
from pipeline.media.working_copy import WorkingCopy

MOST_LANES = 16  # side by side; as many places of a working copy are kept open

# Told of a name, frames done and frames in all (None: not known) while a video is ingested.
Progress = Callable[[str, int, int | None], None]


def open_ingested(
    path: Path,
    folder: Path,
    *,
    fresh: bool,
    on_progress: Progress,
    start: Fraction | float | None,
    frames: int | None,
    size: Size | None,
    fps: Fraction | None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Facts, WorkingCopy]:
    """Ingest a video, unless its folder holds the working copy already.

    Args:
        path: the video; it may be gone once it was ingested.
        folder: of the working copy.
        fresh: whatever lies there is of another render: ingest again.
        on_progress: see `Progress`.
        start: see `ingest`, as for all that follow.
        frames: the most to take.
        size: to fit within.
        fps: of the copy.
        max_pixels: of a frame.

    Raises:
        InputError: it cannot be read.
        ResumeError: it has changed since it was ingested.
    """
    facts = None if fresh else read_facts(folder)
    if facts is None:
        folder.mkdir(parents=True, exist_ok=True)
        # What is ingested will be dreamed: torch, a second to import, is while ffmpeg works.
        Thread(target=import_module, args=("torch",)).start()
        facts = ingest(
            path,
            folder,
            start=start,
            frames=frames,
            size=size,
            fps=fps,
            max_pixels=max_pixels,
            on_progress=lambda done, total: on_progress(path.name, done, total),
        )
    elif path.exists() and fingerprint(path) != facts.fingerprint:
        raise ResumeError(
            f"{path} has changed since {folder} was begun; use another `name`, or --overwrite"
        )
    return facts, WorkingCopy(folder, facts, readers=MOST_LANES)
