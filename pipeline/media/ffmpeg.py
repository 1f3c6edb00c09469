"""ffmpeg: how it is given files and frames, how it is run and how it fails.

Every other module describes *what* to decode or encode as a list of arguments; only this one has
the program do it (`program.py` finds it and asks what it is). Nothing goes through a shell, user
paths are always `file:` paths (a name may begin with `-` or `concat:`), and a file that is really a
playlist cannot open other files.
"""

import contextlib
import errno
import io
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import EncodeError, PipelineError
from pipeline.media.program import binary, environment

Frame = NDArray[np.uint8]  # RGB, (height, width, 3)
Size = tuple[int, int]  # width, height

# Formats that are one file each. Left out on purpose: concat, hls, dash, image2 (its names are
# patterns) and everything else whose content names further files or addresses.
FORMATS = (
    "mov", "matroska", "webm", "avi", "gif", "apng", "webp_anim", "mpegts", "mpeg", "mpegvideo",
    "m4v", "h264", "hevc", "vvc", "av1", "obu", "ivf", "vc1", "flv", "asf", "ogg", "nut", "mxf",
    "dv", "rm", "wtv", "yuv4mpegpipe", "mjpeg", "bink", "smk", "flic", "png_pipe", "jpeg_pipe",
    "jpegxl_pipe", "jpegxl_anim", "webp_pipe", "bmp_pipe", "tiff_pipe", "gif_pipe",
    "aac", "ac3", "eac3", "mp3", "flac", "wav", "w64",
)  # fmt: skip

LAST_LINES = 12

# What start_new_session is on Unix; each system ignores the other's word.
_OWN_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


def file_input(path: Path, *options: str) -> list[str]:
    """Arguments that open `path` as one media file, whatever its name or content pretends."""
    protected = ["-protocol_whitelist", "file,pipe", "-format_whitelist", ",".join(FORMATS)]
    return [*protected, *options, "-i", f"file:{path}"]


def frames_input(size: Size, fps: Fraction) -> list[str]:
    """Arguments that read raw RGB frames of `size` (width, height) at exactly `fps` from stdin."""
    layout = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{size[0]}x{size[1]}"]
    return [*layout, "-framerate", rational(fps), "-i", "pipe:0"]


def rational(value: Fraction) -> str:
    """Write a fraction the way ffmpeg reads it without rounding: `30000/1001`."""
    return f"{value.numerator}/{value.denominator}"


