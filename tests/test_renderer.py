"""Whole renders of a few small frames: what comes out, and that nothing can break the state."""

import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import torch

from pipeline import renderer
from pipeline.config import config_from, config_hash, resolved_dict
from pipeline.engine import capabilities
from pipeline.errors import ConfigError, EncodeError, InputError, PipelineError, ResumeError
from pipeline.frames import read_journal
from pipeline.media import ffmpeg
from pipeline.media.gif import read_gif
from pipeline.media.probe import probe
from pipeline.media.webp import read_webp
from pipeline.renderer import Listener, encode, render

SMALL = {
    "name": "small",
    "seed": 3,
    "source": {"kind": "noise", "size": [96, 64], "frames": 9, "fps": 24},
    "feedback": {"kind": "camera", "zoom": 2.0, "rotate": 8, "iterations": 2, "keyframe_every": 4},
    "dream": {"layers": "mixed3b", "octaves": 2, "iterations": 3, "jitter": 8},
    "outputs": [{"kind": "png", "frames": "all"}],
    "runtime": {"threads": 1},
}


def config(*overrides: str, **changes):
    return config_from(SMALL | changes, overrides)


def frames_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "frames").iterdir())}


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> dict[str, bytes]:
    """The frames of one render that nothing disturbed."""
    root = tmp_path_factory.mktemp("reference")
    return frames_of(render(config(), root=root).folder)


def test_a_render_makes_every_frame_once_and_tells_of_it(tmp_path, reference):
    heard = []
    done = render(config(), root=tmp_path, listener=Listener(batch=heard.append))
    assert (done.frames, done.dreamed, done.encoded) == (9, 9, 1)
    assert frames_of(done.folder) == reference
    assert sorted(id.frame for batch in heard for id in batch.frames) == list(range(9))
    assert [batch.done for batch in heard] == sorted(batch.done for batch in heard)
    assert heard[-1].done == heard[-1].total == 9
    assert all((b.strength > 0) == (b.iterations > 0) for b in heard)
    assert [r.frame for r in read_journal(done.folder)] == list(range(9))


def test_a_precision_that_costs_time_says_so_and_the_manifest_why(tmp_path, monkeypatch):
    monkeypatch.setattr(capabilities, "has_convolution", lambda dtype: dtype == torch.float32)
    monkeypatch.setattr(capabilities, "is_fast", lambda dtype, kind: dtype == torch.float32)
    cost = "bf16 has no fast convolution on this CPU: fp32 is faster here"
    heard = {}
    for precision in ("fp32", "bf16"):
        heard[precision] = []
        done = render(
            config("source.frames=2", f"runtime.precision={precision}", f"name={precision}"),
            root=tmp_path,
            listener=Listener(notice=heard[precision].append),
        )
    assert cost in heard["bf16"]
    assert cost not in heard["fp32"]
    remarks = json.loads((done.folder / "manifest.json").read_text(encoding="utf-8"))["remarks"]
    assert remarks == [cost, "oneDNN has no convolution in bf16 on this CPU"]


def test_a_finished_render_lets_go_of_its_memory(tmp_path):
    """Also of the network, without waiting for Python to look for what refers to itself."""
    once = ("source.frames=5", "feedback.keyframe_every=2", "outputs=[gif]")

    def held():
        return [x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter)]

    render(config(*once, "name=first"), root=tmp_path)
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        before, traced = len(held()), tracemalloc.get_traced_memory()[0]
        render(config(*once, "name=second"), root=tmp_path)
        assert len(held()) == before
        assert tracemalloc.get_traced_memory()[0] - traced < 3e6  # five frames take .1 MB
    finally:
        tracemalloc.stop()
        gc.enable()


def test_the_first_frame_is_dreamed_and_the_others_move_on_from_it(tmp_path):
    done = render(config("outputs=[]"), root=tmp_path)
    pictures = [cv2.imread(str(done.folder / f"frames/{f:06d}.png")) for f in range(9)]
    differences = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(pictures)]
    assert all(2 < d < 40 for d in differences)


