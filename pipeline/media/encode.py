"""Frames to MP4 and WebM: BT.709, the exact frame rate, sound beside the picture."""

import functools
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import EncodeError
from pipeline.media import ffmpeg
from pipeline.media.atomic import output
from pipeline.media.ffmpeg import Frame, Size
from pipeline.media.program import program, require
from pipeline.media.raw_frames import check_frame, write_frames
from pipeline.media.sound import Sound, SoundTrack, sound_track

# ffmpeg takes untagged RGB to BT.601 and leaves the result untagged: players then show shifted
# colours. So the matrix is chosen, and what was chosen is written into the stream.
TO_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)

# Quality on x264's crf scale (0 lossless, 18 hard to tell from the source, 51 worst), by encoder.
_QUALITY: dict[str, Callable[[int, str], list[str]]] = {
    "libx264": lambda crf, preset: ["-crf", str(crf), "-preset", preset],
    "h264_nvenc": lambda crf, preset: ["-rc", "vbr", "-cq", str(crf), "-b:v", "0"],
    "libopenh264": lambda crf, preset: [
        "-rc_mode",
        "quality",
        "-qmin",
        str(crf),
        "-qmax",
        str(crf),
    ],
}

# Which video encoder each kind of output needs.
_WRITES = {"mp4": "libx264", "webm": "libvpx-vp9", "webp": "libwebp_anim", "gif": "gif"}

# Windows takes 32,767 characters for a whole command, in which each quote counts twice.
_LONGEST_ARGUMENT = 8_000


@dataclass(frozen=True)
class VideoFacts:
    """What was written.

    Attributes:
        path: the file.
        size: (width, height) of the picture in it, even.
        fps: exact frame rate.
        frames: how many, read back from the file.
        bytes: length of the file.
        encoder: the encoder that was used.
        sound: "none", "copied", "aac" or "opus".
    """

    path: Path
    size: Size
    fps: Fraction
    frames: int
    bytes: int
    encoder: str
    sound: str


def encode_mp4(
    frames: Iterable[Frame],
    path: Path,
    *,
    size: Size,
    fps: Fraction,
    crf: int = 18,
    preset: str = "medium",
    encoder: str = "libx264",
    comment: str = "",
    sound: Sound | None = None,
) -> VideoFacts:
    """Write frames as an H.264 MP4 that any player shows with the right colours and speed.

    4:2:0 has one colour sample for 2x2 pixels, so an odd side gets one more row or column, a copy
    of the last one: nothing of the picture is lost and no line of another colour shows.

    Args:
        frames: uint8 RGB (height, width, 3), taken one by one; memory does not grow with them.
        path: the file; it appears only when complete, a failed or killed run leaves it untouched.
        size: (width, height) of every frame, any size.
        fps: the frame rate, kept as a fraction: 30000/1001 stays 30000/1001.
        crf: constant quality, 0 (lossless) to 51 (worst).
        preset: x264's speed against size: ultrafast ... medium ... veryslow.
        encoder: libx264, h264_nvenc or libopenh264; tried on a few frames first.
        comment: metadata that survives in MP4, such as the render's configuration.
        sound: a track to put beside the picture; None for none.

    Returns:
        What was written.

    Raises:
        InputError: the file with the sound is gone.
        EncodeError: no frames, frames of another size, an encoder that does not work here, a full
            disk, or whatever else ffmpeg says.
    """
    check_encoder(encoder)
    return _write(
        frames,
        path,
        size=size,
        fps=fps,
        codec=(encoder, *_QUALITY[encoder](crf, preset)),
        container=("-movflags", "+faststart", "-f", "mp4"),
        comment=comment,
        track=sound_track(sound),
    )


def encode_webm(
    frames: Iterable[Frame],
    path: Path,
    *,
    size: Size,
    fps: Fraction,
    crf: int = 30,
    speed: int = 2,
    comment: str = "",
    sound: Sound | None = None,
) -> VideoFacts:
    """Write frames as a VP9 WebM with Opus sound, for browsers; else like `encode_mp4`.

    Args:
        frames: as there.
        path: the file; it appears only when complete, a failed or killed run leaves it untouched.
        size: (width, height) of every frame, any size.
        fps: the frame rate; WebM's clock rounds each frame's time to 1/1000 s.
        crf: constant quality, 0 (best) to 63 (worst).
        speed: libvpx's trade of size for time: 0 smallest, 5 fastest.
        comment: metadata that survives in WebM.
        sound: a track to put beside the picture; None for none.

    Returns:
        What was written.

    Raises:
        InputError: the file with the sound is gone.
        EncodeError: as `encode_mp4`.
    """
    try_encoder("libvpx-vp9", instead="write an mp4")
    quality = ("-crf", str(crf), "-b:v", "0", "-deadline", "good", "-cpu-used", str(speed))
    return _write(
        frames,
        path,
        size=size,
        fps=fps,
        codec=("libvpx-vp9", *quality, "-row-mt", "1"),
        container=("-f", "webm"),
        comment=comment,
        track=sound_track(sound, opus=True),
    )


