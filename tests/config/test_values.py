"""What each kind of value accepts, and how it is refused."""

from fractions import Fraction

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.config import values
from pipeline.config.checks import nearest, shown, whole_or


def _adapter(kind: object) -> TypeAdapter:
    return TypeAdapter(kind)


@pytest.mark.parametrize(
    ("written", "fps"),
    [
        (24, Fraction(24)),
        (24.0, Fraction(24)),
        ("24", Fraction(24)),
        (12.5, Fraction(25, 2)),
        (29.97, Fraction(30000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        ("50/2", Fraction(25)),
        (Fraction(1, 3), Fraction(1, 3)),
        (0.5, Fraction(1, 2)),
        (29.9, Fraction(299, 10)),
    ],
)
def test_a_frame_rate_is_an_exact_fraction(written: object, fps: Fraction) -> None:
    adapter = _adapter(values.Fps)
    assert adapter.validate_python(written) == fps
    assert adapter.validate_python(adapter.dump_python(fps, mode="json")) == fps


@pytest.mark.parametrize(
    "written",
    [0, -24, True, None, "fast", "30000:1001", "1/0", "24/", float("nan"), float("inf"), 1001,
     1e-9, "1e2", [24], Fraction(0), "1_0", "24 fps", "\N{ARABIC-INDIC DIGIT TWO}"],
)  # fmt: skip
def test_what_is_no_frame_rate_is_refused(written: object) -> None:
    with pytest.raises(ValidationError, match="is not a frame rate: a number above 0 and up to"):
        _adapter(values.Fps).validate_python(written)


def test_a_size_is_width_and_height() -> None:
    adapter = _adapter(values.Size)
    assert adapter.validate_python([16, 16384]) == (16, 16384)
    assert adapter.validate_python((640, 361)) == (640, 361)
    for wrong in (
        [15, 100],
        [640],
        [640, 360, 3],
        [640.0, 360],
        [True, 100],
        "640x360",
        640,
        [0, 0],
        None,
    ):
        with pytest.raises(ValidationError, match=r"is not a size: \[width, height\], each 16 to"):
            adapter.validate_python(wrong)


def test_a_path_is_text_and_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")  # what Windows calls it
    adapter = _adapter(values.PathText)
    assert adapter.validate_python("./a b.png") == "./a b.png"
    assert adapter.validate_python("~/a.png") == "/home/me/a.png"
    assert adapter.validate_python("~a.png") == "~a.png"
    for wrong in ("", "a\0b", 7, None, ["a"], True):
        with pytest.raises(ValidationError, match="is not a path"):
            adapter.validate_python(wrong)
    several = _adapter(values.PathTexts)
    assert several.validate_python(["a", "~/b"]) == ("a", "/home/me/b")
    for wrong in ([], [1], [["a"]], {"a": 1}):
        with pytest.raises(ValidationError, match="is not a path"):
            several.validate_python(wrong)


def test_a_name_is_one_path_component() -> None:
    adapter = _adapter(values.Component)
    for name in ("a", "noise_zoom-2.1", "_x", "-x", "9", "x" * 100):
        assert adapter.validate_python(name) == name
    for odd in ("console", "com", "com10", "nul-1", "a.con", "x.y"):
        assert adapter.validate_python(odd) == odd
    for wrong in ("con", "NUL", "aux.mp4", "Com1", "lpt9.x.y", "prn.", "x.", "x.mp4."):
        with pytest.raises(ValidationError, match="takes for a device"):
            adapter.validate_python(wrong)
    for wrong in ("", ".", "..", ".x", "a/b", "a\\b", "a b", "a\n", "é", "a:b", "x" * 101, "{x}"):
        with pytest.raises(ValidationError, match="cannot name a file or folder"):
            adapter.validate_python(wrong)
    with pytest.raises(ValidationError, match='2024 is not a name; put it in quotes: "2024"'):
        adapter.validate_python(2024)


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:12"])
def test_a_device_is_named_as_torch_names_it(device: str) -> None:
    assert _adapter(values.Device).validate_python(device) == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "cpu:0", 0, None])
def test_what_is_no_device_is_refused(device: object) -> None:
    with pytest.raises(ValidationError, match="is not a device: auto, cpu, mps, cuda or cuda:N"):
        _adapter(values.Device).validate_python(device)


def test_frames_are_last_or_all_or_a_list() -> None:
    adapter = _adapter(values.FrameChoice)
    assert adapter.validate_python("all") == "all"
    assert adapter.validate_python([0, 12]) == (0, 12)
    for wrong in ("first", [], [-1], [1, 1], [1.0], [True], 3, None):
        with pytest.raises(ValidationError, match="is neither last nor all nor a list"):
            adapter.validate_python(wrong)


def test_a_moment_is_middle_or_last_or_seconds() -> None:
    adapter = _adapter(values.Moment)
    assert adapter.validate_python("middle") == "middle"
    assert adapter.validate_python(2) == 2.0
    for wrong in ("end", -1, float("nan"), float("inf"), True, None, []):
        with pytest.raises(ValidationError, match="is neither middle nor last nor a time"):
            adapter.validate_python(wrong)


def test_a_number_or_a_word() -> None:
    check = whole_or("auto", "none", at_least=64).check
    assert [check(value) for value in ("auto", "none", 64)] == ["auto", "none", 64]
    for wrong in (63, 64.0, True, None, "64", "autom", []):
        with pytest.raises(
            ValueError, match="is neither auto nor none nor a whole number of at least 64"
        ):
            check(wrong)
    with pytest.raises(ValueError, match='Did you mean "auto"'):
        check("autom")


def test_a_value_is_shown_as_it_would_be_written() -> None:
    assert [shown(value) for value in (None, True, 1.5, "a", {}, [1, "a"])] == [
        "null", "true", "1.5", '"a"', "a map", '[1, "a"]',
    ]  # fmt: skip
    assert shown(list(range(9))) == "[0, 1, 2, 3, 4, 5, ...]"
    assert shown("x" * 99) == '"' + "x" * 56 + "..."


def test_the_nearest_name_ignores_case() -> None:
    assert nearest("STEPP", ["step", "jitter"]) == '. Did you mean "step"?'
    assert nearest("qqq", ["step", "jitter"]) == ""
