"""Any video becomes facts and a working copy, in one decoding pass.

The working copy has what the rest of the program may rely on: upright RGB, square pixels, BT.709,
constant rate, even size, every frame a key frame, so that any of them is found exactly and fast.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipeline.errors import EncodeError, InputError
from pipeline.media import ffmpeg
from pipeline.media.atomic import output, remove
from pipeline.media.cuts import Comparison
from pipeline.media.facts import COPY, FACTS, Facts, write_facts
from pipeline.media.ffmpeg import Size
from pipeline.media.images import MAX_PIXELS
from pipeline.media.interlaced import field_filters, is_combed
from pipeline.media.probe import Probe, probe
from pipeline.media.program import require
from pipeline.media.timing import Timing, timing
from pipeline.media.upright import upright_filter, working_size

# Lossless and intra-only. Against FFV1 (four slices), measured on two cores at 640x360 and 720p, Ut
# Video with median prediction takes 13 % and 36 % more room but a quarter of the time, both ways.
_LOSSLESS = ("-c:v", "utvideo", "-pred", "median", "-pix_fmt", "gbrp", "-f", "matroska")

_SMALL = 256 * 144  # pixels of the frames that scores and flow are computed on

Progress = Callable[[int, int | None], None]


def ingest(
    path: Path,
    folder: Path,
    *,
    start: Fraction | float | None = None,
    frames: int | None = None,
    size: Size | None = None,
    fps: Fraction | None = None,
    max_pixels: int = MAX_PIXELS,
    on_progress: Progress | None = None,
) -> Facts:
    """Decode a video once, write `folder/source.mkv` and `folder/facts.json`.

    Args:
        path: any video file.
        folder: where the two files go; each appears only when complete, the facts last.
        start: seconds to skip; the nearest frame is the first.
        frames: how many to take at most; None for all.
        size: (width, height) to fit within, shape kept, sides even; None keeps the video's own
            size, less an odd row or column.
        fps: constant rate wanted; None for the video's own (for a variable one, see `choose_rate`).
        max_pixels: the most pixels a frame of the working copy may have.
        on_progress: called with frames done and, as far as known, frames in all.

    Returns:
        The facts. If the file is damaged, every frame that can be decoded is in the copy, and
        `ended` says where and why the input ended.

    Raises:
        InputError: no frame of the file can be used, or a frame has too many pixels.
        EncodeError: the copy cannot be written (a full disk, an ffmpeg without Ut Video).
    """
    require("encoder", "utvideo", doing=f"could not copy {path}")
    source = probe(path)
    chosen = working_size(source, size)
    if chosen[0] * chosen[1] > max_pixels:
        raise InputError(
            f"{path} has frames of {chosen[0]}x{chosen[1]} pixels, the limit is max_pixels = "
            f"{max_pixels} (width times height): choose a smaller size"
        )
    clock = timing(source)
    rate = fps or clock.fps
    first = round((start or 0) * rate)
    available = _expected(source, clock, rate, first)
    total = min((n for n in (available, frames) if n is not None), default=None)
    combed = is_combed(source)
    notes = _Notes()
    with output(folder / COPY) as unfinished:
        remove(folder / FACTS)
        begin = clock.first + first / rate
        filters = field_filters(source, combed)
        command = _command(source, clock, chosen, rate, begin, frames, unfinished, filters)
        try:
            steps = list(_steps(command, path, _small_size(chosen), notes, total, on_progress))
        except InputError as error:
            if "No space left" in str(error):
                raise EncodeError(f"could not write {folder / COPY}: no space left") from error
            raise
        if not steps:
            raise InputError(f"{path}: no frame can be decoded from {float(first / rate):g} s on")
        written = ffmpeg.count_frames(unfinished)
        if written != len(steps):
            raise EncodeError(
                f"could not write {folder / COPY}: {len(steps)} frames were decoded, {written} are "
                "in the copy"
            )
    scores, shares = zip(*steps, strict=True)
    ended = _ended(written, total, frames, clock, notes.last)
    facts = Facts(
        name=path.name,
        fingerprint=fingerprint(path),
        frames=written,
        fps=rate,
        size=chosen,
        start=first / rate,
        clock=begin,
        sounds=source.sounds,
        sound_starts=clock.sound_starts,
        scores=scores,
        shares=shares,
        ended=ended,
        warnings=_warnings(source, clock, notes if not ended else _Notes(), combed),
    )
    write_facts(facts, folder)
    return facts


def fingerprint(path: Path) -> str:
    """sha256 of a file's content.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


@dataclass
class _Notes:
    """What the decoder complains of, each with about which frame it was at."""

    frame: int = 0
    complaints: list[tuple[int, str]] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        if "[error]" in line or "[fatal]" in line:
            self.complaints.append((self.frame, ffmpeg.plain(line)))

    @property
    def last(self) -> str:
        """The last complaint, "" if there was none."""
        return self.complaints[-1][1] if self.complaints else ""


