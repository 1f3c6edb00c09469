"""A video file, as it is, to a GIF."""

import math
import tempfile
from fractions import Fraction
from pathlib import Path

from pipeline.errors import InputError
from pipeline.media import ffmpeg
from pipeline.media.gif import MAX_FPS, GifFacts, encode_gif
from pipeline.media.images import fit_size
from pipeline.media.interlaced import field_filters, is_combed
from pipeline.media.probe import probe
from pipeline.media.raw_frames import RawFile
from pipeline.media.upright import upright_filter


def convert_to_gif(
    input_path: Path,
    output_path: Path,
    *,
    width: int = 480,
    start: float = 0.0,
    seconds: float | None = 6.0,
    max_mb: float | None = 10.0,
    max_fps: float = MAX_FPS,
    colors: int = 256,
) -> GifFacts:
    """Convert a stretch of any video file to a GIF that fits into a README.

    Rotation and pixel shape are respected, a variable frame rate is made constant.

    Args:
        input_path: the video.
        output_path: the GIF; it appears only when complete.
        width: in pixels at most; a narrower video keeps its own.
        start: where to begin, in seconds.
        seconds: how long at most; None for all of it.
        max_mb: the most megabytes; see `encode_gif`. GitHub shows images up to 10.
        max_fps: the most frames a second; see `encode_gif`.
        colors: in each frame's palette, 4 to 256.

    Returns:
        What was written.

    Raises:
        InputError: the video cannot be read, or ends before `start`.
        EncodeError: the GIF cannot be written, or not within `max_mb`.
    """
    source = probe(input_path)
    size = fit_size(source.size, (min(width, source.size[0]), source.size[1]))
    own = source.fps if source.fps is not None and source.fps <= 240 else Fraction(MAX_FPS)
    fps = own / math.ceil(own / Fraction(max_fps))
    stretch = ["-ss", f"{start:.6f}"] if start else []
    stretch += ["-t", f"{seconds:.6f}"] if seconds is not None else []
    with tempfile.TemporaryDirectory(prefix="gif-") as folder:
        # On disk, since every frame may be wanted three times (sample, attempt, second attempt).
        raw = Path(folder) / "frames.rgb"
        whole = field_filters(source, is_combed(source))
        rate = f"fps={ffmpeg.rational(fps)}"
        filters = ",".join([*whole, rate, upright_filter(source, size)])
        output = ["-map", "0:V:0", "-vf", filters, "-f", "rawvideo", f"file:{raw}"]
        ffmpeg.run(
            [*ffmpeg.file_input(input_path, *stretch), *output],
            error=InputError,
            doing=f"could not decode {input_path}",
        )
        if not raw.exists() or raw.stat().st_size == 0:
            raise InputError(f"{input_path} has no frame from {start:g} s on")
        frames = RawFile(raw, size)
        return encode_gif(
            frames, output_path, fps=fps, max_mb=max_mb, colors=colors, max_fps=max_fps
        )
