"""The frame store: what is on disk is the state of a render.

    outputs/<name>/
        manifest.json     what this render is: config, resolved settings, weights, inputs, outputs
        config.yaml       the config, to read and to render again
        frames/000123.png 8-bit RGB, each written aside and renamed
        frames.jsonl      a line per frame as it was stored: frame, seconds, strength
        .lock             held while a render runs (`lock.py`)

A frame's children start from its stored 8-bit values, so a render that was killed and continued
cannot be told from one that never was.
"""

import json
import os
import queue
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.errors import PipelineError, ResumeError
from pipeline.media.atomic import partial, remove
from pipeline.media.ffmpeg import Frame

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Dreams hardly compress: to take a quarter off their size takes ten times as long.
_AS_THEY_ARE = (
    cv2.IMWRITE_PNG_COMPRESSION,
    0,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_NONE,
)
_MOST_ENCODERS = 4


@dataclass(frozen=True)
class FrameRecord:
    """A line of the journal.

    Attributes:
        frame: index.
        seconds: its share of the time its batch took to dream.
        strength: the objective at its last step; 0 for a frame filled from its neighbours.
    """

    frame: int
    seconds: float
    strength: float


class FrameStore:
    """Frames of one input, written in the background in the order given, read from memory or disk.

    A batch's frames are encoded side by side, so that a GPU does not wait for PNG.

    Args:
        folder: where `frames/` and `frames.jsonl` are made.
        recent: how many frames to keep in memory; older ones are read from disk again.
    """

    def __init__(self, folder: Path, *, recent: int = 16) -> None:
        self.folder = folder
        self._frames = folder / "frames"
        self._frames.mkdir(parents=True, exist_ok=True)
        self._journal = folder / "frames.jsonl"
        self._mend_journal()
        self._recent: OrderedDict[int, Frame] = OrderedDict()
        self._reading = threading.Lock()
        self.recent = recent
        # One batch being written and one waiting: a kill loses no more than two.
        self._queue: queue.Queue[list[tuple[FrameRecord, Frame]] | None] = queue.Queue(maxsize=1)
        self._failure: Exception | None = None
        encoders = min(_MOST_ENCODERS, max(1, (os.cpu_count() or 1) // 4))
        self._encoders = ThreadPoolExecutor(encoders, thread_name_prefix="png")
        self._writer = threading.Thread(target=self._write_forever, name="frames", daemon=True)
        self._writer.start()

    def __enter__(self) -> "FrameStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, frame: int) -> Path:
        """Where a frame is, or will be."""
        return self._frames / _name(frame)

    def done(self, count: int) -> set[int]:
        """Frames below `count` that are on disk, whole."""
        found = {f for f in range(count) if _is_whole_png(self.path(f))}
        for stale in self._frames.glob("*.partial.png"):
            remove(stale)
        return found

    def write(self, records: Sequence[FrameRecord], pictures: Sequence[Frame]) -> None:
        """Store a batch: at once in memory, soon on disk.

        Raises:
            PipelineError: an earlier batch could not be written.
        """
        self._check()
        for record, picture in zip(records, pictures, strict=True):
            self._remember(record.frame, picture)
        self._queue.put(list(zip(records, pictures, strict=True)))

    def read(self, frame: int) -> Frame:
        """A stored frame, uint8 RGB [H, W, 3]; several threads may read.

        Raises:
            ResumeError: it is not there.
        """
        with self._reading:
            if frame in self._recent:
                self._recent.move_to_end(frame)
                return self._recent[frame]
            if not self.path(frame).exists():
                self.flush()  # it may still be waiting to be written
            self._remember(frame, _read_png(self.path(frame)))
            return self._recent[frame]

    def forget(self) -> None:
        """Keep none of its frames in memory: no more will inherit from them."""
        self._recent.clear()

    def flush(self) -> None:
        """Wait until everything given is on disk.

        Raises:
            PipelineError: something could not be written.
        """
        self._queue.join()
        self._check()

    def close(self) -> None:
        """Write what is waiting, then stop; raises what `flush` raises."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
        self._encoders.shutdown()
        self._check()

    @staticmethod
    def remove_from(folder: Path, count: int) -> None:
        """Delete frames below `count` and the journal; `frames/` too if that empties it."""
        frames = folder / "frames"
        for path in [frames / _name(f) for f in range(count)] + list(frames.glob("*.partial.png")):
            remove(path)
        remove(folder / "frames.jsonl")
        if frames.is_dir() and not any(frames.iterdir()):
            frames.rmdir()

    def _remember(self, frame: int, picture: Frame) -> None:
        self._recent[frame] = picture
        self._recent.move_to_end(frame)
        while len(self._recent) > self.recent:
            self._recent.popitem(last=False)

    def _check(self) -> None:
        if self._failure is None:
            return
        failure, self._failure = self._failure, None
        raise PipelineError(
            f"could not store frames in {self._frames}: {failure}; "
            "what is stored is safe: make room, then run the same command to continue"
        ) from failure

    def _write_forever(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                if self._failure is None:
                    encoded = self._encoders.map(encode_png, [picture for _, picture in batch])
                    for (record, _), png in zip(batch, encoded, strict=True):
                        self._store(record, png)
            except Exception as error:  # whatever it is, the render must hear of it and stop
                self._failure = error
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _store(self, record: FrameRecord, png: bytes) -> None:
        replace_file(self.path(record.frame), png)
        with self._journal.open("a", encoding="utf-8", newline="\n") as journal:
            line = {
                "frame": record.frame,
                "seconds": round(record.seconds, 4),
                "strength": round(record.strength, 4),
            }
            journal.write(json.dumps(line) + "\n")

    def _mend_journal(self) -> None:
        """Cut off a line that a kill left half written."""
        if not self._journal.exists():
            return
        data = self._journal.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            replace_file(self._journal, whole)


def encode_png(picture: Frame) -> bytes:
    """uint8 RGB [H, W, 3] as a PNG file.

    Raises:
        RuntimeError: OpenCV could not.
    """
    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _AS_THEY_ARE)
    if not ok:
        raise RuntimeError("OpenCV could not encode a frame")
    return data.tobytes()


def _read_png(path: Path) -> Frame:
    """A stored frame. OpenCV is given bytes: on Windows it opens no path with an accent in it.

    Raises:
        ResumeError: missing or damaged.
    """
    data = np.frombuffer(path.read_bytes() if path.exists() else b"", np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    if picture is None:
        raise ResumeError(f"{path} is missing or damaged; render again to mend it")
    return picture.astype(np.uint8, copy=False)


def read_journal(folder: Path) -> list[FrameRecord]:
    """The journal's lines, the last one of each frame, in frame order."""
    path = folder / "frames.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = {r["frame"]: FrameRecord(**r) for r in map(json.loads, lines)}
    return [records[f] for f in sorted(records)]


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no file.

    Raises:
        ResumeError: there is one that cannot be read.
    """
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResumeError(f"{path} is damaged ({error}); --overwrite starts again") from error
    if not isinstance(value, dict):
        raise ResumeError(f"{path} is not what a render left; --overwrite starts again")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file."""
    replace_file(path, json.dumps(value, indent=2, ensure_ascii=False).encode())


def replace_file(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all."""
    with partial(path) as unfinished:
        unfinished.write_bytes(data)


def _name(frame: int) -> str:
    return f"{frame:06d}.png"


def _is_whole_png(path: Path) -> bool:
    """Whether every chunk up to the last is there with the right checksum (decoders forgive)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    if not data.startswith(_PNG_SIGNATURE):
        return False
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if checksum != struct.pack(">I", zlib.crc32(body)):
            return False
        if body[:4] == b"IEND":
            return True
        at += 12 + length
    return False
