"""What a config's `outputs` ask for, made from the frame store without dreaming again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from threading import Event
from typing import Any

import yaml

from pipeline.config import (
    Config,
    GifOutput,
    MapsOutput,
    Mp4Output,
    PngOutput,
    PosterOutput,
    SheetOutput,
    WebmOutput,
    WebpOutput,
    resolved_dict,
)
from pipeline.errors import ConfigError, EncodeError
from pipeline.frames import FrameStore
from pipeline.manifest import Wanted
from pipeline.media.encode import encode_mp4, encode_webm
from pipeline.media.ffmpeg import Frame
from pipeline.media.gif import encode_gif
from pipeline.media.images import write_picture, write_png
from pipeline.media.sources import Source
from pipeline.media.webp import encode_webp
from pipeline.names import distinct, usable
from pipeline.sheets import frame_sheet, map_sheet


@dataclass(frozen=True)
class StoredFrames:
    """The frames of a store, from `first` on, as a sequence of uint8 RGB [H, W, 3].

    It ends with an error once `stopped` is set, and so does what is being made of it.
    """

    store: FrameStore
    count: int
    first: int = 0
    stopped: Event = field(default_factory=Event)

    def __len__(self) -> int:
        return self.count - self.first

    def __getitem__(self, frame: int, /) -> Frame:
        if not 0 <= frame < len(self):
            raise IndexError(frame)
        if self.stopped.is_set():
            raise EncodeError("stopped")
        return self.store.read(self.first + frame)

    def __iter__(self) -> Iterator[Frame]:
        return (self[frame] for frame in range(len(self)))


def write_output(want: Wanted, frames: StoredFrames, config: Config) -> list[Path]:
    """Write one output.

    Args:
        want: which, of which input.
        frames: the dreamed frames that it shows, all of them there.
        config: of the render; it travels inside the file.

    Returns:
        The files, in order.

    Raises:
        EncodeError: it could not be written.
        ConfigError: a frame that the render does not have.
        WeightsError: feature maps of a network whose weights are not here.
    """
    source, output, comment = want.input.source, want.output, portable_text(config)
    path = want.input.folder / want.file
    match output:
        case Mp4Output():
            encode_mp4(
                frames,
                path,
                size=source.sizes[0],
                fps=source.fps,
                crf=output.crf,
                preset=output.preset,
                comment=comment,
                sound=want.input.sound,
            )
        case GifOutput():
            encode_gif(
                frames,
                path,
                fps=source.fps,
                width=output.width,
                start=float(output.start),
                seconds=output.seconds,
                max_mb=output.max_mb,
                colors=output.colors,
                max_fps=output.max_fps,
            )
        case WebmOutput():
            encode_webm(
                frames,
                path,
                size=source.sizes[0],
                fps=source.fps,
                crf=output.crf,
                speed=output.speed,
                comment=comment,
                sound=want.input.sound,
            )
        case WebpOutput():
            encode_webp(
                frames,
                path,
                fps=source.fps,
                width=output.width,
                start=float(output.start),
                seconds=output.seconds,
                max_mb=output.max_mb,
                quality=output.quality,
                max_fps=output.max_fps,
                comment=comment,
            )
        case PngOutput():
            return _write_stills(output, path, frames, source, comment)
        case PosterOutput():
            picture = frames[_frame_at(output.at, len(frames), source.fps)]
            write_picture(picture, path, config=comment)
        case SheetOutput():
            write_picture(frame_sheet(output, frames, source, config), path, config=comment)
        case MapsOutput():
            picture = frames[_frame_at(output.at, len(frames), source.fps)]
            write_picture(map_sheet(output, picture, config), path, config=comment)
    return [path]


def _write_stills(
    output: PngOutput, path: Path, frames: StoredFrames, source: Source, comment: str
) -> list[Path]:
    last = len(frames) - 1
    if output.frames == "last":
        chosen = [last]
    elif output.frames == "all":
        chosen = list(range(len(frames)))
    else:
        chosen = list(output.frames)
        if bad := [f for f in chosen if f > last]:
            raise ConfigError(f"outputs: png: frames {bad} of a render that ends at frame {last}")
    labels: Sequence[int | str] = range(len(frames))
    pattern = path.name
    if len(source.names) > 1:
        labels, pattern = distinct(map(usable, source.names)), pattern.replace(":06d", "")
    paths = []
    for frame in chosen:
        paths.append(path.with_name(pattern.format(frame=labels[frame])))
        write_png(frames[frame], paths[-1], text={"config": comment})
    return paths


def _frame_at(moment: str | float, frames: int, fps: Fraction) -> int:
    last = frames - 1
    if isinstance(moment, str):
        return {"middle": last // 2, "last": last}[moment]
    return min(last, round(moment * fps))


def portable_text(config: Config) -> str:
    """The config as YAML, without the folders of whoever rendered it."""
    return yaml.safe_dump(_without_folders(resolved_dict(config)), sort_keys=False)


def _without_folders(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {k: _without_folders(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(v, key) for v in value]
    if isinstance(value, str) and key in ("path", "weights", "flow_weights"):
        return PureWindowsPath(value).name  # which knows the separators of every system
    return value