class Process:
    """A running ffmpeg: its pipes, its last words and its end.

    It runs in a session of its own, so that Ctrl-C reaches the render alone, which may still want
    the frames in flight. stderr is read by a thread: an unread pipe would stop ffmpeg for ever.

    Args:
        arguments: everything after the program's own name.
        stdin: make a pipe to write to (`self.stdin`).
        stdout: make a pipe to read from (`self.stdout`).
        on_line: called, in the reading thread, with each line ffmpeg prints.
        level: ffmpeg's log level; `level+info` puts `[error]`, `[warning]` ... before each line.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        stdin: bool = False,
        stdout: bool = False,
        on_line: Callable[[str], None] | None = None,
        level: str = "error",
    ) -> None:
        command = [binary(), "-hide_banner", "-nostdin", "-nostats", "-y", "-loglevel", level]
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment(),
            creationflags=_OWN_GROUP,
        )
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._on_line = on_line
        self._reader = threading.Thread(target=self._read_stderr, name="ffmpeg", daemon=True)
        self._reader.start()

    @property
    def stdin(self) -> IO[bytes]:
        """The pipe into ffmpeg."""
        assert self._process.stdin is not None
        return self._process.stdin

    def write(self, data: memoryview) -> None:
        """Write to the pipe into ffmpeg.

        Raises:
            BrokenPipeError: it has closed the pipe, which Windows calls an invalid argument.
        """
        try:
            self.stdin.write(data)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise BrokenPipeError(errno.EPIPE, "ffmpeg has closed its pipe") from error

    @property
    def stdout(self) -> io.BufferedReader:
        """The pipe out of ffmpeg."""
        return cast(io.BufferedReader, self._process.stdout)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            if line:
                self.last_lines.append(line)
                if self._on_line is not None:
                    self._on_line(line)

    def finish(self) -> int:
        """Close stdin, wait for the end and return the exit code."""
        if self._process.stdin is not None:
            # It may have ended before it had read everything: the exit code says why.
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        code = self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def kill(self) -> None:
        """End it now; nothing it wrote is to be used."""
        self._process.kill()
        self.finish()


@contextlib.contextmanager
def process(
    arguments: Sequence[str],
    *,
    error: type[PipelineError],
    doing: str,
    stdin: bool = False,
    stdout: bool = False,
    on_line: Callable[[str], None] | None = None,
    level: str = "error",
) -> Iterator[Process]:
    """Run ffmpeg around a block that feeds or reads it, and check how it ended.

    An exception in the block kills the program and goes on upwards; a pipe that ffmpeg closed first
    is left to the exit code, whose message says more than "broken pipe".

    Args:
        arguments: see `Process`.
        error: what to raise when it fails: InputError while reading, EncodeError while writing.
        doing: begins the message: "could not write outputs/x.mp4".
        stdin: see `Process`.
        stdout: see `Process`.
        on_line: see `Process`.
        level: see `Process`.

    Yields:
        The running process.

    Raises:
        PipelineError: of class `error`, when ffmpeg cannot start or ends with another code than 0.
    """
    try:
        running = Process(arguments, stdin=stdin, stdout=stdout, on_line=on_line, level=level)
    except OSError as failure:
        raise error(f"{doing}: ffmpeg does not start: {failure}") from failure
    try:
        yield running
    except BrokenPipeError:
        pass
    except BaseException:
        running.kill()
        raise
    code = running.finish()
    if code != 0:
        raise error(f"{doing}: {explain(code, running.last_lines)}")


# What ffmpeg adds to every failure once its parts stop one another.
_ECHOES = (
    "Task finished with error",
    "Terminating thread",
    "Conversion failed",
    "Error sending",
    "Last message repeated",
)


def explain(code: int, last_lines: Iterable[str]) -> str:
    """Say why ffmpeg failed: its last lines, without memory addresses, repetitions and echoes."""
    told = dict.fromkeys(plain(line) for line in last_lines)
    lines = [line for line in told if not any(echo in line for echo in _ECHOES)]
    # Windows has no signals: a program that crashed there ends with a code that is known in hex.
    shown = f"{code:#x}" if code > 255 else f"{code}"
    how = f"ended by signal {-code}" if code < 0 else f"failed with code {shown}"
    return f"ffmpeg {how}" + ("".join(f"\n  {line}" for line in lines) or " and said nothing")


def plain(line: str) -> str:
    """Strip a line of ffmpeg's of the parts and addresses, and the level, it begins with."""
    # Windows prints addresses without 0x.
    return re.sub(r"^(\[[^\]]* @ (0x)?[0-9a-f]+\] |\[(error|fatal|warning|info)\] )+", "", line)


def run(
    arguments: Sequence[str],
    *,
    error: type[PipelineError],
    doing: str,
    on_line: Callable[[str], None] | None = None,
    level: str = "error",
) -> bytes:
    """Run ffmpeg to its end and return what it wrote to stdout (empty unless told to).

    Raises:
        PipelineError: of class `error`, with ffmpeg's last lines, unless the exit code is 0.
    """
    with process(
        arguments, error=error, doing=doing, stdout=True, on_line=on_line, level=level
    ) as running:
        return running.stdout.read()


def count_frames(path: Path) -> int:
    """Count the video frames a finished file holds, without decoding them.

    Raises:
        EncodeError: ffmpeg cannot read the file back.
    """
    # A line for each packet. What ffmpeg itself counts is not told alike: FFmpeg 7.0 reports no
    # frames of a stream that is copied, neither at the end nor through -progress.
    report = run(
        [*file_input(path), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "pipe:1"],
        error=EncodeError,
        doing=f"could not read back {path}",
    )
    return sum(bool(line) and not line.startswith(b"#") for line in report.splitlines())
