"""The sound of a source beside the picture of a render."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipeline.media import ffmpeg


@dataclass(frozen=True)
class Sound:
    """A stretch of one sound track of a file.

    Attributes:
        path: the file the sound is in.
        stream: which of its sound streams, from 0.
        start: the moment in the file, in seconds after its earliest timestamp, that belongs to the
            render's first frame.
        duration: seconds of the render; the sound ends there at the latest.
        copy: keep the encoded packets (only for a stretch from the start, in a codec MP4 takes);
            otherwise the sound is cut on samples and encoded as AAC.
    """

    path: Path
    stream: int = 0
    start: Fraction = Fraction(0)
    duration: Fraction | None = None
    copy: bool = False


@dataclass(frozen=True)
class Track:
    """ffmpeg arguments for a sound track: `kind` is "none", "copied" or "aac"."""

    kind: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def sound_arguments(sound: Sound | None) -> Track:
    """Return what has to stand before and after the video's mapping to have this sound."""
    if sound is None:
        return Track("none")
    length = () if sound.duration is None else ("-t", f"{float(sound.duration):.6f}")
    seek = ("-ss", f"{float(sound.start):.6f}") if sound.start else ()
    inputs = tuple(ffmpeg.file_input(sound.path, *seek, *length))
    codec = (
        ("-c:a", "copy") if sound.copy else ("-c:a", "aac", "-af", "aresample=async=1:first_pts=0")
    )
    return Track("copied" if sound.copy else "aac", inputs, ("-map", f"1:a:{sound.stream}", *codec))
