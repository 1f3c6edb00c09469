"""The ffmpeg program: where it is, which version it is, and what it was built with.

Any ffmpeg from 5.1 on will do: that of imageio-ffmpeg, a distribution's, one built by hand. Such
programs differ in their reports and in their parts, so what is asked of one here is only what all
versions answer alike: the versions of its libraries and the lists of its encoders and filters.
"""

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Literal

import imageio_ffmpeg

from pipeline.errors import EncodeError, PipelineError

# FFmpeg 5.1 brought -fps_mode. Its releases are told apart by the number of their libavutil, since
# a build may call itself anything: "5.1.9-0+deb12u1", "n9.0.2-17-g2a571b6068", "N-118000-g1234".
OLDEST = "5.1"
_OLDEST_LIBAVUTIL = (57, 28)

# Static builds, such as those of imageio-ffmpeg 0.6 and 0.7, crash at every MPEG transport stream
# on a machine with another glibc than their own, whose character sets they load to read the name of
# the channel. Where there is no folder to load them from, they do without.
_NO_CHARACTER_SETS = {"GCONV_PATH": os.devnull}

_REMEDY = (
    f"name a complete ffmpeg of version {OLDEST} or later in IMAGEIO_FFMPEG_EXE, or unset that "
    "and reinstall imageio-ffmpeg"
)


@dataclass(frozen=True)
class Program:
    """An ffmpeg: its path, and the version it gives itself."""

    path: str
    version: str

    def __str__(self) -> str:
        """As messages name it."""
        return f"ffmpeg {self.version} ({self.path})"


@functools.cache
def program() -> Program:
    """Find ffmpeg: the one `IMAGEIO_FFMPEG_EXE` names, or that of imageio-ffmpeg.

    Raises:
        EncodeError: there is none, it does not run, or it is older than 5.1.
    """
    try:
        named = str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EncodeError(f"ffmpeg was not found: {_REMEDY}") from error
    path = shutil.which(named) or named
    report = _ask(path, "-version")
    version = re.match(r"ffmpeg version (\S+)", report)
    library = re.search(r"^libavutil +(\d+)\. *(\d+)\.", report, re.MULTILINE)
    if version is None or library is None:
        raise EncodeError(f"{path} is not an ffmpeg program: {_REMEDY}")
    if (int(library[1]), int(library[2])) < _OLDEST_LIBAVUTIL:
        raise EncodeError(f"{path} is ffmpeg {version[1]}, which is too old: {_REMEDY}")
    return Program(path, version[1])


def binary() -> str:
    """Path of the ffmpeg program.

    Raises:
        EncodeError: see `program`.
    """
    return program().path


def environment() -> dict[str, str]:
    """The environment to run ffmpeg in: this program's own, without character sets."""
    return {**os.environ, **_NO_CHARACTER_SETS}


def require(
    kind: Literal["encoder", "filter"],
    name: str,
    *,
    doing: str,
    instead: str = "",
    error: type[PipelineError] = EncodeError,
) -> None:
    """Refuse, in one line, an ffmpeg that was built without a part that is needed.

    Args:
        kind: of the part.
        name: in ffmpeg's words.
        doing: begins the message: "could not write outputs/x.webm".
        instead: what else would do, if anything: "write a gif".
        error: what to raise.

    Raises:
        PipelineError: of class `error`: what was found and what is needed.
    """
    if name not in _parts(kind):
        remedy = f"{instead}, or {_REMEDY}" if instead else _REMEDY
        raise error(f"{doing}: {program()} was built without the {kind} {name}: {remedy}")


@functools.cache
def _parts(kind: str) -> frozenset[str]:
    """The names of all encoders or filters: the second word of each line after the legend."""
    lines = _ask(binary(), f"-{kind}s").splitlines()
    words = [line.split() for line in lines if not line.lstrip().startswith("-")]
    return frozenset(line[1] for line in words if len(line) > 2 and line[1] != "=")


def _ask(path: str, question: str) -> str:
    try:
        answer = subprocess.run(
            [path, "-hide_banner", question],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it does not answer"
        raise EncodeError(f"{path} cannot be run as ffmpeg ({reason}): {_REMEDY}") from failure
    return answer.stdout.decode(errors="replace")