def _expected(source: Probe, clock: Timing, rate: Fraction, first: int) -> int | None:
    """Count the frames that should come from `first` on; refuse a start behind the end."""
    if clock.frames is None:
        return None
    total = round(clock.frames * rate / clock.fps)
    if (
        clock.trouble or clock.cut
    ) and source.seconds is not None:  # packets are missing: believe the header
        total = max(total, round(source.seconds * rate))
    if first >= total:
        raise InputError(
            f"{source.path} has {total} frames ({float(total / rate):.2f} s): start = "
            f"{float(first / rate):.2f} s is behind its end"
        )
    return total - first


def _small_size(size: Size) -> Size:
    shrink = min(1.0, (_SMALL / (size[0] * size[1])) ** 0.5)
    return max(2, round(size[0] * shrink / 2) * 2), max(2, round(size[1] * shrink / 2) * 2)


def _command(
    source: Probe,
    clock: Timing,
    size: Size,
    rate: Fraction,
    begin: Fraction,
    frames: int | None,
    copy: Path,
    filters: Sequence[str],
) -> list[str]:
    """Build the one pass: the full frames to the copy, small grey ones to stdout."""
    # -ss only saves decoding what lies far before; which frame is the first is up to fps.
    skipped = begin - clock.first
    seek = ("-ss", f"{float(skipped - 2):.6f}") if skipped > 10 and not clock.straightened else ()
    small = _small_size(size)
    steps = [
        *filters,
        f"setpts=PTS-({begin.numerator}/{begin.denominator})/TB",
        f"fps={ffmpeg.rational(rate)}:start_time=0:round=near",
        *([f"trim=end_frame={frames}"] if frames is not None else []),
        upright_filter(source, size),
        "split[full][s]",
    ]
    compared = f"[s]scale={small[0]}:{small[1]}:flags=area,format=gray[small]"
    passed = ("-fps_mode", "passthrough", "-map_metadata", "-1", "-map_chapters", "-1")
    return [
        *([] if clock.straightened else ["-copyts"]),
        *[*ffmpeg.file_input(source.path, *seek), "-max_error_rate", "1"],
        *["-filter_complex", f"[0:V:0]{','.join(steps)};{compared}"],
        *["-map", "[full]", *passed, *_LOSSLESS, f"file:{copy}"],
        *["-map", "[small]", *passed, "-f", "rawvideo", "pipe:1"],
    ]


def _steps(
    command: list[str],
    path: Path,
    small: Size,
    notes: _Notes,
    total: int | None,
    on_progress: Progress | None,
) -> Iterator[tuple[float, float]]:
    """Run the pass; yield how far and how consistently each frame moves on from the one before."""
    compare = Comparison()
    with ffmpeg.process(
        command,
        error=InputError,
        doing=f"could not decode {path}",
        stdout=True,
        on_line=notes,
        level="level+error",
    ) as running:
        while len(data := running.stdout.read(small[0] * small[1])) == small[0] * small[1]:
            yield compare(np.frombuffer(data, np.uint8).reshape(small[1], small[0]))
            notes.frame += 1
            if on_progress is not None:
                on_progress(notes.frame, None if total is None else max(notes.frame, total))


def _ended(
    written: int, total: int | None, frames: int | None, clock: Timing, complaint: str
) -> str:
    """Say where and why the input ended early; "" if it did not, or all that was wanted came.

    One frame less than the packets promised is nothing (rounding at the end) unless there was
    trouble as well.
    """
    trouble = clock.trouble or clock.cut or complaint
    missing = 0 if total is None else total - written
    if written == frames or (missing <= 0 and not clock.cut) or (missing == 1 and not trouble):
        return ""
    of = f" of {total}" if missing > 0 else ""
    return f"the input ended at frame {written}{of}: {trouble or 'the rest does not decode'}"


def _warnings(source: Probe, clock: Timing, notes: _Notes, combed: bool) -> tuple[str, ...]:
    lines = []
    if source.videos > 1:
        lines.append(f"{source.path.name} has {source.videos} video streams: the first is used")
    if len(source.sounds) > 1:
        lines.append(
            f"{source.path.name} has {len(source.sounds)} sound streams: the first is used"
        )
    if combed:
        lines.append(f"{source.path.name} is interlaced: each frame was made whole from its fields")
    if source.hdr:
        lines.append(f"{source.path.name} is HDR ({source.transfer}): tone-mapped to BT.709")
    if clock.straightened:
        lines.append(
            f"{source.path.name} has a clock that jumps: its frames are joined without gaps, the "
            "sound may be off"
        )
    if notes.complaints:
        frame, words = notes.complaints[0]
        lines.append(
            f"{source.path.name} is damaged: the decoder complained {len(notes.complaints)} times, "
            f"first near frame {frame}: {words}"
        )
    return tuple(lines)
