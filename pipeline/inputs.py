"""What a render starts from, opened: noise, pictures, or videos that were ingested first."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from pipeline.config import Config, VideoSource, check_schedules
from pipeline.errors import InputError
from pipeline.ingested import Progress, open_ingested
from pipeline.mask import is_video, open_mask
from pipeline.media.cuts import find_cuts
from pipeline.media.facts import Facts, read_facts
from pipeline.media.ffmpeg import Frame, Size
from pipeline.media.files import check_readable
from pipeline.media.masks import Mask
from pipeline.media.probe import probe
from pipeline.media.sound import Sound, sound_of
from pipeline.media.sources import NoiseSource, PictureSource, Source, find_pictures
from pipeline.media.upright import working_size
from pipeline.media.working_copy import WorkingCopy
from pipeline.names import distinct, usable


@dataclass(frozen=True)
class Input:
    """One clip of a render, with a frame store of its own.

    Attributes:
        config: how it is dreamed.
        name: "" for the only one; else it names its folder within the render's.
        folder: where its frames go.
        source: its undreamed frames.
        shots: frames between cuts; nothing is carried from one to another.
        clip: which it is of the clips that its config names; decides what is random in it.
        sound: to put beside the picture.
        mask: where it is dreamed; None for everywhere.
        notes: lines a user should see.
    """

    config: Config
    name: str
    folder: Path
    source: Source
    shots: tuple[range, ...]
    clip: int = 0
    sound: Sound | None = None
    mask: Mask | None = None
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.source.sizes)

    def close(self) -> None:
        """End what reads its files; reading on opens them again."""
        if isinstance(self.source, Video):
            self.source.copy.close()
        if self.mask is not None:
            self.mask.close()


@dataclass(frozen=True)
class Video:
    """The frames of an ingested video as a source.

    Attributes:
        sizes: (width, height) of every frame.
        fps: exact.
        names: the file's stem.
        fingerprint: of the file it came from.
        copy: the working copy.
    """

    sizes: list[Size]
    fps: Fraction
    names: list[str]
    fingerprint: str
    copy: WorkingCopy

    def read(self, frame: int) -> Frame:
        """Undreamed frame, uint8 RGB [H, W, 3]."""
        return self.copy.read(frame)


@dataclass(frozen=True)
class Unread:
    """What a video will be, going by its header; nothing can be read from it yet."""

    sizes: list[Size]
    fps: Fraction
    names: list[str]
    fingerprint: str = field(default="")

    def read(self, frame: int) -> NoReturn:
        """There is nothing to read."""
        raise NotImplementedError("the video was only looked at")


def open_inputs(
    config: Config, folder: Path, *, fresh: bool, on_progress: Progress = lambda *_: None
) -> list[Input]:
    """Open everything a config renders; videos that were not ingested yet are ingested now.

    Args:
        config: of the render.
        folder: of the render.
        fresh: whatever lies in the folder is of another render: ingest again.
        on_progress: told of name, frames done and frames in all (None: not known) of an ingest.

    Raises:
        InputError: a file is missing, unreadable or too large.
        ResumeError: a file has changed since it was ingested.
        ConfigError: a cut or a schedule that does not fit the video.
    """
    if not isinstance(config.source, VideoSource):
        source = make_source(config)
        mask = open_mask(config, source, folder, fresh=fresh, on_progress=on_progress)
        return [Input(config, "", folder, source, (range(len(source.sizes)),), mask=mask)]
    files = _named(config.source, folder)
    return [
        replace(_open_video(config, path, name, folder / name, fresh, on_progress), clip=clip)
        for clip, (name, path) in enumerate(files.items())
    ]


def side_by_side(clip: Input, configs: Sequence[Config]) -> list[Input]:
    """The same clip once for each of several configs, in folders named after them.

    Args:
        clip: as `open_inputs` opened it for one of them.
        configs: they differ in nothing that the clip is opened by; noise may be another.

    Raises:
        ConfigError: a schedule that does not fit the clip.
    """
    inputs = []
    for config in configs:
        source = make_source(config) if config.source.kind == "noise" else clip.source
        check_schedules(config, frames=clip.frames, fps=source.fps)
        folder = clip.folder / config.name
        inputs.append(replace(clip, config=config, name=config.name, folder=folder, source=source))
    return inputs


def look_at_inputs(config: Config, folder: Path) -> list[Input]:
    """`open_inputs` without decoding or writing anything: lengths go by the files' headers."""
    if config.mask is not None:
        check_readable(Path(config.mask.path))
    if not isinstance(config.source, VideoSource):
        source = make_source(config)
        return [Input(config, "", folder, source, (range(len(source.sizes)),))]
    inputs = []
    for clip, (name, path) in enumerate(_named(config.source, folder).items()):
        found = probe(path)
        fps = config.source.fps or found.fps or Fraction(25)
        seconds = max(0.0, (found.seconds or 0.0) - config.source.start)
        count = max(1, round(seconds * fps))
        count = min(count, config.source.frames or count)
        sizes = [working_size(found, config.source.size)] * count
        unread = Unread(sizes, fps, [path.stem])
        inputs.append(Input(config, name, folder / name, unread, (range(count),), clip))
    return inputs


