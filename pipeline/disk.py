"""What a render takes on the disk, told before anything is written."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.media.ffmpeg import Size

# A dreamed frame is stored as it is; an output is small beside its frames.
_FRAME_BYTES = 3.01
# Of a working copy; clips of a camera and animations take 0.9 to 1.4.
_COPY_BYTES = 1.4


def estimate(frames: Sequence[Size], copies: Sequence[Size] = ()) -> int:
    """Bytes that stored frames and the frames of working copies, of these sizes, will take."""
    dreamed, copied = (sum(w * h for w, h in sizes) for sizes in (frames, copies))
    return round(dreamed * _FRAME_BYTES + copied * _COPY_BYTES)


def check_disk(folder: Path, frames: Sequence[Size], copies: Sequence[Size] = ()) -> None:
    """Refuse to start what the disk cannot hold.

    Args:
        folder: of the render.
        frames: (width, height) of every frame to be stored.
        copies: of every frame to be copied first, since it comes from a video.

    Raises:
        PipelineError: there is no room.
    """
    needed, free = estimate(frames, copies), shutil.disk_usage(folder).free
    if needed > free:
        raise PipelineError(
            f"{folder} needs about {needed / 1e6:.0f} MB and the disk has {free / 1e6:.0f} MB free;"
            " make room, or use fewer or smaller frames"
        )
