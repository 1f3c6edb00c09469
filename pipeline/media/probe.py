"""What a video file holds, before anything is decided about it.

There is no ffprobe beside imageio's ffmpeg, so the facts come from decoding one frame through the
`showinfo` filter, which sees it as every later filter will: rotated, with its exact rate. Of the
rest of ffmpeg's report only the list of the input's streams is read, which FFmpeg 5 to 9 indent
alike, deeper than it the metadata that a stranger may have written.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipeline.errors import InputError
from pipeline.media import ffmpeg
from pipeline.media.ffmpeg import Size
from pipeline.media.files import check_readable
from pipeline.media.program import program

# How FFmpeg 5 to 9 begin the lines on the input, its duration and its streams, at `level+info`.
_INPUT = r"^\[info\] Input #0, "
_DURATION = r"^\[info\]   Duration: (\d+):(\d+):([\d.]+)"
_STREAM = r"^\[info\]   Stream #0:\d+\S*: "

# Transfer functions whose light goes far beyond what BT.709 shows white as.
UNKNOWN = "unknown"
HDR = ("smpte2084", "arib-std-b67")


@dataclass(frozen=True)
class SoundStream:
    """One sound track: its codec and layout in ffmpeg's words ("aac", "5.1"), samples a second."""

    codec: str
    layout: str
    rate: int


@dataclass(frozen=True)
class Probe:
    """What the first video stream of a file is.

    Attributes:
        path: the file.
        stored: (width, height) in pixels after rotation.
        shape: width of a pixel over its height (sample aspect ratio).
        fps: the rate the container tells; a guess for variable rates, None if it tells none.
        transfer: transfer function in ffmpeg's words, "unknown" if untagged.
        matrix: YUV matrix in ffmpeg's words, "unknown" if untagged.
        primaries: colour primaries, likewise.
        levels: "tv" (black is 16 of 255), "pc" (black is 0), or "unknown".
        fields: of its first frame: "T" or "B" if it is marked as interlaced with the top or bottom
            field first, "" if it is whole.
        first: time of the first frame that can be decoded, in seconds on the file's own clock.
        tick: the unit of that clock in seconds.
        videos: how many video streams there are, cover pictures apart.
        sounds: the sound streams, in order.
        seconds: the duration the header tells; None if it tells none, or may tell that of a
            subtitle or data stream.
    """

    path: Path
    stored: Size
    shape: Fraction
    fps: Fraction | None
    transfer: str
    matrix: str
    primaries: str
    levels: str
    fields: str
    first: Fraction
    tick: Fraction
    videos: int
    sounds: tuple[SoundStream, ...]
    seconds: float | None

    @property
    def size(self) -> Size:
        """(width, height) with square pixels: what a player shows."""
        return max(1, round(self.stored[0] * self.shape)), self.stored[1]

    @property
    def hdr(self) -> bool:
        """Whether the picture has to be tone-mapped to be seen on an ordinary screen."""
        return self.transfer in HDR


def probe(path: Path) -> Probe:
    """Look at a video file.

    Raises:
        InputError: it is missing, a directory, empty, a playlist, no video, or not one frame of it
            can be decoded.
    """
    check_readable(path)
    report = _Report()
    show = ["-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"]
    try:
        ffmpeg.run(
            ["-copyts", *ffmpeg.file_input(path), *show],
            error=InputError,
            doing=f"{path} cannot be read as a video",
            on_line=report.lines.append,
            level="level+info",
        )
    except InputError as error:
        raise InputError(report.reason(path) or str(error)) from error
    return report.probe(path)


def _is_animated_webp(path: Path) -> bool:
    """Whether the extended header of a WebP has the flag for it (RFC 9649, section 2.7)."""
    with path.open("rb") as file:
        head = file.read(21)
    return len(head) == 21 and head[8:16] == b"WEBPVP8X" and bool(head[20] & 0x02)


class _Report:
    """What ffmpeg printed about a file."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def reason(self, path: Path) -> str | None:
        """Say in one line why it failed, if it is one of the usual reasons."""
        text = "\n".join(self.lines).replace(f"file:{path}: ", "")
        if not re.search(_INPUT, text, re.MULTILINE):
            if "Format not on whitelist" in text or "Not detecting m3u8" in text:
                return f"{path} is a playlist or another kind of file that is not itself a video"
            errors = [ffmpeg.plain(line) for line in text.splitlines() if "[error]" in line]
            if not errors:
                return None
            damaged = "is not a video that can be read, or is damaged at its start"
            return f"{path} {damaged}: {errors[0]}"
        if not self._streams(text, "Video"):
            kinds = "sound" if self._streams(text, "Audio") else "no picture"
            return f"{path} holds no video stream ({kinds} only)"
        if _is_animated_webp(path):
            return (
                f"{path} is an animated WebP, which FFmpeg reads from version 9 on, and this is "
                f"{program()}: make a GIF or an MP4 of it"
            )
        return None

    @staticmethod
    def _streams(text: str, kind: str) -> list[str]:
        """What is said of each stream of a kind in the input, covers of songs apart."""
        inputs = re.split(r"^\[info\] Stream mapping:", text, maxsplit=1, flags=re.MULTILINE)[0]
        told = re.findall(rf"{_STREAM}{kind}: (.*)", inputs, re.MULTILINE)
        return [stream for stream in told if "(attached pic)" not in stream]

    def probe(self, path: Path) -> Probe:
        text = "\n".join(self.lines)
        frame = re.search(r"\bn: *0 pts: *(\S+) .* sar:(\d+)/(\d+) s:(\d+)x(\d+) i:(\w)", text)
        if frame is None:
            raise InputError(f"{path} has a video stream, but not one frame of it can be decoded")
        across, down, width, height = map(int, frame.groups()[1:5])
        shape = Fraction(across, down) if across and down else Fraction(1)
        clock = re.search(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)", text)
        top, bottom, above, below = map(int, clock.groups()) if clock else (1, 1000, 0, 0)
        tick = Fraction(top, bottom)
        colour = re.search(
            r"color_range:(\S+) color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)", text
        )
        levels, matrix, primaries, transfer = colour.groups() if colour else (UNKNOWN,) * 4
        length = re.search(_DURATION, text, re.MULTILINE)
        hours, minutes, rest = map(float, length.groups()) if length else (0.0, 0.0, 0.0)
        told = (re.match(r"(\w+).*?, (\d+) Hz, ([^,]+)", x) for x in self._streams(text, "Audio"))
        sounds = (match.groups() for match in told if match)
        others = self._streams(text, "(?!Video|Audio)\\w+")
        return Probe(
            path=path,
            stored=(width, height),
            shape=shape,
            fps=Fraction(above, below) if above and below else None,
            transfer=transfer,
            matrix=matrix,
            primaries=primaries,
            levels=levels,
            fields=frame[6].strip("P"),
            first=int(frame[1]) * tick if frame[1] != "NOPTS" else Fraction(0),
            tick=tick,
            videos=len(self._streams(text, "Video")),
            sounds=tuple(SoundStream(codec, layout, int(hz)) for codec, hz, layout in sounds),
            seconds=3600 * hours + 60 * minutes + rest if length and not others else None,
        )
