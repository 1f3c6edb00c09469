"""Whole video renders of tiny clips: time, sound, shots, several files, and continuing."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import lavfi, make, run

from pipeline import renderer
from pipeline.build import make_plan
from pipeline.config import config_from
from pipeline.errors import InputError, PipelineError, ResumeError
from pipeline.frames import read_journal
from pipeline.inputs import find_videos, open_inputs
from pipeline.media import working_copy
from pipeline.media.probe import probe
from pipeline.metrics import coherence, farneback
from pipeline.renderer import Listener, encode, render

SMALL = {
    "name": "film",
    "seed": 3,
    "feedback": {"kind": "flow", "keyframe_every": 4, "iterations": 1},
    "dream": {"layers": "mixed3b", "octaves": 2, "iterations": 2, "jitter": 8},
    "runtime": {"threads": 1, "batch": 2},
}


def config(path: Path | str | list[str], *overrides: str, **changes):
    source = {"kind": "video", "path": path if isinstance(path, list) else str(path)}
    return config_from(SMALL | {"source": source} | changes, overrides)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """21 frames of 30000/1001 fps with a hard cut at frame 12, and a tone."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    picture = (
        "testsrc2=size=128x96:rate=30000/1001,trim=end_frame=12,format=yuv420p[a];"
        "mandelbrot=size=128x96:rate=30000/1001,trim=end_frame=9,format=yuv420p[b];"
        "[a][b]concat=n=2:v=1,setpts=N*1001/30000/TB[out0];sine=frequency=440:duration=0.7[out1]"
    )
    run(*lavfi(picture), "-c:v", "libx264", "-crf", "12", "-c:a", "aac", f"file:{path}")
    return path


def frames_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "frames").iterdir())}


@pytest.fixture(scope="module")
def reference(tmp_path_factory, clip) -> dict[str, bytes]:
    return frames_of(render(config(clip), root=tmp_path_factory.mktemp("reference")).folder)


