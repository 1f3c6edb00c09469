"""Interlaced video: half of a frame's lines are from another moment than the other half."""

import re

from pipeline.errors import InputError
from pipeline.media import ffmpeg
from pipeline.media.probe import Probe

# Enough to tell, and about a second of decoding at most.
_SAMPLE = 100
# Where fewer frames show combs than do not, the file is only marked as interlaced (as much
# progressive video from tape and discs is), and to deinterlace it would cost it its sharpness.
_ENOUGH = 0.5
_PARITY = {"T": "tff", "B": "bff"}


def is_combed(source: Probe) -> bool:
    """Whether a file marked as interlaced is, going by the first frames that move.

    Args:
        source: what the file is; only if `source.fields` says so is anything decoded.

    Raises:
        InputError: it cannot be decoded.
    """
    if not source.fields:
        return False
    lines: list[str] = []
    sample = ["-map", "0:V:0", "-frames:v", str(_SAMPLE), "-vf", "idet", "-f", "null", "-"]
    ffmpeg.run(
        [*ffmpeg.file_input(source.path), "-max_error_rate", "1", *sample],
        error=InputError,
        doing=f"could not decode {source.path}",
        on_line=lines.append,
        level="info",
    )
    count = r"Multi frame detection: TFF: *(\d+) BFF: *(\d+) Progressive: *(\d+)"
    # A filter graph that is set up twice reports twice, the first time that it saw nothing.
    top, bottom, whole = map(int, re.findall(count, "\n".join(lines))[-1])
    return top + bottom >= _ENOUGH * (top + bottom + whole)


def field_filters(source: Probe, combed: bool) -> list[str]:
    """Filters that make whole frames of what is marked as interlaced; the frame rate stays.

    Args:
        source: what the file is.
        combed: what `is_combed` found.
    """
    if not source.fields:
        return []
    if not combed:  # the mark is wrong, and scaling goes by it
        return ["setfield=prog"]
    return [f"bwdif=mode=send_frame:parity={_PARITY[source.fields]}:deint=all"]
