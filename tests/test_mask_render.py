"""Renders that keep parts of their source, or its colours."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clips import lavfi, run

from pipeline.config import config_from
from pipeline.errors import ConfigError, InputError, ResumeError
from pipeline.feedback.color import look
from pipeline.inputs import open_inputs
from pipeline.renderer import render

SIZE = (96, 64)
SMALL = {
    "name": "kept",
    "seed": 3,
    "dream": {"layers": "mixed3b", "octaves": 2, "iterations": 4, "jitter": 8},
    "outputs": [],
    "runtime": {"threads": 1, "batch": 2},
}


def config(*overrides: str, **changes):
    return config_from(SMALL | changes, overrides)


def frame(folder: Path, number: int) -> np.ndarray:
    return cv2.imread(str(folder / f"frames/{number:06d}.png"), cv2.IMREAD_COLOR_RGB)


def frames_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "frames").iterdir())}


def photo(path: Path, seed: int = 1, size: tuple[int, int] = SIZE) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC))
    return path


@pytest.fixture
def half(tmp_path) -> Path:
    """White on the right."""
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[:, SIZE[0] // 2 :] = 255
    cv2.imwrite(str(tmp_path / "half.png"), mask)
    return tmp_path / "half.png"


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    source = "testsrc2=size=96x64:rate=25,trim=end_frame=9,format=yuv420p"
    run(*lavfi(source), "-c:v", "libx264", "-crf", "12", f"file:{path}")
    return path


def moving_mask(path: Path, frames: int) -> Path:
    """Black, and from frame n on white in the columns right of 96 - 8 n."""
    grow = f"nullsrc=s=96x64:r=25,geq=lum='255*gte(X,96-8*N)':cb=128:cr=128,trim=end_frame={frames}"
    run(*lavfi(f"{grow},format=gray"), "-c:v", "ffv1", f"file:{path}")
    return path


def test_what_is_black_stays_to_the_byte_and_what_is_white_is_dreamed(tmp_path, half):
    source = {"kind": "image", "path": str(photo(tmp_path / "a.png")), "frames": 5}
    camera = {"kind": "camera", "iterations": 2, "keyframe_every": 2}
    settings = config(source=source, feedback=camera, mask={"path": str(half), "feather": 6})
    folder = render(settings, root=tmp_path).folder
    original = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR_RGB).astype(int)
    growth = []
    for number in range(5):
        difference = np.abs(frame(folder, number) - original)
        assert difference[:, :48].max() == 0
        growth.append(difference[:, 56:].mean())
    assert growth[-1] > growth[0] > 3


def test_a_dream_does_not_fade_along_a_soft_edge_as_it_is_inherited(tmp_path):
    """A grey mask shows the same share of a dream after eight inheritances as at first."""
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 96), 128, np.uint8))
    source = {"kind": "image", "path": str(photo(tmp_path / "a.png")), "frames": 9}
    camera = {"kind": "camera", "iterations": 1, "keyframe_every": 1}
    settings = {"source": source, "feedback": camera}
    whole = render(config("name=whole", **settings), root=tmp_path).folder
    part = render(config("name=part", mask=str(tmp_path / "grey.png"), **settings), root=tmp_path)
    original = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR_RGB).astype(int)
    shares = [
        np.abs(frame(part.folder, n) - original).mean() / np.abs(frame(whole, n) - original).mean()
        for n in (0, 4, 8)
    ]
    assert shares == pytest.approx([0.5] * 3, abs=0.08)


def test_a_folder_of_photos_is_masked_at_the_size_of_each(tmp_path, half):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, size in enumerate([(96, 64), (64, 96)]):
        photo(folder / f"{index}.png", index, size)
    settings = config(source={"kind": "images", "path": str(folder)}, mask=str(half))
    done = render(settings, root=tmp_path)
    for index, width in enumerate([96, 64]):
        original = cv2.imread(str(folder / f"{index}.png"), cv2.IMREAD_COLOR_RGB)
        difference = np.abs(frame(done.folder, index).astype(int) - original)
        assert difference[:, : width // 2 - 1].max() == 0
        assert difference[:, width // 2 + 8 :].mean() > 2


def test_a_camera_shows_the_kept_part_as_it_moves(tmp_path, half):
    source = {"kind": "image", "path": str(photo(tmp_path / "a.png")), "frames": 5, "fps": 8}
    camera = {"kind": "camera", "move": ["0.5", "0"], "iterations": 1, "keyframe_every": 2}
    folder = render(config(source=source, feedback=camera, mask=str(half)), root=tmp_path).folder
    original = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR_RGB).astype(int)
    moved = frame(folder, 4)[:, 24:48].astype(int)  # a quarter of the width in half a second
    assert np.abs(moved - original[:, :24]).max() <= 1


def test_a_video_is_masked_by_a_video_frame_by_frame(tmp_path, clip):
    mask = moving_mask(tmp_path / "mask.mkv", 12)
    settings = config(
        source={"kind": "video", "path": str(clip)},
        feedback={"kind": "flow", "keyframe_every": 4, "iterations": 2},
        mask={"path": str(mask), "feather": 4},
    )
    folder = render(settings, root=tmp_path).folder
    (opened,) = open_inputs(settings, folder, fresh=False)
    for number in range(9):
        difference = np.abs(frame(folder, number).astype(int) - opened.source.read(number))
        edge = 96 - 8 * number
        assert difference[:, :edge].max() == 0
        assert number < 2 or difference[:, min(edge + 6, 95) :].mean() > 2
    before = frames_of(folder)
    for number in (2, 4, 7):
        (folder / f"frames/{number:06d}.png").unlink()
    mask.unlink()
    render(settings, root=tmp_path)
    assert frames_of(folder) == before
    render(
        config(source={"kind": "noise", "size": [32, 32], "frames": 1}),
        root=tmp_path,
        overwrite=True,
    )
    assert not (folder / "mask").exists()


def test_a_mask_that_changed_or_is_too_short_is_refused(tmp_path, clip, half):
    video = {"source": {"kind": "video", "path": str(clip)}}
    short = moving_mask(tmp_path / "short.mkv", 5)
    with pytest.raises(InputError, match=r"short\.mkv has 5 frames at 25 fps, and 9 are") as error:
        render(config(mask=str(short), **video), root=tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.json"))
    settings = config("source.frames=1", mask=str(half), **video)
    folder = render(settings, root=tmp_path).folder
    photo(half, seed=9)
    with pytest.raises(ResumeError, match=r"half\.png, clip changed"):
        render(settings, root=tmp_path)  # although it is finished
    (folder / "frames/000000.png").unlink()
    with pytest.raises(ResumeError, match=r"half\.png, clip changed"):
        render(settings, root=tmp_path)
    with pytest.raises(ResumeError, match=r"mask\.feather"):
        render(config("source.frames=1", "mask.feather=2", mask=str(half), **video), root=tmp_path)
    with pytest.raises(InputError, match=r"gone\.png"):
        render(config("name=other", mask=str(tmp_path / "gone.png"), **video), root=tmp_path)
    with pytest.raises(ConfigError, match=r"mask.*feater.*feather"):
        config(mask={"path": "a.png", "feater": 3}, **video)


@pytest.mark.parametrize("color", ["keep", "match"])
def test_colours_of_a_video_stay_those_of_its_source(tmp_path, clip, color):
    done = {}
    for each in ("free", color):
        settings = config(
            f"name={each}",
            f"dream.color={each}",
            source={"kind": "video", "path": str(clip)},
            feedback={"kind": "flow", "keyframe_every": 4, "iterations": 2},
        )
        done[each] = render(settings, root=tmp_path).folder
    (opened,) = open_inputs(settings, done[color], fresh=False)
    distance = {each: 0.0 for each in done}
    for number in range(9):
        source = opened.source.read(number).astype(np.float32) / 255
        for each, folder in done.items():
            dream = frame(folder, number).astype(np.float32) / 255
            if color == "keep":
                chroma = [cv2.cvtColor(p, cv2.COLOR_RGB2YCrCb)[..., 1:] for p in (dream, source)]
                distance[each] += np.abs(chroma[0] - chroma[1]).mean()
            else:
                looks = [look(torch.from_numpy(p).permute(2, 0, 1)) for p in (dream, source)]
                distance[each] += sum(
                    float((a - b).abs().sum()) for a, b in zip(*looks, strict=True)
                )
            assert each == "free" or np.abs(dream - source).mean() > 0.005
    assert distance[color] < 0.5 * distance["free"]


def test_a_zoom_into_noise_keeps_the_look_of_its_first_dream_and_resumes_to_the_byte(tmp_path):
    settings = config(
        "dream.color=match",
        source={"kind": "noise", "size": SIZE, "frames": 25, "fps": 24},
        feedback={"kind": "camera", "zoom": 2, "iterations": 4, "keyframe_every": 3},
    )
    folder = render(settings, root=tmp_path).folder

    def measured(number: int) -> np.ndarray:
        picture = torch.from_numpy(frame(folder, number)).permute(2, 0, 1).float() / 255
        return torch.cat(look(picture)).flatten().numpy()

    looks = {number: measured(number) for number in (0, 6, 13, 24)}
    for found in looks.values():
        assert found[:4] == pytest.approx(looks[0][:4], abs=3)  # means, and the deviation of light
    chroma = [float(np.linalg.norm(found[4:])) for found in looks.values()]
    assert max(chroma) < 1.05 * chroma[0]
    assert min(chroma) > 0.8 * chroma[0]
    # A video's a and b are brought to their source's each for itself; here what they lost stays so.
    assert max(np.abs(found[4:] - looks[0][4:]).max() for found in looks.values()) > 2
    before = frames_of(folder)
    for number in (0, 7, 24):
        (folder / f"frames/{number:06d}.png").unlink()
    render(settings, root=tmp_path)
    assert frames_of(folder) == before
    assert (
        json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["config"]["dream"][
            "color"
        ]
        == "match"
    )
