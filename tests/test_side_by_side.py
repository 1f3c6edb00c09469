"""Configs that are rendered together: each an input of one render."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import lavfi, run

from pipeline import build
from pipeline.build import shared
from pipeline.config import config_from, load_config, resolved_dict
from pipeline.errors import ConfigError, ResumeError
from pipeline.feedback import ways
from pipeline.manifest import recorded_config, remove_render
from pipeline.renderer import Listener, render

SMALL = {
    "name": "small",
    "seed": 3,
    "source": {"kind": "noise", "size": [48, 32], "frames": 4, "fps": 24},
    "feedback": {"kind": "camera", "zoom": 2.0, "iterations": 1, "keyframe_every": 2},
    "dream": {
        "layers": {"mixed3a": 1.0, "mixed3b": 0.5},
        "octaves": 2,
        "iterations": 2,
        "jitter": 4,
        "smooth": {"kind": "cascade", "sigma": 0.5},
        "blur": {"every": 2, "sigma": 0.3},
    },
    "outputs": [],
    "runtime": {"threads": 1, "batch": 1},
}
OF_ONE_INPUT = {
    "seed": 4,
    "source.color": "white",
    "source.scale": 0.3,
    "feedback.zoom": 4,
    "feedback.rotate": 90,
    "feedback.move": "[1, 0]",
    "feedback.centre": "[0.2, 0.5]",
    "feedback.carry": 0.1,
    "feedback.iterations": 2,
    "feedback.keyframe_every": 3,
    "feedback.loop": 2,
    "dream.iterations": 3,
    "dream.color": "match",
    "dream.step": 0.03,
    "dream.jitter": 9,
    "dream.smooth.sigma": 2,
    "dream.layers.mixed3b.weight": 3,
    "dream.decay": 2,
    "dream.tv": 1,
    "dream.transforms.rotate": 20,
    "dream.transforms.scale": 1.3,
    "dream.blur.sigma": 2,
}


def config(*overrides: str, **changes):
    return config_from(SMALL | changes, overrides)


def variants(changes: dict[str, object], *overrides: str, **more) -> list:
    """The plain config, and one for each change."""
    plain = [config("name=plain", *overrides, **more)]
    return plain + [
        config(f"name={key}", f"{key}={value}", *overrides, **more)
        for key, value in changes.items()
    ]


def frames_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "frames").iterdir())}


def pixels(folder: Path, frame: int) -> np.ndarray:
    return cv2.imread(str(folder / f"frames/{frame:06d}.png")).astype(float)


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """All variants in one render, in batches of one."""
    root = tmp_path_factory.mktemp("together")
    return render(config(), variants=variants(OF_ONE_INPUT), root=root).folder


def test_every_setting_of_one_input_is_tried_here():
    elsewhere = {"name", "outputs", "keep_frames", "feedback.refine", "dream.classes.*"}
    tried = {key.replace("mixed3b", "*") for key in OF_ONE_INPUT}
    assert tried | elsewhere == set(build._OF_ONE_INPUT)


@pytest.mark.parametrize("key", OF_ONE_INPUT)
def test_in_batches_of_one_a_variant_is_what_it_renders_alone(tmp_path, together, key):
    _, changed = variants({key: OF_ONE_INPUT[key]})
    alone = frames_of(render(changed, root=tmp_path).folder)
    assert alone == frames_of(together / key)
    assert alone != frames_of(together / "plain")


def test_batches_are_made_of_several_variants(tmp_path, together):
    heard = []
    few = {key: OF_ONE_INPUT[key] for key in ("dream.step", "feedback.rotate", "seed")}
    done = render(
        config("runtime.batch=3"),
        variants=variants(few, "runtime.batch=3"),
        root=tmp_path,
        listener=Listener(batch=heard.append),
    )
    assert done.frames == done.dreamed == heard[-1].total == 4 * 4
    dreamed = [{id.input for id in batch.frames} for batch in heard if batch.iterations]
    assert dreamed == [{0, 1, 2}] * 3 + [{3}] * 3
    for key in ("plain", *few):
        first, same = pixels(done.folder / key, 0), pixels(together / key, 0)
        assert np.abs(first - same).mean() < 1
        for frame in range(1, 4):
            seen = [pixels(folder / key, frame).ravel() for folder in (done.folder, together)]
            assert np.corrcoef(*seen)[0, 1] > 0.95


@pytest.mark.parametrize(
    "other",
    [
        "dream.layers=mixed3a",
        "dream.layers={mixed3b: 0.5, mixed3a: 1.0}",
        "dream.octaves=3",
        "dream.ratio=1.5",
        "dream.smooth={kind: gaussian, sigma: 0.5}",
        "dream.smooth.growth=1",
        "dream.blur.every=1",
        "dream.blur=null",
        "dream.merge=blend",
        "dream.objective=norm",
        "dream.model=vgg16",
        "dream.normalize=std",
        "runtime.precision=bf16",
        "runtime.batch=2",
        "source.size=[64, 32]",
        "source.frames=5",
        "mask=mask.png",
        "feedback={kind: none}",
    ],
)
def test_what_the_engine_and_the_clip_are_made_of_is_shared(tmp_path, other):
    layers = ["dream.layers=relu3_3"] if "vgg16" in other else []
    changed = config(*layers, other)
    assert shared(changed) != shared(config())
    with pytest.raises(ValueError, match="together"):
        render(config(), variants=[config("name=a"), changed], root=tmp_path)


class Stop(Exception):
    pass


@pytest.mark.parametrize("batches", [1, 3, 5])
def test_it_goes_on_where_it_stopped_to_the_byte(tmp_path, batches):
    few = {key: OF_ONE_INPUT[key] for key in ("dream.step", "feedback.rotate", "dream.iterations")}
    of = {"config": config("runtime.batch=3"), "variants": variants(few, "runtime.batch=3")}
    whole = render(**of, root=tmp_path / "whole").folder
    heard = []

    def stop(batch):
        heard.append(batch)
        if len(heard) == batches:
            raise Stop

    with pytest.raises(Stop):
        render(**of, root=tmp_path, listener=Listener(batch=stop))
    done = render(**of, root=tmp_path, listener=Listener(batch=heard.append))
    assert 0 < done.dreamed < 16
    for key in ("plain", *few):
        assert frames_of(done.folder / key) == frames_of(whole / key)
    assert render(**of, root=tmp_path).dreamed == 0


def test_another_company_is_refused(tmp_path):
    pair = variants({"dream.step": 0.03})
    folder = render(config(), variants=pair, root=tmp_path).folder
    for others in (pair[:1], pair[::-1], []):
        with pytest.raises(ResumeError, match="variants differ"):
            render(config(), variants=others, root=tmp_path)
    with pytest.raises(ResumeError, match=r"dream\.tv differ"):
        render(config(), variants=variants({"dream.step": 0.03}, "dream.tv=1"), root=tmp_path)
    with pytest.raises(ResumeError, match="variants of a sweep"):
        recorded_config(folder)


def test_what_was_never_dreamed_gives_way(tmp_path, monkeypatch):
    def no_network(*_):
        raise Stop

    three = variants({"dream.step": 0.03, "dream.tv": 1})
    monkeypatch.setattr(build, "make_dreamer", no_network)
    with pytest.raises(Stop):
        render(config(), variants=three, root=tmp_path)
    monkeypatch.undo()
    done = render(config(), variants=variants({"dream.step": 0.03}), root=tmp_path)
    assert sorted(path.name for path in done.folder.glob("*/")) == ["dream.step", "plain"]


def test_outputs_are_made_of_every_variant(tmp_path):
    pair = variants({"dream.step": 0.03}, "outputs=[png]")
    done = render(config("outputs=[png]"), variants=pair, root=tmp_path)
    assert [path.parent.name for path in done.outputs] == ["plain", "dream.step"]
    for path in done.outputs:
        assert np.array_equal(cv2.imread(str(path)), pixels(path.parent, 3))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    source = "testsrc2=size=64x48:rate=25,trim=end_frame=6,format=yuv420p"
    run(*lavfi(source), "-c:v", "libx264", "-crf", "12", f"file:{path}")
    return path


def film(clip: Path | list[str]) -> dict[str, object]:
    path = clip if isinstance(clip, list) else str(clip)
    flow = {"kind": "flow", "keyframe_every": 3, "iterations": 1}
    return {"source": {"kind": "video", "path": path}, "feedback": flow}


def test_a_video_is_read_and_its_motion_found_once_for_all(tmp_path, clip, monkeypatch):
    read, found = [], []
    motion = ways.find_motion
    monkeypatch.setattr(ways, "find_motion", lambda *of: found.append(1) or motion(*of))
    changes = {"feedback.carry": 0.5, "feedback.refine": "[1]", "feedback.keyframe_every": 5}
    listener = Listener(ingest=lambda *facts: read.append(facts))
    done = render(
        config(**film(clip)),
        variants=variants(changes, **film(clip)),
        root=tmp_path,
        listener=listener,
    )
    assert len(list(done.folder.rglob("source.mkv"))) == 1
    assert [facts[1] for facts in read].count(6) == 1
    assert len(found) == 5
    monkeypatch.undo()
    for changed in variants(changes, **film(clip)):
        alone = frames_of(render(changed, root=tmp_path / "alone").folder)
        assert alone == frames_of(done.folder / changed.name)
    made = [frames_of(done.folder / key) for key in ("plain", *changes)]
    assert all(made.count(frames) == 1 for frames in made)
    remove_render(done.folder)
    assert [path.name for path in done.folder.rglob("*")] == [".lock"]


@pytest.mark.parametrize("moving", [False, True], ids=["still mask", "video mask"])
def test_a_mask_and_colours_are_kept_for_every_variant(tmp_path, clip, moving):
    if moving:
        path = tmp_path / "mask.mkv"
        source = "nullsrc=s=64x48:r=25,geq=lum='255*gte(X,8*N)':cb=128:cr=128,trim=end_frame=6"
        run(*lavfi(f"{source},format=gray"), "-c:v", "ffv1", f"file:{path}")
    else:
        path = tmp_path / "mask.png"
        cv2.imwrite(str(path), np.repeat([[0, 255]], 32, axis=1).astype(np.uint8))
    kept = film(clip) | {"mask": {"path": str(path), "feather": 0}}
    changes = {"dream.color": "keep", "dream.step": 0.05}
    done = render(config(**kept), variants=variants(changes, **kept), root=tmp_path)
    for changed in variants(changes, **kept):
        alone = frames_of(render(changed, root=tmp_path / "alone").folder)
        assert alone == frames_of(done.folder / changed.name)
    assert render(config(**kept), variants=variants(changes, **kept), root=tmp_path).dreamed == 0
    remove_render(done.folder)
    assert [path.name for path in done.folder.rglob("*")] == [".lock"]


def test_several_clips_are_refused_before_any_is_read(tmp_path, clip):
    (tmp_path / "again.mp4").write_bytes(clip.read_bytes())
    both = film([str(clip), str(tmp_path / "again.mp4")])
    with pytest.raises(ConfigError, match="a sweep compares one clip"):
        render(config(**both), variants=variants({"dream.step": 0.03}, **both), root=tmp_path)
    assert not list(tmp_path.rglob("source.mkv"))
    assert not list(tmp_path.rglob("*.json"))


def test_a_schedule_that_does_not_fit_the_video_is_said_for_every_variant(tmp_path, clip):
    heard, pair = [], variants({"dream.step": "0.03-0.01*f"}, **film(clip))
    with pytest.raises(ConfigError, match=r"dream\.step: .* at frame 3"):
        render(
            config(**film(clip)),
            variants=pair,
            root=tmp_path,
            listener=Listener(batch=heard.append),
        )
    assert not heard
    assert not list(tmp_path.rglob("*.yaml"))


def test_the_manifest_tells_of_every_variant(together):
    manifest = json.loads((together / "manifest.json").read_text(encoding="utf-8"))
    assert list(manifest["variants"]) == ["plain", *OF_ONE_INPUT]
    assert manifest["variants"]["dream.step"]["dream"]["step"] == 0.03
    assert [each["name"] for each in manifest["inputs"]] == ["plain", *OF_ONE_INPUT]
    written = load_config(together / "dream.step/config.yaml")
    assert resolved_dict(written) == resolved_dict(config("name=dream.step", "dream.step=0.03"))
