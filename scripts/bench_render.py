"""Where does the time of a whole render go? The shipped zoom, and 60 frames of a video.

Every render runs in a process of its own, and the parts of it are timed where they are called.
Those of the main thread add up to the whole; reading, flow and PNG work beside it, in threads.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RENDERS = ("G/zoom", "G/video")
_CLIP = "clips/bbb_720p_5s.mp4"
_VIDEO_FRAMES = 60
# The main thread's parts, in order; then those of other threads.
MAIN = ("set-up", "decode", "seeds", "dream", "encode")
BESIDE = ("read", "flow", "png")


@dataclass(frozen=True)
class Rendering:
    """What one render took.

    Attributes:
        name: which.
        frames: it has.
        size: (width, height).
        source: of the frames.
        runs: by precision: seconds on the clock (wall), of the processors (user), megabytes of the
            process (memory) and seconds of each part (parts).
        auto: the precision a render chooses for itself.
        turns: how many the medians are of.
    """

    name: str
    frames: int
    size: tuple[int, int]
    source: str
    runs: dict[str, dict[str, Any]]
    auto: str
    turns: int


def measure(name: str, *, device: str, turns: int, assets: Path | None, tiny: bool) -> Rendering:
    """Render in each precision, taking turns.

    Args:
        name: one of RENDERS.
        device: cpu or cuda.
        turns: of each precision.
        assets: folder with a real clip; without it, the video is a moving test picture.
        tiny: small and short, to see that it works.
    """
    from bench_works import precisions

    taken: dict[str, list[dict[str, Any]]] = {precision: [] for precision in precisions(device)}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        config, overrides, source = _job(name, assets, Path(folder), tiny)
        for turn in range(turns):
            for precision, runs in taken.items():
                wanted = [f"runtime.precision={precision}", f"runtime.device={device}"]
                root = str(Path(folder) / f"{precision}-{turn}")
                command = [sys.executable, __file__, root, config, *overrides, *wanted]
                done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
                runs.append(json.loads(done.stdout))
    first = taken["fp32"][0]
    runs = {precision: _median(each) for precision, each in taken.items()}
    return Rendering(
        name, first["frames"], tuple(first["size"]), source, runs, _auto(device), turns
    )


def rendering_from(saved: Mapping[str, Any]) -> Rendering:
    """Read a rendering as `asdict` left it in JSON."""
    return Rendering(**{**saved, "size": tuple(saved["size"])})


def describe(row: Rendering) -> Iterable[str]:
    """Lines for whoever waits."""
    yield f"{row.name}: {row.frames} frames of {row.size[0]}x{row.size[1]}, {row.source}"
    for precision, run in row.runs.items():
        parts = ", ".join(f"{part} {run['parts'].get(part, 0):.1f}" for part in (*MAIN, *BESIDE))
        yield f"  {precision} {run['wall']:.1f} s, user {run['user']:.1f} s: {parts}"


def _job(name: str, assets: Path | None, folder: Path, tiny: bool) -> tuple[str, list[str], str]:
    """A config, what to change in it, and what it reads."""
    small = ["source.size=[96,64]", "source.frames=6"] if tiny else []
    if name == "G/zoom":
        return str(ROOT / "configs/noise_zoom.yaml"), small, "configs/noise_zoom.yaml"
    clip = assets / _CLIP if assets else folder / "test.mp4"
    if not clip.is_file():
        clip = folder / "test.mp4"
        _draw_clip(clip)
    frames = [] if tiny else [f"source.frames={_VIDEO_FRAMES}"]
    source = f"configs/video_dream.yaml of {clip.name}"
    return str(ROOT / "configs/video_dream.yaml"), [f"source.path={clip}", *frames, *small], source


def _draw_clip(path: Path) -> None:
    from pipeline.media import ffmpeg

    picture = f"testsrc2=size=1280x720:rate=25:duration={_VIDEO_FRAMES / 25}"
    ffmpeg.run(
        ["-f", "lavfi", "-i", picture, "-pix_fmt", "yuv420p", f"file:{path}"],
        error=RuntimeError,
        doing="could not draw a clip",
    )


def _auto(device: str) -> str:
    from bench_works import WORKS, automatic

    return automatic(next(work for work in WORKS if work.name == "S"), device).precision


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    numbers = {k: statistics.median(r[k] for r in runs) for k in ("wall", "user", "memory")}
    parts = {p for run in runs for p in run["parts"]}
    medians = {p: statistics.median(r["parts"].get(p, 0.0) for r in runs) for p in sorted(parts)}
    return {**numbers, "parts": medians}


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Sum up the seconds spent in the parts of every render within."""
    import torch

    from pipeline import build, frames, ingested, renderer
    from pipeline.engine.dreamer import Dreamer
    from pipeline.feedback import ways
    from pipeline.frames import FrameStore
    from pipeline.media.working_copy import WorkingCopy

    places: list[tuple[str, Any, str]] = [
        ("set-up", build, "make_dreamer"),
        ("decode", ingested, "ingest"),
        ("seeds", renderer, "_seeds"),
        ("dream", Dreamer, "__call__"),
        ("encode", renderer, "_encode"),
        ("read", WorkingCopy, "read"),
        ("flow", ways, "find_motion"),
        ("png", frames, "encode_png"),
        ("png", FrameStore, "_store"),
    ]
    seconds: dict[str, float] = defaultdict(float)

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                if part == "dream" and torch.cuda.is_available():
                    torch.cuda.synchronize()
                seconds[part] += time.perf_counter() - start

        return run

    with ExitStack() as stack:
        for part, owner, name in places:
            plain = getattr(owner, name)
            setattr(owner, name, timed(part, plain))
            stack.callback(setattr, owner, name, plain)
        yield seconds


def _render(root: Path, path: str, overrides: list[str]) -> dict[str, Any]:
    from pipeline import load_config, render

    config = load_config(path, overrides)
    start = time.perf_counter()
    with timed_parts() as parts:
        done = render(config, root=root)
    wall = time.perf_counter() - start
    spent = os.times()  # of ffmpegs as well, but for Windows, which does not tell
    import cv2
    from bench_memory import resident_peak

    height, width = cv2.imread(str(done.folder / "frames/000000.png")).shape[:2]
    return {
        "frames": done.frames,
        "size": (width, height),
        "wall": wall,
        "user": spent.user + spent.children_user,
        "memory": resident_peak(),
        "parts": dict(parts),
    }


if __name__ == "__main__":
    print(json.dumps(_render(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])))
