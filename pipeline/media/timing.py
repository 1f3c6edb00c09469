"""When the frames of a video come, and the constant rate that fits them."""

import itertools
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.errors import InputError
from pipeline.media import ffmpeg
from pipeline.media.probe import Probe

# Rates that clips have on purpose; a measured rate this near to one of them is meant to be it.
_STANDARD = [
    *(
        Fraction(rate)
        for rate in (5, 6, 8, 10, 12, 15, 16, 18, 20, 24, 25, 30, 48, 50, 60, 90, 100)
    ),
    *(Fraction(rate) for rate in (120, 144, 240)),
    *(Fraction(rate * 1000, 1001) for rate in (12, 15, 24, 30, 48, 60, 120)),
    Fraction(25, 2),
]
_NEAR = Fraction(1, 50)
_NO_TIME = -(2**63)
_LONGEST_STILL = 60  # seconds one frame may stay; more is a clock that jumps (joined recordings)
MAX_FPS = 240  # above this the header's rate is a clock (webm says 1000), not a rate of frames


@dataclass(frozen=True)
class Timing:
    """The clock of a video stream.

    Attributes:
        fps: the constant rate its frames have, or are to be given.
        constant: whether they have it already; if not, frames are repeated and left out.
        first: time of the first frame, in seconds on the clock used.
        straightened: whether the file's own clock jumps, so that ffmpeg's corrected one is used.
        frames: how many there will be at that rate, as far as the packets tell; None if they tell
            nothing.
        sound_starts: when each sound stream begins, in seconds on the clock used; None if empty.
        trouble: what went wrong while reading the packets, "" if nothing.
        cut: how the file is known to be shorter than it was, "" if it is not.
    """

    fps: Fraction
    constant: bool
    first: Fraction
    straightened: bool
    frames: int | None
    sound_starts: tuple[Fraction | None, ...]
    trouble: str
    cut: str


@dataclass
class _Packets:
    """One stream's packets: times in seconds, the last one's duration, if these are for showing."""

    times: list[Fraction]
    last: Fraction
    stamped: bool
    tick: Fraction = Fraction(1)


def timing(source: Probe) -> Timing:
    """Read the time of every packet (nothing is decoded) and choose the constant rate.

    Raises:
        InputError: there is not one video packet.
    """
    streams, trouble, jumps = _demux(source, "-copyts")
    first = source.first
    if jumps:
        streams, trouble, _ = _demux(source)
        first = min(streams[0].times) if 0 in streams else Fraction(0)
    nothing = _Packets([], Fraction(0), stamped=True)
    video = streams.get(0, nothing)
    # Decoding times only (AVI): as far apart as the frames, but begun somewhere before them.
    late = Fraction(0) if video.stamped or not video.times else first - min(video.times)
    times = sorted(time + late for time in video.times if time + late >= first)
    fps, constant = choose_rate(times, _unrounded(source), last=video.last)
    frames = None
    if times:
        frames = max(1, round((times[-1] + (video.last or 1 / fps) - first) * fps))
    elif source.seconds is not None:
        frames = max(1, round(source.seconds * fps))
    sounds = (streams.get(1 + index, nothing).times for index in range(len(source.sounds)))
    begins = tuple(min(times, default=None) for times in sounds)
    cut = "" if jumps else _shortfall(source, streams)
    return Timing(fps, constant, first, jumps, frames, begins, trouble, cut)


def _demux(source: Probe, *clock: str) -> tuple[dict[int, _Packets], str, bool]:
    """Read all packets; return them by stream, the last error, and whether the clock jumps."""
    lines: list[str] = []
    packets = ["-map", "0:V:0", "-map", "0:a?", "-c", "copy", "-f", "framecrc", "pipe:1"]
    try:
        text = ffmpeg.run(
            [*clock, *ffmpeg.file_input(source.path), *packets],
            error=InputError,
            doing=f"{source.path} cannot be read",
            on_line=lines.append,
            level="level+warning",
        ).decode(errors="replace")
    except InputError:
        # A stream that cannot be copied as it is (raw, or cut in the middle) may still decode.
        text = ""
    streams = _packets(text)
    back = (re.search(r"Non-monoton\w+ DTS.*previous: (-?\d+), current: (-?\d+)", x) for x in lines)
    tick = min((packets.tick for packets in streams.values()), default=Fraction(0))
    backward = any((int(match[1]) - int(match[2])) * tick > 1 for match in back if match)
    video = sorted(streams[0].times) if 0 in streams else []
    forward = any(after - before > _LONGEST_STILL for before, after in itertools.pairwise(video))
    errors = [ffmpeg.plain(line) for line in lines if "[error]" in line or "[fatal]" in line]
    return streams, errors[-1] if errors else "", backward or forward


