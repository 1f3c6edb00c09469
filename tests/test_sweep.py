"""Several values of settings, rendered together and laid side by side."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline import build, weights
from pipeline.config import load_config
from pipeline.errors import ConfigError, ResumeError
from pipeline.media.contact_sheet import layout
from pipeline.media.probe import probe
from pipeline.renderer import Listener, render
from pipeline.sweep import sweep
from pipeline.variants import plan_sweep

STILL = {
    "name": "small",
    "seed": 3,
    "source": {"kind": "noise", "size": [48, 32], "frames": 1},
    "dream": {"layers": "mixed3b", "octaves": 1, "iterations": 2},
    "outputs": [{"kind": "png"}],
    "runtime": {"threads": 1},
}
MOVING = {
    "source": STILL["source"] | {"frames": 5, "fps": 12},
    "feedback": {"kind": "camera", "zoom": 2.0, "iterations": 2, "keyframe_every": 2},
    "outputs": [],
}
STEPS = "dream.step=0.004,0.01,0.03"


@pytest.fixture
def file(tmp_path):
    def written(**changes) -> str:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(STILL | changes), encoding="utf-8")
        return str(path)

    return written


def frames_of(folder: Path) -> dict[str, bytes]:
    """Every frame of every variant of a sweep."""
    stored = sorted(folder.rglob("frames/*.png"))
    return {f"{path.parts[-3]}/{path.name}": path.read_bytes() for path in stored}


def renders(folder: Path) -> dict[str, list[str]]:
    return {
        path.name: sorted(each.parent.name for each in path.glob("*/frames"))
        for path in sorted(folder.glob("render-*"))
    }


def test_a_sweep_is_a_sheet_of_variants(file, tmp_path):
    heard = []
    plan = plan_sweep(file(), ["dream.step=0.004,0.03"])
    (sheet,) = sweep(plan, root=tmp_path, listener=Listener(batch=heard.append))
    assert sheet == tmp_path / "small-sweep/small-sweep.png"
    assert [len(batch.frames) for batch in heard] == [2]
    picture = iio.imread(sheet)
    tiles = layout(2, (320, 213), columns=None, lines=1, title=True).tiles
    shown = [picture[b.top : b.bottom, b.left : b.right].astype(int) for b in tiles]
    folder = sheet.parent / "render-1"
    stored = [
        cv2.imread(str(folder / variant.config.name / "frames/000000.png"), cv2.IMREAD_COLOR_RGB)
        for variant in plan.variants
    ]
    for here, there in zip(shown, stored, strict=True):
        assert np.abs(cv2.resize(there, (320, 213), interpolation=cv2.INTER_CUBIC) - here).max() < 2
    assert np.abs(shown[1] - shown[0]).mean() > 3


def test_the_network_is_made_once_and_an_engine_for_each_of_its_layers(file, tmp_path, monkeypatch):
    engines, networks, heard, notices = [], [], [], []
    make, read = build.make_dreamer, weights.build
    monkeypatch.setattr(build, "make_dreamer", lambda *of: engines.append(1) or make(*of))
    monkeypatch.setattr(weights, "build", lambda *of: networks.append(1) or read(*of))
    weights._built.cache_clear()
    plan = plan_sweep(file(), [STEPS, "dream.layers=mixed3a,mixed3b", "dream.jitter=2,9"])
    listener = Listener(batch=heard.append, notice=notices.append)
    sweep(plan, root=tmp_path, listener=listener)
    assert (len(engines), len(networks)) == (2, 1)
    assert [len(batch.frames) for batch in heard] == [6, 6]
    assert "1 of 2: 6 variants side by side  layers mixed3a" in notices
    assert [len(names) for names in renders(tmp_path / plan.name).values()] == [6, 6]


def test_in_batches_of_one_a_variant_is_what_its_values_render_alone(file, tmp_path):
    path = file()
    plan = plan_sweep(path, ["dream.step=0.004,0.03", "runtime.batch=1"])
    sweep(plan, root=tmp_path)
    alone = render(load_config(path, ["dream.step=0.03", "runtime.batch=1"]), root=tmp_path)
    folder = tmp_path / plan.name / "render-1" / plan.variants[1].config.name
    frame = "frames/000000.png"
    assert (alone.folder / frame).read_bytes() == (folder / frame).read_bytes()


def test_another_value_dreams_nothing_anew(file, tmp_path):
    heard, listener = [], Listener(batch=lambda batch: heard.extend(batch.frames))
    path, folder = file(), tmp_path / "small-sweep"
    (sheet,) = sweep(plan_sweep(path, ["dream.step=0.004,0.03"]), root=tmp_path, listener=listener)
    first, before = frames_of(folder), iio.imread(sheet)
    sweep(plan_sweep(path, [STEPS]), root=tmp_path, listener=listener)
    assert len(heard) == 3
    assert renders(folder) == {"render-1": ["step_0.004", "step_0.03"], "render-2": ["step_0.01"]}
    assert first.items() <= frames_of(folder).items()
    three = iio.imread(sheet)
    sweep(plan_sweep(path, ["dream.step=0.004,0.03"]), root=tmp_path, listener=listener)
    assert len(heard) == 3
    assert np.array_equal(iio.imread(sheet), before)
    assert three.shape != before.shape


class Stop(Exception):
    pass


def test_a_stopped_sweep_with_another_value_goes_on_in_its_old_company(file, tmp_path):
    path = file(**MOVING)
    plan = plan_sweep(path, ["dream.step=0.004,0.03"])
    sweep(plan, root=tmp_path / "whole")

    def stop(_):
        raise Stop

    with pytest.raises(Stop):
        sweep(plan, root=tmp_path, listener=Listener(batch=stop))
    folder = tmp_path / plan.name
    assert 0 < len(frames_of(folder)) < 10
    sweep(plan_sweep(path, [STEPS]), root=tmp_path)
    assert frames_of(tmp_path / "whole").items() <= frames_of(folder).items()
    assert len(frames_of(folder)) == 15


def test_a_stopped_sweep_with_a_value_less_finishes_both(file, tmp_path):
    path = file(**MOVING)

    def stop(_):
        raise Stop

    with pytest.raises(Stop):
        sweep(plan_sweep(path, [STEPS]), root=tmp_path, listener=Listener(batch=stop))
    (sheet,) = sweep(plan_sweep(path, ["dream.step=0.004,0.03"]), root=tmp_path)
    assert renders(sheet.parent) == {"render-1": ["step_0.004", "step_0.01", "step_0.03"]}
    assert len(frames_of(sheet.parent)) == 15


SWEEP = """
import pathlib, sys
from pipeline.renderer import Listener
from pipeline.sweep import sweep
from pipeline.variants import plan_sweep
print("ready", flush=True)
sweep(plan_sweep(sys.argv[1], sys.argv[3:]), root=pathlib.Path(sys.argv[2]),
      listener=Listener(batch=lambda b: print(b.done, flush=True)))
