from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import EncodeError, InputError
from pipeline.media.images import (
    fit,
    fit_size,
    picture_size,
    read_picture,
    resize,
    write_jpeg,
    write_png,
)

RAMP = np.arange(256, dtype=np.uint8)[None].repeat(4, 0)
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture
def corners() -> NDArray[np.uint8]:
    """48x32, black, with a red top, a blue left edge and a green corner: no symmetry."""
    blocks = np.zeros((4, 6, 3), np.uint8)
    blocks[0], blocks[:, 0], blocks[0, 0] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path: Path, corners, orientation: int, kind: str) -> None:
    stored = Image.fromarray(corners)
    if TURNS[orientation] is not None:
        stored = stored.transpose(TURNS[orientation])
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    path = tmp_path / f"photo.{kind}"
    stored.save(path, exif=exif, **options.get(kind, {}))

    picture = read_picture(path)

    assert picture.shape == (32, 48, 3)
    assert picture_size(path) == (48, 32)
    assert np.abs(picture.astype(int) - corners).max() <= 12


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, kind: str, channels: int) -> None:
    deep = RAMP.astype(np.uint16) * 257
    path = tmp_path / f"deep.{kind}"
    assert cv2.imwrite(str(path), deep if channels == 1 else np.stack([deep] * 3, -1))
    assert np.array_equal(read_picture(path), np.stack([RAMP] * 3, -1))


@pytest.mark.parametrize("kind", ["png", "gif"])
def test_transparent_palette_colour_becomes_white(tmp_path: Path, corners, kind: str) -> None:
    palette = Image.fromarray(corners).quantize(8)
    path = tmp_path / f"logo.{kind}"
    palette.save(path, transparency=palette.getpixel((20, 20)))
    picture = read_picture(path)
    assert picture[20, 20].tolist() == [255, 255, 255]
    assert picture[0, 20].tolist() == [255, 0, 0]


def test_half_transparent_is_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (3, 2), (200, 100, 0, 51)).save(tmp_path / "veil.png")
    assert read_picture(tmp_path / "veil.png")[0, 0].tolist() == [244, 224, 204]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("photo.jpg" if mode in ("CMYK", "YCbCr") else "photo.png")
    Image.new("RGB", (20, 10), (255, 255, 255)).convert(mode).save(path)
    picture = read_picture(path)
    assert picture.shape == (10, 20, 3)
    assert picture.dtype == np.uint8
    assert picture.min() >= 250


def test_cmyk_keeps_its_colours(tmp_path: Path, corners) -> None:
    Image.fromarray(corners).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    picture = read_picture(tmp_path / "print.jpg").astype(int)
    assert np.abs(picture[3:5, 20:28] - [255, 0, 0]).max() < 12
    assert np.abs(picture[20:28, 3:5] - [0, 0, 255]).max() < 12


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "two.gif", save_all=True, append_images=[second])
    assert read_picture(tmp_path / "two.gif")[0, 0].tolist() == [255, 0, 0]


def test_too_large_is_refused_before_decoding_and_names_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (200, 100)).save(path)
    assert picture_size(path, max_pixels=20_000) == (200, 100)
    path.write_bytes(path.read_bytes()[:60])  # nothing to decode
    for look in (read_picture, picture_size):
        with pytest.raises(InputError, match=r"200x100 .* max_pixels = 19999 ") as caught:
            look(path, max_pixels=19_999)
        assert "\n" not in str(caught.value)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="max_pixels"):
        read_picture(tmp_path / "bomb.png")


def test_what_is_no_picture_gets_one_clear_line(tmp_path: Path, corners) -> None:
    good = tmp_path / "good.png"
    write_png(corners, good)
    jpeg = tmp_path / "good.jpg"
    write_jpeg(corners, jpeg)
    (tmp_path / "torn.png").write_bytes(good.read_bytes()[:90])
    (tmp_path / "torn.jpg").write_bytes(jpeg.read_bytes()[:300])
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    (tmp_path / "empty.png").touch()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    expected = {
        "torn.png": "damaged",
        "torn.jpg": "damaged",
        "text.png": "not a picture",
        "empty.png": "empty",
        "float.tif": "range is not known",
        "missing.png": "no such file",
        ".": "directory",
    }
    for name, words in expected.items():
        with pytest.raises(InputError, match=words) as caught:
            read_picture(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_names_that_look_like_something_else_are_files(
    tmp_path: Path, corners, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-dir").mkdir()
    for name in (
        "-x.png",
        "imageio:chelsea.png",
        "http:photo.png",
        "archive.zip.png",
        "-dir/%d.png",
    ):
        write_png(corners, Path(name))
        assert np.array_equal(read_picture(Path(name)), corners)


def test_png_round_trip_with_text(tmp_path: Path, corners) -> None:
    path = tmp_path / "new folder" / "frame.png"
    write_png(corners, path, text={"Software": "dream", "config": "name: été\n日本"})
    assert np.array_equal(read_picture(path), corners)
    with Image.open(path) as frame:
        assert frame.info["config"] == "name: été\n日本"
    assert [file.name for file in path.parent.iterdir()] == ["frame.png"]


def test_jpeg_round_trip_with_comment(tmp_path: Path, corners) -> None:
    write_jpeg(corners, tmp_path / "poster.jpg", comment="seed: 7", quality=95)
    assert np.abs(read_picture(tmp_path / "poster.jpg").astype(int) - corners).max() < 16
    with Image.open(tmp_path / "poster.jpg") as poster:
        assert poster.info["comment"] == b"seed: 7"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, corners) -> None:
    path = tmp_path / "frame.png"
    path.write_bytes(b"old")
    (tmp_path / "frame.partial.png").mkdir()  # stands in the way
    with pytest.raises(EncodeError, match=r"could not write .*frame\.png"):
        write_png(corners, path)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("size", "within", "multiple", "expected"),
    [
        ((1920, 1080), (640, 640), 1, (640, 360)),
        ((1920, 1080), (640, 640), 2, (640, 360)),
        ((1080, 1920), (640, 360), 2, (202, 360)),
        ((100, 50), (640, 360), 1, (640, 320)),
        ((4000, 1), (640, 360), 1, (640, 1)),
        ((4000, 1), (640, 360), 2, (640, 2)),
        ((333, 333), (99, 77), 2, (76, 76)),
    ],
)
def test_fit_size(size, within, multiple, expected) -> None:
    assert fit_size(size, within, multiple=multiple) == expected


def test_resize_averages_down_and_is_smooth_up(corners) -> None:
    fine = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    small = resize(np.stack([fine] * 3, -1).astype(np.uint8), (16, 16))
    assert np.abs(small.astype(int) - 128).max() <= 1
    assert resize(corners, (48, 32)) is corners
    assert fit(corners, (100, 100)).shape == (67, 100, 3)