def _unrounded(source: Probe) -> Fraction | None:
    """The rate the header means: Matroska has it in nanoseconds a frame (59.94 as 19001/317)."""
    told = source.fps
    if told is None or source.tick != Fraction(1, 1000):
        return told
    nearest = min(_STANDARD, key=lambda standard: abs(standard - told))
    return nearest if abs(nearest / told - 1) < 1e-5 else told


def _shortfall(source: Probe, streams: dict[int, _Packets]) -> str:
    """Say how the file is shorter than its header tells; "" if it is not or it tells nothing."""
    with source.path.open("rb") as file:
        head = file.read(8)
    length, told = source.path.stat().st_size, int.from_bytes(head[4:8], "little") + 8
    if head[:4] == b"RIFF" and length < told:  # ffmpeg corrects an AVI's duration by this
        return f"the file has {length} of {told} bytes"
    if source.seconds is None or not streams:
        return ""
    begin = min(min(packets.times) for packets in streams.values())
    end = max(max(packets.times) + packets.last for packets in streams.values())
    if end - begin > source.seconds - 0.3:
        return ""
    return f"the file ends after {float(end - begin):.2f} of {source.seconds:.2f} s"


def _packets(text: str) -> dict[int, _Packets]:
    """Parse what the framecrc muxer writes: stream, decoding time, presentation time, duration."""
    ticks: dict[int, Fraction] = {}
    streams: dict[int, _Packets] = {}
    for line in text.splitlines():
        if line.startswith("#tb "):
            number, tick = line[4:].split(": ")
            ticks[int(number)] = Fraction(tick)
        elif line and line[0] != "#":
            stream, decoded, shown, duration = map(int, line.split(",")[:4])
            packets = streams.setdefault(stream, _Packets([], Fraction(0), True, ticks[stream]))
            packets.stamped &= shown != _NO_TIME
            time = (decoded if shown == _NO_TIME else shown) * ticks[stream]
            if not packets.times or time > max(packets.times[-8:]):
                packets.last = duration * ticks[stream]
            packets.times.append(time)
    return streams


def choose_rate(
    times: Sequence[Fraction], told: Fraction | None, *, last: Fraction = Fraction(0)
) -> tuple[Fraction, bool]:
    """Choose a constant rate for frames at these times.

    If every frame falls on its own place of the grid of the told (or the median) rate, that is it,
    exactly. Else, if most intervals are alike (a camera that dropped some), the rate of those; else
    the average, which gives about as many frames as there were.

    Args:
        times: of the frames, in seconds, ascending.
        told: the rate in the file's header, None if it has none.
        last: how long the last frame stays, in seconds; 0 if not known.

    Returns:
        The rate, and whether the frames have it already.
    """
    if told is not None and not 0 < told <= MAX_FPS:
        told = None
    gaps = [after - before for before, after in itertools.pairwise(times) if after > before]
    if not gaps:
        return told or Fraction(25), True
    typical = 1 / statistics.median_low(gaps)
    candidates = [rate for rate in (told, snapped(typical)) if rate is not None]
    for rate in candidates:
        places = [round((time - times[0]) * rate) for time in times]
        if places == list(range(len(times))):
            return rate, True
    alike = sum(abs(gap * typical - 1) <= 0.25 for gap in gaps)
    length = times[-1] - times[0] + last
    average = (len(times) if last else len(gaps)) / length
    rate = typical if alike >= 0.8 * len(gaps) else average
    near = told is not None and abs(told / rate - 1) <= _NEAR
    return (told if near and told is not None else snapped(rate)), False


def snapped(rate: Fraction) -> Fraction:
    """Return the standard rate within two percent, else a simple fraction, at most MAX_FPS."""
    nearest = min(_STANDARD, key=lambda standard: abs(standard / rate - 1))
    if abs(nearest / rate - 1) <= _NEAR:
        return nearest
    return min(rate.limit_denominator(1001), Fraction(MAX_FPS))