def test_a_video_keeps_its_frames_rate_and_sound(tmp_path, clip):
    read = []
    done = render(
        config(clip), root=tmp_path, listener=Listener(ingest=lambda *facts: read.append(facts))
    )
    (path,) = done.outputs
    facts = probe(path)
    assert done.frames == 21
    assert facts.fps == Fraction(30000, 1001)
    assert facts.size == (128, 96)
    assert [sound.codec for sound in facts.sounds] == ["aac"]
    video = cv2.VideoCapture(str(path))
    assert sum(1 for _ in iter(video.grab, False)) == 21
    video.release()
    assert read[-1][:2] == ("clip.mp4", 21)
    manifest = json.loads((done.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"][0]["frames"] == 21


def test_nothing_is_carried_across_a_cut(tmp_path, clip):
    settings = config(clip)
    inputs = open_inputs(settings, tmp_path, fresh=True)
    assert inputs[0].shots == (range(12), range(12, 21))
    nodes = {n.id.frame: n for b in make_plan(inputs, 2) for n in b.nodes}
    assert nodes[12].parents == ()
    for frame, node in nodes.items():
        assert all((parent.frame < 12) == (frame < 12) for parent in node.parents)
    by_hand = open_inputs(config(clip, "source.cuts=[5]"), tmp_path, fresh=True)
    assert [shot.start for shot in by_hand[0].shots] == [0, 5, 12]
    whole = open_inputs(config(clip, "source.detect_cuts=false"), tmp_path, fresh=True)
    assert whole[0].shots == (range(21),)


def test_the_dream_stays_on_its_source(tmp_path, clip):
    done = render(config(clip), root=tmp_path)
    (opened,) = open_inputs(config(clip), done.folder, fresh=False)
    for frame in range(21):
        dream = cv2.imread(str(done.folder / f"frames/{frame:06d}.png"), cv2.IMREAD_COLOR_RGB)
        difference = np.abs(dream.astype(int) - opened.source.read(frame))
        assert 1 < difference.mean() < 40
    strength = {r.frame: r.strength for r in read_journal(done.folder)}
    dreamed = {frame for frame, value in strength.items() if value > 0}
    assert dreamed == {0, 4, 8, 11, 12, 16, 20}


RENDER = """
import json, sys, pathlib
from pipeline.config import config_from
from pipeline.renderer import Listener, render
render(config_from(json.loads(sys.argv[1])), root=pathlib.Path(sys.argv[2]),
       listener=Listener(batch=lambda b: print(b.done, flush=True)))
"""


@pytest.mark.parametrize("batches", [1, 4])
def test_killed_then_continued_without_the_original(tmp_path, clip, reference, batches):
    original = tmp_path / "clip.mp4"
    original.write_bytes(clip.read_bytes())
    settings = SMALL | {"source": {"kind": "video", "path": str(original)}}
    with subprocess.Popen(
        [sys.executable, "-c", RENDER, json.dumps(settings), str(tmp_path)],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    ) as process:
        for _ in range(batches):
            assert process.stdout.readline()
        process.kill()
    original.unlink()
    done = render(config(original), root=tmp_path)
    assert frames_of(done.folder) == reference
    assert any("is gone" in line for line in done.notes)
    assert not probe(done.outputs[0]).sounds


def test_a_cut_off_video_is_used_as_far_as_it_goes_and_says_so(tmp_path):
    path = make("truncated.mp4", tmp_path)
    done = render(config(path, "outputs=[mp4]"), root=tmp_path)
    assert 0 < done.frames < 60
    told = json.loads((done.folder / "manifest.json").read_text(encoding="utf-8"))["notes"]
    assert any("truncated.mp4" in note and "frame" in note for note in done.notes)
    assert list(done.notes) == told


def test_another_file_under_the_same_name_is_refused(tmp_path, clip):
    original = tmp_path / "clip.mp4"
    original.write_bytes(clip.read_bytes())
    render(config(original), root=tmp_path)
    original.write_bytes(clip.read_bytes() + b"more")
    with pytest.raises(ResumeError, match="has changed since"):
        render(config(original), root=tmp_path)


def test_several_files_are_dreamed_side_by_side(tmp_path, clip):
    for name in ("one", "two"):
        (tmp_path / f"{name}.mp4").write_bytes(clip.read_bytes())
    heard = []
    settings = config(str(tmp_path / "*.mp4"), "source.frames=9")
    done = render(settings, root=tmp_path / "out", listener=Listener(batch=heard.append))
    assert [str(p.relative_to(done.folder)) for p in done.outputs] == ["one/one.mp4", "two/two.mp4"]
    assert done.frames == 18
    assert {len(batch.frames) for batch in heard if batch.iterations} == {2}
    one, two = (frames_of(done.folder / name) for name in ("one", "two"))
    assert len(one) == 9
    assert one != two  # other seeds
    (done.folder / "two/frames/000004.png").unlink()
    assert render(settings, root=tmp_path / "out").dreamed > 0
    assert frames_of(done.folder / "two") == two


def test_frames_and_working_copy_can_be_let_go_of(tmp_path, clip):
    settings = config(clip, "keep_frames=false")
    done = render(settings, root=tmp_path)
    assert not list(done.folder.glob("frames")) + list(done.folder.glob("source.mkv"))
    assert render(settings, root=tmp_path).dreamed == 0


def test_outputs_are_made_again_with_sound(tmp_path, clip):
    done = render(config(clip), root=tmp_path)
    done.outputs[0].unlink()
    (path,) = encode(config(clip), root=tmp_path).outputs
    assert probe(path).sounds


def test_what_is_no_video_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "notes.mp4").write_text("hello", encoding="utf-8")
    for path, message in (
        ("notes.mp4", "notes.mp4"),
        ("gone.mp4", "no such file"),
        ("", "is a dir"),
    ):
        with pytest.raises(InputError, match=message) as error:
            render(config(tmp_path / path), root=tmp_path)
        assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.json"))
    with pytest.raises(InputError):
        find_videos([])


def test_batches_change_a_dream_only_by_rounding(tmp_path, clip):
    """The whole clip, one lane at a time and two: other rounding, an equally good dream."""
    strengths, flickers = [], []
    for batch in (1, 2):
        settings = config(
            clip, f"runtime.batch={batch}", "runtime.precision=fp32", f"name=b{batch}"
        )
        folder = render(settings, root=tmp_path).folder
        strengths.append(np.mean([r.strength for r in read_journal(folder) if r.strength]))
        (opened,) = open_inputs(settings, folder, fresh=False)
        dreams = [
            cv2.imread(str(folder / f"frames/{f:06d}.png"), cv2.IMREAD_COLOR_RGB) for f in range(21)
        ]
        sources = [opened.source.read(f) for f in range(21)]
        flickers.append(coherence(dreams, sources, farneback, cuts=[12]).flicker)
    assert strengths[0] == pytest.approx(strengths[1], rel=0.02)
    assert flickers[0] == pytest.approx(flickers[1], rel=0.05)


def test_a_disk_without_room_for_the_working_copy_is_refused_before_it_is_made(
    tmp_path, clip, monkeypatch
):
    frames, copy = 21 * 128 * 96 * 3.01, 21 * 128 * 96 * 1.4
    usage = type("Usage", (), {"free": round(frames + copy / 2)})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(PipelineError, match="needs about 1 MB and the disk has 1 MB") as error:
        render(config(clip), root=tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("source*"))
    usage.free = round(1.01 * (frames + copy))
    assert render(config(clip), root=tmp_path).frames == 21


@pytest.mark.unix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root can mount")
def test_a_full_disk_stops_with_one_line_and_continues(tmp_path, clip, reference, monkeypatch):
    open_inputs(config(clip), tmp_path, fresh=True)
    room = (tmp_path / "source.mkv").stat().st_size + sum(map(len, reference.values())) // 2
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={room // 1024}k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setattr("pipeline.disk.estimate", lambda *_: 0)
        with pytest.raises(PipelineError, match="No space left") as error:
            render(config(clip), root=disk)
        assert "\n" not in str(error.value)
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        assert frames_of(render(config(clip), root=disk).folder) == reference
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells")
def test_memory_stays_flat_over_two_thousand_frames(tmp_path):
    """Resident memory between the 300th and the last of 2,000 tiny frames, in its own process."""
    path = tmp_path / "long.mkv"
    run(*lavfi("testsrc2=size=64x48:rate=25,trim=end_frame=2000[out0]"), "-c:v", "ffv1", str(path))
    watch = RENDER.replace("print(b.done, flush=True)", "print(b.done, rss(), flush=True)")
    rss = "rss = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096\n"
    settings = SMALL | {"source": {"kind": "video", "path": str(path)}, "outputs": []}
    done = subprocess.run(
        [sys.executable, "-c", rss + watch, json.dumps(settings), str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    memory = {int(f): int(m) for f, m in (line.split() for line in done.stdout.splitlines())}
    early = min(m for f, m in memory.items() if f >= 300)
    assert max(memory.values()) - early < 50e6


def test_nothing_of_a_render_is_open_once_it_ended(tmp_path, clip, monkeypatch):
    """Windows would refuse to delete it, as one whose frames are not kept does at its end."""
    opened = []
    begin = working_copy.read_frames

    def reading(*arguments, **options):
        opened.append(begin(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(working_copy, "read_frames", reading)
    removed = []
    remove = renderer.remove

    def look(path):
        removed.append((path.name, [each.gi_frame for each in opened if each.gi_frame]))
        remove(path)

    monkeypatch.setattr(renderer, "remove", look)
    mask = {"mask": {"path": str(clip)}}
    kept = config(clip, "keep_frames=false", **mask)
    done = render(kept, root=tmp_path)
    assert opened
    assert ("source.mkv", []) in removed
    assert all(still == [] for _, still in removed)
    assert not list(done.folder.rglob("source.mkv"))
    render(config(clip, "name=other", **mask), root=tmp_path)
    assert all(each.gi_frame is None for each in opened)
