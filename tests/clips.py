"""Small clips, one per trap, made with ffmpeg's own sources when a test asks for them.

Most show a *counter*: 8 blocks of 16 px that spell the frame number in binary, so that a test can
tell which frame it got, whatever codec, size and colours lie between.
"""

import itertools
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import EncodeError
from pipeline.media import ffmpeg
from pipeline.media.program import program, require

COUNTER = "geq=lum='16+219*mod(floor(N/pow(2,floor(X/16))),2)':cb=128:cr=128"
# 128x96: colour bars; black to white in 128 steps; the same with colours of every kind.
RAMP = "geq=r='2*X':g='if(lt(Y,24),2*X,255-2*X)':b='if(lt(Y,24),2*X,128)'"
PALETTE = (
    "smptehdbars=s=128x48,format=gbrp[a];"
    f"nullsrc=s=128x48,format=gbrp,{RAMP}[b];[a][b]vstack,trim=end_frame=3"
)
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "4")
FIELDS = ("-flags", "+ildct+ilme")


def run(*arguments: str) -> None:
    """Run ffmpeg, failing loudly; a test whose clip needs an encoder it lacks is skipped."""
    for option, name in itertools.pairwise(arguments):
        if option in ("-c:v", "-c:a") and name != "copy" and not has("encoder", name):
            pytest.skip(f"{program()} has no {name}")
    ffmpeg.run(arguments, error=EncodeError, doing="could not make a test clip")


def has(kind: Literal["encoder", "filter"], name: str) -> bool:
    """Whether this ffmpeg was built with a part."""
    try:
        require(kind, name, doing="")
    except EncodeError:
        return False
    return True


def lavfi(source: str) -> list[str]:
    return ["-f", "lavfi", "-i", source]


def counter(frames: int = 30, fps: str = "25", size: str = "128x32") -> list[str]:
    """Input arguments for a counter."""
    length = f"nullsrc=s={size}:r={fps},format=yuv420p,{COUNTER},trim=end_frame={frames}"
    return lavfi(length)


