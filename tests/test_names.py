"""Names that every system takes, checked on every system by the rules of all."""

from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pipeline import inputs
from pipeline.config import config_from
from pipeline.names import distinct, usable
from pipeline.outputs import portable_text
from pipeline.renderer import render


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("holiday", "holiday"),
        ("été 2", "été 2"),
        ("what? 1:2 <a|b>*", "what_ 1_2 _a_b__"),
        ("tab\tline\n", "tab_line_"),
        ('"x"\\y', "_x__y"),
        ("ends in. ..", "ends in"),
        (".hidden", ".hidden"),
        ("..", "_"),
        (" ", "_"),
        ("con", "_con"),
        ("AUX", "_AUX"),
        ("nul .txt", "_nul .txt"),
        ("com1.final", "_com1.final"),
        ("LPT\u00b2", "_LPT\u00b2"),
        ("comic", "comic"),
        ("com12", "com12"),
    ],
)
def test_a_stem_becomes_a_name_for_every_system(stem, name):
    assert usable(stem) == name
    assert usable(name) == name


def test_names_differ_for_the_system_that_looks_least_closely():
    assert distinct(["a", "b", "a", "A", "a-2"]) == ["a", "b", "a-2", "A-3", "a-2-2"]
    composed, decomposed = "\u00e9", "e\u0301"
    assert distinct([composed, decomposed]) == [composed, f"{decomposed}-2"]


def still(path, shade):
    picture = np.full((64, 64, 3), shade, np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def test_pictures_that_some_systems_would_take_for_one_are_stored_apart(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, name in enumerate(("a.png", "a.bmp", "b.png")):
        still(folder / name, 60 + 60 * k)
    outputs = [{"kind": "png", "frames": "all"}]
    source = {"kind": "images", "path": str(folder)}
    dream = {"iterations": 0}
    config = config_from({"name": "x", "source": source, "dream": dream, "outputs": outputs})
    done = render(config, root=tmp_path)
    assert [path.name for path in done.outputs] == ["x-a.png", "x-a-2.png", "x-b.png"]
    shades = [int(cv2.imread(str(path)).mean()) for path in done.outputs]
    assert shades == [120, 60, 180]


PROBED = SimpleNamespace(fps=Fraction(25), seconds=1.0, size=(64, 64))


def test_videos_get_folders_that_every_system_can_make(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("A.mp4", "a.mov", "aux.mp4", "...mp4", "x .mp4")]
    monkeypatch.setattr(inputs, "find_videos", lambda *_, **__: paths)
    monkeypatch.setattr(inputs, "probe", lambda _: PROBED)
    config = config_from({"name": "x", "source": {"kind": "video", "path": ["two", "files"]}})
    folders = [each.folder for each in inputs.look_at_inputs(config, tmp_path)]
    assert [folder.name for folder in folders] == ["A", "a-2", "_aux", "_", "x"]
    assert {folder.parent for folder in folders} == {tmp_path}


@pytest.mark.parametrize("path", ["/home/me/my photo.jpg", "C:\\Users\\me\\my photo.jpg"])
def test_the_config_in_a_file_names_no_folder_of_any_system(path):
    config = config_from({"name": "x", "source": {"kind": "image", "path": path}})
    assert "path: my photo.jpg\n" in portable_text(config)