def _write(
    frames: Iterable[Frame],
    path: Path,
    *,
    size: Size,
    fps: Fraction,
    codec: Sequence[str],
    container: Sequence[str],
    comment: str,
    track: SoundTrack,
) -> VideoFacts:
    doing = f"could not write {path}"
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    inputs = 2 if track.inputs else 1
    with output(path) as unfinished, _commented(comment, inputs) as (described, metadata):
        arguments = [
            *["-copyts", *ffmpeg.frames_input(even, fps), *track.inputs, *described],
            *["-map", "0:v:0", *track.outputs],
            *["-vf", TO_BT709, "-c:v", *codec],
            *[*metadata, *container, f"file:{unfinished}"],
        ]
        pictures = _padded(frames, size, even, doing)
        given = write_frames(pictures, arguments, size=even, doing=doing)
        if given == 0:
            raise EncodeError(f"{doing}: there are no frames to write")
        written = ffmpeg.count_frames(unfinished)
        if written != given:
            raise EncodeError(f"{doing}: {given} frames were given, {written} are in the file")
        length = unfinished.stat().st_size
    return VideoFacts(path, even, fps, written, length, codec[0], track.kind)


@contextmanager
def _commented(comment: str, inputs: int) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Arguments that put a comment into a file: one more input, if need be, and what is made of it.

    Args:
        comment: of any length; a long one is handed over in a file.
        inputs: how many the command has already.
    """
    if len(comment) <= _LONGEST_ARGUMENT:
        yield (), ("-metadata", f"comment={comment}")
        return
    with tempfile.TemporaryDirectory(prefix="comment-") as folder:
        file = Path(folder, "comment.txt")
        escaped = re.sub(r"([=;#\\\r\n])", r"\\\1", comment)
        file.write_bytes(f";FFMETADATA1\ncomment={escaped}\n".encode())
        yield ("-f", "ffmetadata", "-i", f"file:{file}"), ("-map_metadata", str(inputs))


def _padded(frames: Iterable[Frame], size: Size, even: Size, doing: str) -> Iterator[Frame]:
    right, bottom = even[0] - size[0], even[1] - size[1]
    for number, frame in enumerate(frames):
        check_frame(frame, number, size=size, doing=doing)
        if size == even:
            yield frame
        else:
            grown = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
            yield np.asarray(grown, np.uint8)


def check_encoder(name: str) -> None:
    """Refuse an H.264 encoder that is not known here or does not work.

    Raises:
        EncodeError: with the reason.
    """
    if name not in _QUALITY:
        raise EncodeError(f"{name} is not a known encoder: use one of {', '.join(_QUALITY)}")
    try_encoder(name, instead="" if name == "libx264" else "use libx264")


@functools.cache
def try_encoder(name: str, *, instead: str = "") -> None:
    """Encode a few frames: an encoder that is listed may still lack its hardware or driver.

    Args:
        name: in ffmpeg's words.
        instead: what else would do, if anything.

    Raises:
        EncodeError: it is not there or does not work; with the reason.
    """
    doing = f"the encoder {name} does not work on this machine"
    require("encoder", name, doing=doing, instead=instead)
    picture = ["-f", "lavfi", "-i", "color=size=256x256:rate=25:duration=0.2"]
    ffmpeg.run(
        [*picture, "-pix_fmt", "yuv420p", "-c:v", name, "-f", "null", "-"],
        error=EncodeError,
        doing=f"{doing} ({instead})" if instead else doing,
    )


def describe_ffmpeg() -> str:
    """Say which ffmpeg this is and which outputs it can write, in one line for a bug report.

    Returns:
        "5.1.9 (/usr/bin/ffmpeg): mp4, webm, webp, gif work"; what does not work is listed too.

    Raises:
        EncodeError: there is no ffmpeg, or one older than 5.1.
    """
    broken = {}
    for kind, encoder in _WRITES.items():
        try:
            try_encoder(encoder)
        except EncodeError:
            broken[kind] = f"{kind} does not ({encoder})"
    works = ", ".join(kind for kind in _WRITES if kind not in broken)
    outputs = "; ".join([f"{works} work" if works else "no video works", *broken.values()])
    return f"{program().version} ({program().path}): {outputs}"