def number(frame: NDArray[np.uint8]) -> int:
    """Read the frame number off a counter, at whatever size it is shown."""
    blocks = np.array_split(frame[frame.shape[0] // 4 : -frame.shape[0] // 4], 8, axis=1)
    bits = [block[:, block.shape[1] // 4 : -block.shape[1] // 4].mean() > 128 for block in blocks]
    return sum(1 << place for place, bit in enumerate(bits) if bit)


def encoded(*codec: str, frames: int = 12) -> Callable[[Path], None]:
    return lambda path: run(*counter(frames), *codec, f"file:{path}")


def rotated(degrees: int) -> Callable[[Path], None]:
    """A video to be shown turned counterclockwise, as phones record."""

    def make(path: Path) -> None:
        run(*counter(6), *X264, f"file:{path}")
        # The matrix of its track header (ISO/IEC 14496-12, 8.3.2): ffmpeg can set it since 6.0.
        cos, sin = (round(part(math.radians(degrees))) << 16 for part in (math.cos, math.sin))
        data = bytearray(path.read_bytes())
        struct.pack_into(
            ">9i", data, data.index(b"tkhd") + 44, cos, -sin, 0, sin, cos, 0, 0, 0, 1 << 30
        )
        path.write_bytes(data)

    return make


def coloured(pixels: str, matrix: str, levels: str) -> Callable[[Path], None]:
    """A still of known colours in a YUV kind, correctly converted and tagged."""
    known = matrix.removesuffix("nc")  # as every version of the filter calls it
    convert = f"scale=out_color_matrix={known}:out_range={levels},format={pixels}"
    primaries = {"bt709": "bt709", "smpte170m": "smpte170m", "bt2020nc": "bt2020"}[matrix]
    transfer = "bt709" if matrix == "bt2020nc" else primaries
    tag, written = tags(levels, matrix, primaries, transfer)
    return lambda path: run(*lavfi(f"{PALETTE},{convert},{tag}"), *X264, *written, f"file:{path}")


def tags(levels: str, matrix: str, primaries: str, transfer: str) -> tuple[str, list[str]]:
    """A filter that tags frames, and the options that older encoders take their tags from."""
    told = (levels, matrix, primaries, transfer)
    names = ("range", "colorspace", "color_primaries", "color_trc")
    options = ("-color_range", "-colorspace", "-color_primaries", "-color_trc")
    known = [(n, o, value) for n, o, value in zip(names, options, told, strict=True) if value]
    filters = ":".join(f"{name}={value}" for name, _, value in known)
    return f"setparams={filters}", [word for _, *pair in known for word in pair]


def hdr(transfer: str, *, tagged: bool = True) -> Callable[[Path], None]:
    """Five grey steps as signal levels of a PQ or HLG curve, 10 bits, BT.2020."""
    steps = "geq=lum='64+876*(0.15+0.15*floor(X/26))':cb=512:cr=512,trim=end_frame=3"
    known = ("tv", "bt2020nc", "bt2020") if tagged else ("", "", "")
    tag, written = tags(*known, transfer)
    return lambda path: run(
        *lavfi(f"nullsrc=s=130x32:r=25,format=yuv420p10le,{steps},{tag}"),
        *["-c:v", "libx265", "-x265-params", "log-level=none:lossless=1", *written],
        f"file:{path}",
    )


def interlaced(*codec: str, first: str = "top", combed: bool = True) -> Callable[[Path], None]:
    """24 frames of 25 fps, marked as interlaced: a bar moves 6 px a field, or 12 px a frame."""
    moving = (
        "color=0x202020:s=192x96:r=50[b];color=white:s=20x96:r=50[w];"
        "[b][w]overlay=x='mod(6*n,150)',trim=end_frame=48"
    )
    frames = f"tinterlace=mode=interleave_{first}" if combed else "framestep=2"
    order = f"setfield={'tff' if first == 'top' else 'bff'}"

    def make(path: Path) -> None:
        # FFmpeg 5 goes by an option instead of the frames, and FFmpeg 8 has no such option.
        five = re.match(r"n?5\.", program().version)
        told = ["-top", "1"] if five and first == "top" else []
        source = lavfi(f"{moving},{frames},{order},format=yuv420p")
        run(*source, *codec, *told, f"file:{path}")

    return make


def variable(path: Path) -> None:
    """30 frames that stay 1/15 and 1/30 s in turn (1.5 s)."""
    times = r"setpts='(N*1.5+if(mod(N\,2)\,0.5\,0))/30/TB'"
    run(*counter(30), "-vf", f"settb=1/1000,{times}", "-fps_mode", "vfr", *X264, f"file:{path}")


def dropped(path: Path) -> None:
    """60 frames of 30000/1001 fps, of which a camera lost 20 to 24 and 41."""
    lost = r"select='not(between(n\,20\,24)+eq(n\,41))'"
    run(*counter(60, "30000/1001"), "-vf", lost, "-fps_mode", "passthrough", *X264, f"file:{path}")


def many_streams(path: Path) -> None:
    """Two pictures of different size and two sounds."""
    run(
        *[*counter(10), *lavfi("testsrc=s=64x64:r=25:d=0.4")],
        *[*lavfi("sine=d=0.4"), *lavfi("anoisesrc=d=0.4")],
        *["-map", "0", "-map", "1", "-map", "2", "-map", "3", *X264, "-c:a", "aac", f"file:{path}"],
    )


def late(path: Path) -> None:
    """The picture begins 1.48 s after the sound."""
    shift = ["-itsoffset", "1.48", *counter(30)]
    # AAC begins before 0, and to make room for that FFmpeg 5 delays all of a Matroska file.
    sound = "aac" if path.suffix == ".mp4" else "flac"
    streams = ["-map", "1", "-map", "0", "-fps_mode", "passthrough", *X264, "-c:a", sound]
    run(*lavfi("sine=d=3"), *shift, *streams, f"file:{path}")


def no_duration(path: Path) -> None:
    """Matroska as a live stream leaves it: no duration, no index."""
    live = ["-f", "matroska", "-live", "1", "pipe:1"]
    data = ffmpeg.run([*counter(30), *X264, *live], error=EncodeError, doing="no_duration")
    path.write_bytes(data)


def cut_off(share: float, *codec: str) -> Callable[[Path], None]:
    """A file of which only the first part arrived."""

    def make(path: Path) -> None:
        run(*counter(100), *codec, f"file:{path}")
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def damaged(path: Path) -> None:
    """Bytes in the middle are overwritten."""
    noise = "testsrc2=s=192x128:r=25,noise=alls=40:allf=t,trim=end_frame=50"
    run(*lavfi(noise), *X264, "-g", "10", "-movflags", "+faststart", f"file:{path}")
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data) * 2 // 3, 3001):
        data[place : place + 40] = bytes(40)
    path.write_bytes(bytes(data))


def joined(later: float) -> Callable[[Path], None]:
    """Two recordings of 30 frames, the second's clock begun anew or hours later, end to end."""

    def make(path: Path) -> None:
        parts = [path.with_name(f"{part}_{path.name}") for part in "ab"]
        for part, offset in zip(parts, (0, later), strict=True):
            run(*counter(30), *X264, "-output_ts_offset", str(offset), f"file:{part}")
        path.write_bytes(b"".join(part.read_bytes() for part in parts))

    return make


def sound_only(path: Path) -> None:
    run(*lavfi("sine=d=0.5"), f"file:{path}")


def with_cover(path: Path) -> None:
    """A song whose only picture is its cover."""
    cover = path.with_suffix(".png")
    run(*lavfi("color=red:s=64x64"), "-frames:v", "1", "-c:v", "png", f"file:{cover}")
    song = [*lavfi("sine=d=0.5"), "-i", f"file:{cover}", "-map", "0", "-map", "1", "-c:v", "copy"]
    run(*song, "-disposition:v", "attached_pic", f"file:{path}")


def flashes(*sound: str, late_sound: float = 0, late_picture: float = 0) -> Callable[[Path], None]:
    """30 s at 15000/1001 fps: every second a white flash and a beep begin together."""
    flash = (
        "color=black:s=32x32:r=15000/1001:d=30,"
        r"drawbox=c=white:t=fill:enable='lt(mod(t\,1)\,0.06)'"
    )
    beep = r"aevalsrc='if(lt(mod(t\,1)\,0.05)\,sin(2*PI*1000*t)\,0)':s=48000:d=30"
    return lambda path: run(
        *["-itsoffset", str(late_picture), *lavfi(flash)],
        *["-itsoffset", str(late_sound), *lavfi(beep)],
        *[*X264, *sound, f"file:{path}"],
    )


def tone(layout: str, *codec: str) -> Callable[[Path], None]:
    """0.8 s of counter with a tone in every channel of a layout."""
    source = f"sine=d=1,aformat=channel_layouts=mono,aresample=44100,pan={layout}|" + "|".join(
        f"c{channel}=c0" for channel in range({"mono": 1, "stereo": 2, "5.1": 6}[layout])
    )
    return lambda path: run(*counter(20), *lavfi(source), *X264, *codec, f"file:{path}")


def text(words: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(words, encoding="utf-8") and None


def _colours() -> dict[str, Callable[[Path], None]]:
    return {
        f"colours_{pixels}_{matrix}_{levels}.mp4": coloured(pixels, matrix, levels)
        for pixels in ("yuv420p", "yuv444p", "yuv422p10le")
        for matrix in ("bt709", "smpte170m", "bt2020nc")
        for levels in ("tv", "pc")
    }


CLIPS: dict[str, Callable[[Path], None]] = {
    "plain.mp4": encoded(*X264, frames=60),
    "rotated_90.mp4": rotated(90),
    "rotated_180.mp4": rotated(180),
    "rotated_270.mov": rotated(270),
    "wide_pixels.mp4": encoded("-vf", "setsar=3/2", *X264),
    "odd.mkv": lambda path: run(*counter(6, size="129x33"), "-c:v", "ffv1", f"file:{path}"),
    "odd_420.webm": lambda path: run(
        *counter(6, size="129x33"), "-c:v", "libvpx-vp9", f"file:{path}"
    ),
    "one_pixel.mkv": lambda path: run(
        *lavfi("color=red:s=2x2:d=0.2,format=gbrp,crop=1:1"), "-c:v", "ffv1", f"file:{path}"
    ),
    "ten_bits.mkv": encoded(
        "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", "log-level=0"
    ),
    "444.mp4": encoded("-pix_fmt", "yuv444p", *X264),
    "vp8.webm": encoded("-c:v", "libvpx", "-b:v", "1M"),
    "vp9.webm": encoded("-c:v", "libvpx-vp9", "-b:v", "1M", "-deadline", "realtime"),
    "av1.mkv": encoded("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"),
    "hevc.mp4": encoded("-c:v", "libx265", "-x265-params", "log-level=none"),
    "mpeg4.avi": encoded("-c:v", "mpeg4", "-q:v", "2"),
    "h264.avi": encoded(*X264, "-bf", "2"),
    "prores.mov": encoded("-c:v", "prores_ks"),
    "mjpeg.mov": encoded("-c:v", "mjpeg", "-q:v", "2", "-strict", "-1"),
    "animated.gif": encoded("-r", "10"),
    "stream.ts": encoded(*X264, "-bf", "2"),
    "raw.h264": encoded(*X264),
    "interlaced.mp4": interlaced(*X264, *FIELDS),
    "interlaced_bottom.mpg": interlaced("-c:v", "mpeg2video", *FIELDS, first="bottom"),
    "interlaced_mark_only.mp4": interlaced(*X264, *FIELDS, combed=False),
    "variable.mkv": variable,
    "variable.mp4": variable,
    "dropped.mp4": dropped,
    "many_streams.mkv": many_streams,
    "late.mp4": late,
    "late.mkv": late,
    "no_duration.mkv": no_duration,
    "pq.mp4": hdr("smpte2084"),
    "hlg.mp4": hdr("arib-std-b67"),
    "pq_half_tagged.mp4": hdr("smpte2084", tagged=False),
    "truncated.mp4": cut_off(0.5, *X264, "-movflags", "+faststart"),
    "truncated.mkv": cut_off(0.5, *X264),
    "truncated.avi": cut_off(0.8, "-c:v", "mpeg4", "-q:v", "2"),
    "truncated.ts": cut_off(0.5, *X264),
    "headless.mp4": cut_off(0.5, *X264),
    "damaged.mp4": damaged,
    "clock_back.ts": joined(0),
    "clock_ahead.ts": joined(7200),
    "sound.m4a": sound_only,
    "cover.mp3": with_cover,
    "empty.mp4": text(""),
    "text.mp4": text("this is not a video\n" * 50),
    "concat_list.mp4": text("ffconcat version 1.0\nfile 'plain.mp4'\n"),
    "hls_list.mp4": text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nplain.mp4\n#EXT-X-ENDLIST\n"
    ),
    "sdp.mp4": text("v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
    "flashes_aac.mp4": flashes("-c:a", "aac"),
    "flashes_late_sound.mp4": flashes("-c:a", "aac", late_sound=0.7),
    "flashes_late_picture.mkv": flashes("-c:a", "libopus", late_picture=0.7),
    "flashes_vorbis.mkv": flashes("-c:a", "libvorbis"),
    "flashes.ts": flashes("-c:a", "ac3"),
    "mono.mp4": tone("mono", "-c:a", "aac"),
    "surround.mp4": tone("5.1", "-c:a", "aac"),
    "surround_ac3.mkv": tone("5.1", "-c:a", "ac3"),
    "stereo_pcm.mov": tone("stereo", "-c:a", "pcm_s16le"),
    **_colours(),
}


def make(name: str, folder: Path) -> Path:
    """Return the clip of this name in a folder, made at the first call."""
    path = folder / name
    if not path.exists():
        CLIPS[name](path)
    return path