def copies(config: Config) -> int:
    """How many working copies, of video and mask, each frame of a render needs."""
    of_mask = config.mask is not None and is_video(config.mask)
    return isinstance(config.source, VideoSource) + of_mask


def make_source(config: Config) -> Source:
    """Open noise or pictures, without reading any.

    Raises:
        InputError: a file is missing, unreadable or too large.
    """
    s = config.source
    if s.kind == "noise":
        return NoiseSource(
            size=s.size,
            frames=s.frames,
            fps=s.fps,
            seed=config.seed,
            color=s.color,
            deviation=s.scale,
        )
    assert s.kind != "video"
    paths = [Path(s.path)] if s.kind == "image" else find_pictures(s.path)
    frames = s.frames if s.kind == "image" else len(paths)
    return PictureSource(paths, frames=frames, fps=s.fps, size=s.size, max_pixels=s.max_pixels)


def _open_video(
    config: Config, path: Path, name: str, folder: Path, fresh: bool, on_progress: Progress
) -> Input:
    source = config.source
    assert isinstance(source, VideoSource)
    facts, copy = open_ingested(
        path,
        folder,
        fresh=fresh,
        on_progress=on_progress,
        start=source.start,
        frames=source.frames,
        size=source.size,
        fps=source.fps,
        max_pixels=source.max_pixels,
    )
    check_schedules(config, frames=facts.frames, fps=facts.fps)
    cuts = find_cuts(facts, source.cuts) if source.detect_cuts else sorted(set(source.cuts))
    notes = [*facts.warnings, *([f"{path.name}: {facts.ended}"] if facts.ended else [])]
    sound = sound_of(facts, path)
    if sound is not None and not path.exists():
        notes.append(f"{path} is gone: its frames are here, but the outputs will have no sound")
        sound = None
    video = Video(
        [facts.size] * facts.frames,
        facts.fps,
        [path.stem],
        facts.fingerprint,
        copy,
    )
    return Input(
        config=config,
        name=name,
        folder=folder,
        source=video,
        shots=_shots(facts, cuts),
        sound=sound,
        mask=open_mask(config, video, folder, fresh=fresh, on_progress=on_progress),
        notes=tuple(notes),
    )


def _shots(facts: Facts, cuts: Sequence[int]) -> tuple[range, ...]:
    edges = [0, *(cut for cut in cuts if 0 < cut < facts.frames), facts.frames]
    return tuple(range(a, b) for a, b in pairwise(edges))


def _named(source: VideoSource, folder: Path) -> dict[str, Path]:
    """The video files of a source under the names of their folders: "" if there is only one."""
    paths = find_videos(source.path, ingested=folder)
    if len(paths) == 1:
        return {"": paths[0]}
    return dict(zip(distinct(usable(path.stem) for path in paths), paths, strict=True))


def find_videos(pattern: str | Sequence[str], *, ingested: Path | None = None) -> list[Path]:
    """Files that a path, a glob or a list of either names, in order, each once.

    Args:
        pattern: as in `source.path`.
        ingested: a file that is gone is accepted where this folder holds a working copy of it.

    Raises:
        InputError: nothing there, or a file that cannot be read.
    """
    found: dict[Path, None] = {}
    for each in [pattern] if isinstance(pattern, str) else pattern:
        path = Path(each)
        matches = [] if path.exists() else map(Path, glob.glob(each))
        # By parts, since each system has its own order of paths.
        if matches := sorted(matches, key=lambda match: match.parts):
            found.update(dict.fromkeys(matches))
            continue
        copies = (ingested, ingested / usable(path.stem)) if ingested else ()
        if not any(read_facts(copy) for copy in copies):
            check_readable(path)
        found[path] = None
    if not found:
        raise InputError("source.path names no video")
    return list(found)
