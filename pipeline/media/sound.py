"""The sound of a video beside the picture of its dream."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipeline.media import ffmpeg
from pipeline.media.facts import Facts
from pipeline.media.files import check_readable
from pipeline.media.program import require

# What MP4 takes and players play. PCM and Vorbis can be put into MP4 too, but few play them.
_IN_MP4 = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}

# Packets cannot be cut: what lies before the picture is hidden by an edit list, and that is kept
# for what encoders put before the first sample anyway. More than this is cut off on samples.
_HIDDEN = Fraction(1, 10)


@dataclass(frozen=True)
class Sound:
    """A stretch of one sound stream of a file.

    Attributes:
        path: the file the sound is in.
        clock: the moment that belongs to the first frame, in seconds on the file's own clock.
        duration: how long the picture is, in seconds; the sound ends with it at the latest.
        stream: which of the file's sound streams, from 0.
        copy: take the encoded packets as they are; else cut on samples and encode as AAC.
    """

    path: Path
    clock: Fraction
    duration: Fraction
    stream: int = 0
    copy: bool = False


@dataclass(frozen=True)
class SoundTrack:
    """ffmpeg arguments that add sound to a command: after its inputs, and after its video map."""

    kind: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def sound_of(facts: Facts, path: Path) -> Sound | None:
    """Return the sound that belongs to an ingested video, None if it has none.

    It is copied if the video was taken from its start and MP4 takes the codec. The offset between
    sound and picture is that of the source in either case.

    Args:
        facts: of the ingest.
        path: the original file, which is still needed for its sound.
    """
    for stream, (sound, begin) in enumerate(zip(facts.sounds, facts.sound_starts, strict=True)):
        if begin is None:
            continue
        early = facts.clock - begin
        copy = facts.start == 0 and sound.codec in _IN_MP4 and early <= _HIDDEN
        return Sound(path, facts.clock, facts.duration, stream, copy)
    return None


def sound_track(sound: Sound | None, *, opus: bool = False) -> SoundTrack:
    """Return the arguments for a sound; `kind` is "none", "copied", "aac" or "opus".

    With `opus`, which WebM needs, nothing is copied. The arguments expect `-copyts`, so that times
    are those of the file, and the picture to begin at 0.

    Raises:
        InputError: the file with the sound is gone.
        EncodeError: this ffmpeg has no encoder for it.
    """
    if sound is None:
        return SoundTrack("none")
    check_readable(sound.path)
    shift = f"{-sound.clock.numerator / sound.clock.denominator:.6f}"
    length = f"{float(sound.duration):.6f}"
    chosen = ("-map", f"1:a:{sound.stream}")
    if sound.copy and not opus:
        # The last packet that begins before the end is whole: with half a packet (of AAC) less the
        # sound ends at most that much before or after the picture.
        length = f"{max(0.001, float(sound.duration) - 0.012):.6f}"
        inputs = ffmpeg.file_input(sound.path, "-itsoffset", shift, "-t", length)
        return SoundTrack("copied", tuple(inputs), (*chosen, "-c:a", "copy"))
    inputs = ffmpeg.file_input(sound.path, "-itsoffset", shift)
    # The encoder's own bit rate goes by the layout: 69 kb/s for mono, 128 stereo, 341 for 5.1.
    # Cut to the picture's time, then fill what is missing (a late start, gaps) with silence.
    cut = f"atrim=start=0:end={length},aresample=async=1:first_pts=0"
    require("encoder", "libopus" if opus else "aac", doing=f"could not encode {sound.path}'s sound")
    if opus:  # the encoder takes 5.1 with its surround channels behind, not beside
        known = f"{cut},aformat=channel_layouts=7.1|5.1|5.0|quad|3.0|stereo|mono"
        return SoundTrack("opus", tuple(inputs), (*chosen, "-af", known, "-c:a", "libopus"))
    # FFmpeg before 9 would write other layouts (5.1 with side channels) in a way few players know.
    known = f"{cut},aformat=channel_layouts=7.1|7.1(wide)|5.1|5.0|4.0|3.0|stereo|mono"
    return SoundTrack("aac", tuple(inputs), (*chosen, "-af", known, "-c:a", "aac"))
