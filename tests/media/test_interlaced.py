from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media import ffmpeg
from pipeline.media.convert import convert_to_gif
from pipeline.media.interlaced import is_combed
from pipeline.media.probe import probe
from pipeline.media.raw_frames import read_frames
from pipeline.media.working_copy import WorkingCopy


def combs(frame: np.ndarray) -> float:
    """How far lines are from the mean of their neighbours."""
    light = frame[..., 1].astype(float)
    return float(np.abs(light[1:-1] - (light[:-2] + light[2:]) / 2).mean())


@pytest.mark.parametrize(
    ("name", "fields"), [("interlaced.mp4", "T"), ("interlaced_bottom.mpg", "B")]
)
def test_fields_become_whole_frames_at_the_same_rate(ingested, clip, name, fields) -> None:
    raw = [*ffmpeg.file_input(clip(name)), "-vf", "setfield=prog"]
    decoded = list(read_frames(raw, size=(192, 96), error=InputError, doing="x"))
    assert len(decoded) == 24
    assert min(map(combs, decoded)) > 5
    assert probe(clip(name)).fields == fields
    facts, folder = ingested(name)
    assert (facts.frames, facts.fps, facts.size) == (24, Fraction(25), (192, 96))
    assert any(f"{name} is interlaced" in line for line in facts.warnings)
    with WorkingCopy(folder, facts) as copy:
        frames = [copy.read(index) for index in range(24)]
    assert max(map(combs, frames)) < 1
    bars = [int(np.flatnonzero(frame[48, :, 1] > 128)[0]) for frame in frames[:12]]
    assert np.diff(bars).tolist() == pytest.approx([12] * 11, abs=1)


def test_a_file_that_is_only_marked_is_left_alone(ingested, clip) -> None:
    name = "interlaced_mark_only.mp4"
    assert probe(clip(name)).fields == "T"
    assert not is_combed(probe(clip(name)))
    facts, _ = ingested(name)
    assert not facts.warnings


def test_a_gif_has_no_combs_either(clip, tmp_path: Path) -> None:
    convert_to_gif(clip("interlaced.mp4"), tmp_path / "a.gif")
    gif = cv2.VideoCapture(str(tmp_path / "a.gif"))
    assert combs(gif.read()[1]) < 2
    gif.release()
