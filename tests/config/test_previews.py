from fractions import Fraction

import pytest

from pipeline.config import Config, config_from, preview, resolved_dict
from pipeline.schedule import Schedule


def _config(source: object, **more: object) -> Config:
    return config_from({"name": "x", "source": source, **more})


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ([640, 360], (320, 180)),
        ([1920, 1080], (320, 180)),
        ([360, 640], (180, 320)),
        ([1000, 999], (320, 320)),
        ([16384, 16], (320, 16)),
        ([641, 363], (320, 182)),
        ([200, 101], (200, 101)),
    ],
)
def test_a_preview_has_320_pixels_on_its_longest_side(size: list, small: tuple) -> None:
    assert preview(_config({"kind": "noise", "size": size})).source.size == small


@pytest.mark.parametrize(
    ("fps", "frames", "few"),
    [(24, 240, 48), (60, 240, 48), (12, 240, 24), (1, 240, 24), (20, 240, 40), (24, 5, 5)],
)
def test_a_preview_lasts_about_two_seconds(fps: int, frames: int, few: int) -> None:
    source = preview(_config({"kind": "noise", "fps": fps, "frames": frames})).source
    assert (source.frames, source.fps) == (few, Fraction(fps))


def test_a_preview_is_the_same_dream_in_its_own_directory() -> None:
    config = _config(
        {"kind": "noise", "size": [1280, 720]},
        dream={"octaves": 5, "jitter": 32, "step": "0.01 + t/100"},
        feedback={"kind": "camera", "zoom": 3},
        outputs=["mp4", "png"],
    )
    small = preview(config)
    assert small.name == "x-preview"
    assert small.dream.jitter == Schedule(8.0)
    assert [output.kind for output in small.outputs] == ["gif"]
    assert small.dream.model_copy(update={"jitter": config.dream.jitter}) == config.dream
    assert (small.feedback, small.seed, small.runtime) == (
        config.feedback,
        config.seed,
        config.runtime,
    )
    assert resolved_dict(config_from(resolved_dict(small))) == resolved_dict(small)


def test_a_loop_stays_one() -> None:
    loop = {"kind": "camera", "loop": 60}
    assert preview(_config({"kind": "noise"}, feedback=loop)).feedback.loop == 24
    assert preview(_config({"kind": "noise"}, feedback=loop | {"loop": 20})).feedback.loop == 20


def test_a_soft_edge_shrinks_with_the_picture() -> None:
    noise = {"kind": "noise", "size": [1280, 720]}
    small = preview(_config(noise, mask={"path": "m.png", "feather": 20, "invert": True}))
    assert (small.mask.path, small.mask.feather, small.mask.invert) == ("m.png", 5.0, True)
    assert preview(_config(noise, mask="m.png")).mask.feather == 2.0


def test_a_long_name_still_names_a_directory() -> None:
    small = preview(config_from({"name": "x" * 100, "source": "noise"}))
    assert small.name == "x" * 92 + "-preview"


def test_pictures_and_videos_are_fitted_within() -> None:
    photo = preview(
        _config({"kind": "image", "path": "a.png", "frames": 500}, dream={"jitter": 24})
    )
    assert (photo.source.size, photo.source.frames) == ((320, 320), 48)
    assert photo.dream.jitter == Schedule(12.0)
    assert preview(_config({"kind": "image", "path": "a.png"})).source.frames == 1
    folder = preview(_config({"kind": "images", "path": "a", "size": [640, 320]}))
    assert folder.source.size == (320, 160)
    video = preview(_config({"kind": "video", "path": "a", "cuts": [5, 47, 48, 100]}))
    assert (video.source.size, video.source.frames, video.source.cuts) == ((320, 320), 48, (5, 47))
    short = preview(
        _config({"kind": "video", "path": "a", "frames": 10, "fps": 12, "cuts": [9, 10]})
    )
    assert (short.source.frames, short.source.cuts) == (10, (9,))