"""


def test_kill_at_any_moment_then_continue_to_the_byte(file, tmp_path):
    """Four kills of one sweep, each at another point of its work."""
    path, moments = file(**MOVING), random.Random(20)
    settings = [STEPS, "dream.layers=mixed3a,mixed3b"]
    (sheet,) = sweep(plan_sweep(path, settings), root=tmp_path / "whole")
    whole = frames_of(sheet.parent)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    for attempt in range(4):
        command = [sys.executable, "-c", SWEEP, path, str(tmp_path), *settings]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, encoding="utf-8", env=environment
        ) as child:
            for _ in range(1 + 2 * attempt):
                child.stdout.readline()
            time.sleep(moments.uniform(0, 0.1))
            child.kill()
    (again,) = sweep(plan_sweep(path, settings), root=tmp_path)
    assert frames_of(again.parent) == whole
    assert len(whole) == 6 * 5
    assert again.read_bytes() == sheet.read_bytes()
    assert not list(again.parent.rglob("*.partial*"))


def test_a_changed_file_is_refused_and_overwrite_starts_again(file, tmp_path):
    sweep(plan_sweep(file(), [STEPS]), root=tmp_path)
    folder = tmp_path / "small-sweep"
    (folder / "render-1/notes.txt").write_text("mine", encoding="utf-8")
    before = frames_of(folder)
    changed = file(seed=4, dream=STILL["dream"] | {"octaves": 2})
    for settings in ([STEPS], ["dream.step=0.004,0.03"]):
        with pytest.raises(ResumeError, match=r"seed, dream\.octaves differ.*--overwrite"):
            sweep(plan_sweep(changed, settings), root=tmp_path)
    assert frames_of(folder) == before
    sweep(plan_sweep(changed, ["dream.step=0.004,0.03"]), root=tmp_path, overwrite=True)
    assert renders(folder) == {"render-1": ["step_0.004", "step_0.03"]}
    assert not frames_of(folder).items() & before.items()
    assert (folder / "render-1/notes.txt").read_text(encoding="utf-8") == "mine"


def test_a_damaged_manifest_is_said_and_overwrite_starts_again(file, tmp_path):
    plan = plan_sweep(file(), [STEPS])
    sweep(plan, root=tmp_path)
    folder = tmp_path / plan.name
    (folder / "render-1/manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(ResumeError, match="damaged"):
        sweep(plan, root=tmp_path)
    heard = []
    sweep(plan, root=tmp_path, overwrite=True, listener=Listener(batch=heard.append))
    assert [len(batch.frames) for batch in heard] == [3]


def test_animations_play_side_by_side(file, tmp_path):
    moving = file(
        source=STILL["source"] | {"frames": 3, "fps": 12},
        feedback={"kind": "camera", "zoom": 2.0, "iterations": 1, "keyframe_every": 1},
        outputs=["mp4", "gif", "webm", "webp"],
    )
    sheet, mp4, gif, webm, webp = sweep(plan_sweep(moving, ["feedback.zoom=1,3"]), root=tmp_path)
    height, width = iio.imread(sheet).shape[:2]
    for video in (mp4, webm):
        facts = probe(video)
        assert facts.size == (width + width % 2, height + height % 2)
        assert facts.fps == 12
    for animation in (gif, webp):
        with Image.open(animation) as pictures:
            assert pictures.n_frames == 3


def test_several_clips_are_refused_in_one_line(file, tmp_path):
    for name in ("a", "b"):
        noise = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), np.uint8)
        iio.imwrite(tmp_path / f"{name}.mp4", noise, fps=12)
    clips = file(source={"kind": "video", "path": str(tmp_path / "?.mp4")})
    with pytest.raises(ConfigError, match=r"^a sweep compares one clip.*$"):
        sweep(plan_sweep(clips, [STEPS]), root=tmp_path)
