"""Renders whose channels change over time: what is climbed when, continued to the byte."""

import cv2
import numpy as np
import pytest

from pipeline.config import config_from
from pipeline.dryrun import dry_run
from pipeline.errors import ResumeError
from pipeline.inputs import make_source
from pipeline.renderer import render
from pipeline.sheets import caption

APART = {
    "name": "apart",
    "source": {"kind": "noise", "size": [64, 48], "frames": 5, "fps": 2, "scale": 0.05},
    "dream": {
        "layers": {"mixed3b": {"channels": {"0": 7, "1": [30, 2], "2": 5}, "objective": "norm"}},
        "octaves": 1,
        "iterations": 3,
    },
    "outputs": [],
    "runtime": {"threads": 1, "precision": "fp32"},
}
ZOOM = {"feedback": {"kind": "camera", "zoom": 2.0, "iterations": 2, "keyframe_every": 1}}


def config(*overrides: str, **changes):
    return config_from(APART | changes, overrides)


def frames_of(done) -> list[np.ndarray]:
    paths = sorted((done.folder / "frames").iterdir())
    return [cv2.imread(str(path)).astype(int) for path in paths]


def constant(channels: object) -> str:
    return f"dream.layers.mixed3b.channels={channels}"


def test_a_frame_at_a_moment_is_what_its_channels_alone_dream(tmp_path):
    travelled = frames_of(render(config(), root=tmp_path))
    alone = [
        frames_of(render(config(constant(some), f"name=alone{k}"), root=tmp_path))
        for k, some in enumerate(("7", "[30, 2]", "5"))
    ]
    for frame, own in ((0, 0), (2, 1), (4, 2)):
        for k, dreams in enumerate(alone):
            difference = np.abs(dreams[frame] - travelled[frame])
            assert difference.max() <= 1 if k == own else difference.mean() > 2


def test_a_frame_between_two_moments_is_a_dream_of_both(tmp_path):
    both = frames_of(render(config(), root=tmp_path))[1]
    first, second = (
        frames_of(render(config(constant(some), f"name=alone{k}"), root=tmp_path))[1]
        for k, some in enumerate(("7", "[30, 2]"))
    )
    apart = np.abs(first - second).mean()
    assert all(1 < np.abs(both - alone).mean() < 0.9 * apart for alone in (first, second))


def test_a_schedule_of_one_moment_is_a_constant_to_the_byte(tmp_path):
    zoom = {**ZOOM, "source": APART["source"] | {"frames": 3}}
    one = render(config(constant("{0: 7}"), **zoom), root=tmp_path / "a")
    same = render(config(constant("7"), **zoom), root=tmp_path / "b")
    for name in ("000000.png", "000002.png"):
        pictures = [(done.folder / "frames" / name).read_bytes() for done in (one, same)]
        assert pictures[0] == pictures[1]


def test_a_travelling_zoom_continues_to_the_byte_and_refuses_another_course(tmp_path):
    done = render(config(**ZOOM), root=tmp_path)
    whole = {path.name: path.read_bytes() for path in (done.folder / "frames").iterdir()}
    assert len(set(whole.values())) == 5
    for frame in ("000001.png", "000004.png"):
        (done.folder / "frames" / frame).unlink()
    assert 2 <= render(config(**ZOOM), root=tmp_path).dreamed < 5
    again = {path.name: path.read_bytes() for path in (done.folder / "frames").iterdir()}
    assert again == whole
    with pytest.raises(ResumeError, match=r"mixed3b\.channels\.1 differ"):
        render(config("dream.layers.mixed3b.channels.1=9", **ZOOM), root=tmp_path)


def test_a_dry_run_takes_it(tmp_path):
    assert any("mixed3b x 1.0" in line for line in dry_run(config(**ZOOM), tmp_path))


def test_captions_tell_the_channels_of_a_frame(tmp_path):
    travel = config(constant("{0: 7, 1: [30, 2], 2: null}"))
    source = make_source(travel)
    captions = [caption(travel, source, frame) for frame in range(5)]
    assert captions == ["7", "7, 30+2", "30+2", "30+2, all", "all"]
    still = config(constant("{0: 7}"))
    assert caption(still, make_source(still), 1) == "0.50 s"
