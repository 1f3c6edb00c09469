import re
from dataclasses import replace
from pathlib import Path

import clips
import numpy as np
import pytest

from pipeline.errors import ConfigError, InputError
from pipeline.media import ffmpeg
from pipeline.media.cuts import consistent_share, find_cuts
from pipeline.media.ingest import ingest

# First frames of the shots, seen by eye on contact sheets of every frame around them. The 480p clip
# fades in from black, pans over a meadow, cuts to a stream, to a bird on a branch (hit by a
# nut, it falls out of the picture within four frames), and to a rabbit hole under a tree, where a
# title fades in and out. The 720p clip is one shot.
SHOTS = {"bbb_480p_cuts_51audio.mp4": [285, 378, 553], "bbb_720p_5s.mp4": []}


@pytest.mark.parametrize("name", SHOTS)
def test_every_cut_is_found_and_none_invented(assets: Path, tmp_path: Path, name: str) -> None:
    facts = ingest(assets / "clips" / name, tmp_path, size=(256, 256))
    assert find_cuts(facts) == SHOTS[name]


def test_a_head_thrown_across_the_picture_is_no_cut(assets: Path, tmp_path: Path) -> None:
    clip = assets / "clips/cockatoo_720p_yuv444.mp4"
    facts = ingest(clip, tmp_path, size=(256, 256), start=6.2, frames=60)
    assert min(facts.shares) < 0.4
    assert max(facts.scores) > 5
    assert find_cuts(facts) == []


def test_scores_are_those_of_scdet(tmp_path: Path) -> None:
    moving = "testsrc2=s=192x128:r=25,noise=alls=40:allf=t,eq=brightness='0.4*sin(9*t)':eval=frame"
    source = f"{moving},trim=end_frame=30,format=gray"
    clips.run(*clips.lavfi(source), "-c:v", "ffv1", str(tmp_path / "a.mkv"))
    lines: list[str] = []
    show = ["-vf", "scdet=threshold=0", "-f", "null", "-"]
    ffmpeg.run(
        [*ffmpeg.file_input(tmp_path / "a.mkv"), *show],
        error=InputError,
        doing="x",
        on_line=lines.append,
        level="info",
    )
    matches = (re.search(r"scd\.score: ([\d.]+)", line) for line in lines)
    wanted = [float(match[1]) for match in matches if match]
    facts = ingest(tmp_path / "a.mkv", tmp_path)
    assert len(wanted) in (29, 30)  # FFmpeg 5 does not score the first frame
    assert max(wanted) > 1
    assert np.abs(np.subtract(facts.scores[-len(wanted) :], wanted)).max() < 0.01


def test_cuts_fades_and_flashes(tmp_path: Path) -> None:
    """Shots of 12 frames: a pan, a cut to another picture, a dissolve, a cut to a darker one."""
    shots = [
        "mandelbrot=s=160x96:r=25:start_scale=2",
        "testsrc=s=160x96:r=25",
        "gradients=s=160x96:r=25:seed=3:speed=0.02",
        "life=s=160x96:r=25:seed=5:mold=10:life_color=0xC0A080:death_color=0x404050",
    ]
    inputs = [argument for shot in shots for argument in clips.lavfi(f"{shot},trim=end_frame=12")]
    join = "[0][1][2][3]concat=n=4"
    clips.run(
        *inputs,
        "-filter_complex",
        join,
        "-pix_fmt",
        "yuv420p",
        *clips.X264,
        str(tmp_path / "a.mp4"),
    )
    facts = ingest(tmp_path / "a.mp4", tmp_path)
    assert facts.frames == 48
    assert [cut for cut in find_cuts(facts) if cut <= 36] == [12, 24, 36]


def test_by_hand(ingested) -> None:
    facts, _ = ingested("plain.mp4")
    still = replace(facts, scores=(0.0,) * 60, shares=(1.0,) * 60)
    assert find_cuts(still) == []
    assert find_cuts(still, [40, 7, 7, 0]) == [7, 40]
    for frame in (-1, 60):
        with pytest.raises(ConfigError, match=f"no frame {frame}: plain.mp4 has 0 to 59"):
            find_cuts(still, [frame])


def test_consistent_share() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 32), np.uint8)
    picture = np.kron(coarse, np.ones((6, 6), np.uint8))
    moved = np.roll(picture, (2, 3), (0, 1))
    other = np.kron(rng.integers(0, 256, (24, 32), np.uint8), np.ones((6, 6), np.uint8))
    assert consistent_share(picture, picture) == 1
    assert consistent_share(picture, moved) > 0.85
    assert consistent_share(picture, other) < 0.2


@pytest.mark.parametrize("size", [(2, 2), (1, 40), (20, 80), (24, 256), (12, 256), (16, 16)])
def test_small_and_narrow_pictures_do_not_crash(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    before, after = (rng.integers(0, 256, size, np.uint8) for _ in range(2))
    for _ in range(5):
        assert 0 <= consistent_share(before, after) <= 1