def test_a_finished_render_does_nothing(tmp_path):
    done = render(config(), root=tmp_path)
    before = {p: p.stat().st_mtime_ns for p in done.folder.rglob("*.png")}
    manifest = json.loads((done.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["config_hash"] == config_hash(resolved_dict(config()))
    again = render(config(), root=tmp_path)
    assert (again.dreamed, again.encoded) == (0, 0)
    assert again.outputs == done.outputs
    assert before == {p: p.stat().st_mtime_ns for p in done.folder.rglob("*.png")}


def test_a_changed_config_is_refused_and_names_the_keys(tmp_path):
    render(config(), root=tmp_path)
    with pytest.raises(ResumeError, match=r"dream\.step.*--overwrite"):
        render(config("dream.step=0.02"), root=tmp_path)
    with pytest.raises(ResumeError, match="seed"):
        render(config("seed=4"), root=tmp_path)


def test_overwrite_starts_again_and_deletes_only_its_own(tmp_path, reference):
    folder = render(config(), root=tmp_path).folder
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    done = render(config("seed=4", "source.frames=5"), root=tmp_path, overwrite=True)
    assert done.dreamed == 5
    assert len(frames_of(folder)) == 5
    assert frames_of(folder)["000000.png"] != reference["000000.png"]
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert len(list(folder.glob("small-*.png"))) == 5


def test_other_outputs_need_no_new_dream(tmp_path):
    folder = render(config(), root=tmp_path).folder
    before = frames_of(folder)
    done = render(config('outputs=[{"kind": "gif", "width": 48}]'), root=tmp_path)
    assert (done.dreamed, done.encoded) == (0, 1)
    assert frames_of(folder) == before
    (folder / "small.gif").write_bytes(b"")
    assert render(config('outputs=[{"kind": "gif", "width": 48}]'), root=tmp_path).encoded == 1
    assert (folder / "small.gif").stat().st_size > 1000


def test_a_deleted_and_a_torn_frame_are_made_again_to_the_byte(tmp_path, reference):
    folder = render(config(), root=tmp_path).folder
    (folder / "frames/000004.png").unlink()
    (folder / "frames/000006.png").write_bytes(reference["000006.png"][:500])
    done = render(config(), root=tmp_path)
    assert 2 <= done.dreamed <= 5
    assert frames_of(folder) == reference


RENDER = """
import json, sys, pathlib
from pipeline.config import config_from
from pipeline.renderer import Listener, render
print("ready", flush=True)
render(config_from(json.loads(sys.argv[1])), root=pathlib.Path(sys.argv[2]),
       listener=Listener(batch=lambda b: print(b.done, flush=True)))
"""


def start(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RENDER, json.dumps(SMALL), str(root)],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )


def test_kill_at_any_moment_then_continue_to_the_byte(tmp_path, reference):
    """Five kills of one render, each at another point of its work."""
    moments = random.Random(20)
    for attempt in range(5):
        with start(tmp_path) as process:
            line = process.stdout.readline()
            for _ in range(attempt):
                line = process.stdout.readline() or line
            time.sleep(moments.uniform(0, 0.15))
            process.kill()
    done = render(config(), root=tmp_path)
    assert frames_of(done.folder) == reference
    assert not list(done.folder.rglob("*.partial*"))


def test_a_kill_loses_at_most_two_batches(tmp_path):
    with start(tmp_path) as process:
        while (line := process.stdout.readline().strip()) and (line == "ready" or int(line) < 7):
            pass
        process.kill()
    assert len(list((tmp_path / "small/frames").glob("??????.png"))) >= 7 - 3 - 1


@pytest.mark.unix
def test_a_second_render_into_the_same_folder_is_refused(tmp_path):
    with start(tmp_path) as process:
        assert process.stdout.readline() == "ready\n"
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(ResumeError, match="in use"):
            render(config(), root=tmp_path)
        process.kill()
    assert render(config(), root=tmp_path).frames == 9


def test_other_versions_are_refused(tmp_path):
    folder = render(config(), root=tmp_path).folder
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["resolved"]["versions"]["torch"] = "1.0"
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert render(config(), root=tmp_path).dreamed == 0
    (folder / "frames/000004.png").unlink()
    with pytest.raises(ResumeError, match=r"torch 1\.0 \(here"):
        render(config(), root=tmp_path)


def test_frames_can_be_let_go_of(tmp_path):
    done = render(config("keep_frames=false"), root=tmp_path)
    assert not (done.folder / "frames").exists()
    assert len(done.outputs) == 9
    assert render(config("keep_frames=false"), root=tmp_path).dreamed == 0


def test_no_room_on_the_disk_is_said_before_the_first_frame(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(PipelineError, match="MB free"):
        render(config(), root=tmp_path)


OUTPUTS = "[mp4, {kind: gif, width: 48}, png, {kind: poster, at: last}, webm, webp]"


@pytest.mark.parametrize(
    ("size", "frames", "fps"),
    [
        ([97, 63], 5, 24),
        ([96, 64], 1, 24),
        ([96, 64], 3, 1),
        ([96, 64], 6, 60),
        ([96, 64], 4, "30000/1001"),
    ],
)
def test_every_output_of_every_shape(tmp_path, size, frames, fps):
    source = {"kind": "noise", "size": size, "frames": frames, "fps": fps}
    done = render(config(f"outputs={OUTPUTS}", source=source), root=tmp_path)
    mp4, gif, png, poster, webm, webp = done.outputs
    facts = probe(mp4)
    assert facts.fps == Fraction(fps)
    assert facts.size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    video = cv2.VideoCapture(str(mp4))
    assert sum(1 for _ in iter(video.grab, False)) == frames
    video.release()
    delays = [image.delay for image in read_gif(gif)]
    assert sum(delays) / 100 == pytest.approx(float(frames / Fraction(fps)), abs=0.02)
    last = cv2.imread(str(done.folder / f"frames/{frames - 1:06d}.png"))
    assert np.array_equal(cv2.imread(str(png)), last)
    assert np.abs(cv2.imread(str(poster)).astype(int) - last).mean() < 6
    assert "mixed3b" in iio.immeta(png)["config"]
    assert ffmpeg.count_frames(webm) == frames
    images = read_webp(webp)
    assert len(images) == -(-frames // -(-Fraction(fps) // 30))
    assert all(b"mixed3b" in path.read_bytes() for path in (mp4, webm, webp))


def test_a_poster_is_what_its_name_says(tmp_path):
    files = ("p.png", "p.jpg")
    posters = ", ".join(f"{{kind: poster, file: {file}}}" for file in files)
    done = render(config(f"outputs=[{posters}]", "source.frames=1"), root=tmp_path)
    assert [path.read_bytes()[:3] for path in done.outputs] == [b"\x89PN", b"\xff\xd8\xff"]


def test_outputs_are_made_again_from_the_store(tmp_path):
    folder = render(config(), root=tmp_path).folder
    for path in folder.glob("small-*.png"):
        path.unlink()
    assert encode(config(), root=tmp_path).encoded == 1
    assert len(list(folder.glob("small-*.png"))) == 9
    (folder / "frames/000003.png").unlink()
    with pytest.raises(ResumeError, match="8 of 9 frames"):
        encode(config(), root=tmp_path)


def test_an_output_that_cannot_be_written_takes_no_other_along(tmp_path):
    with pytest.raises(EncodeError, match="max_mb"):
        render(config("outputs=[{kind: gif, max_mb: 1e-6}, mp4, png]"), root=tmp_path)
    assert probe(tmp_path / "small/small.mp4").size == (96, 64)
    assert not list((tmp_path / "small").glob("*.gif"))
    done = render(config("outputs=[gif, mp4, png]"), root=tmp_path)
    assert (done.dreamed, done.encoded) == (0, 1)


def test_who_stops_an_encoder_does_not_wait_for_the_other(tmp_path, monkeypatch):
    render(config(), root=tmp_path)
    ended = []

    def write_output(want, frames, config):
        if want.output.kind == "poster":
            path = want.input.folder / want.file
            path.touch()
            return [path]
        try:
            while True:
                frames[0]
        except EncodeError:
            ended.append(want.output.kind)
            raise

    def stop(notice):
        raise KeyboardInterrupt

    monkeypatch.setattr(renderer, "write_output", write_output)
    with pytest.raises(KeyboardInterrupt):
        encode(config("outputs=[gif, poster]"), root=tmp_path, listener=Listener(notice=stop))
    assert ended == ["gif"]


def photo(path: Path, size: tuple[int, int], seed: int) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC))
    return path


def test_a_folder_of_photos_is_dreamed_as_batches_of_one_size(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for k, size in enumerate([(96, 64), (64, 96), (96, 64)]):
        photo(photos / f"p{k}.png", size, k)
    folder = {"kind": "images", "path": str(photos)}
    heard = []
    done = render(
        config("runtime.batch=4", source=folder, feedback={"kind": "none"}),
        root=tmp_path,
        listener=Listener(batch=heard.append),
    )
    assert sorted(tuple(id.frame for id in b.frames) for b in heard) == [(0, 2), (1,)]
    assert [path.name for path in done.outputs] == [f"small-p{k}.png" for k in range(3)]
    assert [cv2.imread(str(p)).shape[1::-1] for p in done.outputs] == [(96, 64), (64, 96), (96, 64)]
    for k, path in enumerate(done.outputs):
        difference = np.abs(
            cv2.imread(str(path)).astype(int) - cv2.imread(str(photos / f"p{k}.png"))
        )
        assert 2 < difference.mean() < 40
    film = config("outputs=[mp4]", "name=film", source=folder, feedback={"kind": "none"})
    with pytest.raises(ConfigError, match="mp4 needs pictures of one size"):
        render(film, root=tmp_path)


def test_a_photo_at_rest_grows_its_dream(tmp_path):
    path = photo(tmp_path / "a.png", (96, 64), 1)
    source = {"kind": "image", "path": str(path), "frames": 6}
    feedback = {"kind": "camera", "iterations": 1, "keyframe_every": 1}
    done = render(config("dream.iterations=1", source=source, feedback=feedback), root=tmp_path)
    original = cv2.imread(str(path)).astype(int)
    distance = [np.abs(cv2.imread(str(p)) - original).mean() for p in done.outputs]
    assert distance == sorted(distance)
    assert distance[-1] > 2 * distance[0] > 0


def test_a_picture_too_small_for_the_layer_is_refused_before_anything_is_written(tmp_path):
    path = photo(tmp_path / "tiny.png", (12, 12), 1)
    source = {"kind": "image", "path": str(path)}
    with pytest.raises(InputError, match=r"tiny is 12x12, but .* of vgg16"):
        render(config("dream.model=vgg16", "dream.layers=relu5_3", source=source), root=tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_schedules_reach_the_engine(tmp_path):
    """A step that is nothing until frame 4 leaves the earlier keyframes undreamed."""
    moving = config("dream.step={4f: 0.0001, 5f: 0.02}", "outputs=[]")
    done = render(moving, root=tmp_path)
    strength = {r.frame: r.strength for r in read_journal(done.folder)}
    assert strength[8] > 1.1 * strength[4]


def test_a_preview_of_the_defaults_is_short(tmp_path):
    from pipeline.config import preview

    small = preview(config("source.size=[640, 360]", "source.frames=240"))
    assert small.name == "small-preview"
    assert max(small.source.size) <= 320
    assert small.source.frames <= 48
