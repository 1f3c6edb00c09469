"""What ingesting a video found out, kept beside the working copy."""

import json
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipeline.media.atomic import output
from pipeline.media.ffmpeg import Size
from pipeline.media.probe import SoundStream

FACTS = "facts.json"
COPY = "source.mkv"
MASK = "mask"  # the folder, beside them, of a mask video's


@dataclass(frozen=True)
class Facts:
    """What is known of a video that was ingested.

    Attributes:
        name: of the file it came from.
        fingerprint: sha256 of that file.
        frames: in the working copy.
        fps: its constant rate.
        size: (width, height) of its frames, even.
        start: seconds from the video's first frame to the first that was taken.
        clock: time of the first frame taken, in seconds on the file's own clock; sound goes by it.
        sounds: the file's sound streams.
        sound_starts: when each begins, on the same clock; None for an empty one.
        scores: scdet's score of each frame, 0 to 100: how far it is from the one before.
        shares: share of pixels that move consistently from the frame before to each frame, 0 to 1.
        ended: at which frame and why the input ended too early; "" if it did not.
        warnings: what a user should know, a line each.
    """

    name: str
    fingerprint: str
    frames: int
    fps: Fraction
    size: Size
    start: Fraction
    clock: Fraction
    sounds: tuple[SoundStream, ...]
    sound_starts: tuple[Fraction | None, ...]
    scores: tuple[float, ...]
    shares: tuple[float, ...]
    ended: str
    warnings: tuple[str, ...]

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return self.frames / self.fps


def write_facts(facts: Facts, folder: Path) -> None:
    """Write `facts.json`; it comes last, so that where it is the working copy is whole."""
    with output(folder / FACTS) as unfinished:
        unfinished.write_text(json.dumps(asdict(facts), default=str), encoding="utf-8")


def read_facts(folder: Path) -> Facts | None:
    """Read the facts of a finished ingest; None if there is none in this folder (or a torn one)."""
    if not (folder / COPY).is_file():
        return None
    try:
        stored: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if set(stored) != {field.name for field in fields(Facts)}:
            return None
        starts = (None if time is None else Fraction(time) for time in stored["sound_starts"])
        exact = {name: Fraction(stored[name]) for name in ("fps", "start", "clock")}
        several = {name: tuple(stored[name]) for name in ("size", "scores", "shares", "warnings")}
        sounds = tuple(SoundStream(**sound) for sound in stored["sounds"])
        return Facts(
            **{**stored, **exact, **several, "sounds": sounds, "sound_starts": tuple(starts)}
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
