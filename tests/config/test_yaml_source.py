import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.document import Document
from pipeline.config.yaml_source import MAX_BYTES, parse_yaml, read_yaml
from pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.5e+2", -150.0),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("017", 17),
        ("+3", 3),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("30000/1001", "30000/1001"),
        ("2024-01-31", "2024-01-31"),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("none", "none"),
        ("e3", "e3"),
        (".", "."),
        ("-", [None]),
        ("1.2.3", "1.2.3"),
        ("007.mp4", "007.mp4"),
        ("'1'", "1"),
        ("!!str 007", "007"),
        ("=", "="),
        ("{a: 1, 2: b, 0.5: c}", {"a": 1, 2: "b", 0.5: "c"}),
        ("[1, [2, x]]", [1, [2, "x"]]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    document = parse_yaml(text, "x")
    assert document.data == value
    assert type(document.data) is type(value)
    assert not document.problems


def test_every_value_has_its_line() -> None:
    document = parse_yaml("a: 1\nb:\n  c: [1,\n    2]\n\n  d: {e: 1,\n    f: 2}\n", "x")
    assert document.data == {"a": 1, "b": {"c": [1, 2], "d": {"e": 1, "f": 2}}}
    lines = {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "c", 0): 3,
        ("b", "c", 1): 4,
        ("b", "d"): 6,
        ("b", "d", "e"): 6,
        ("b", "d", "f"): 7,
    }
    assert {path: document.lines[path] for path in lines} == lines


def _problems(document: Document) -> list[tuple[str, object, str]]:
    return [(p.place, p.path, p.message) for p in document.problems]


def test_duplicate_keys_are_refused_with_both_lines() -> None:
    document = parse_yaml("a: 1\nb: {c: 1,\n c: 2}\na: 3\na: 4", "x.yaml")
    assert _problems(document) == [
        ("x.yaml:3", ("b", "c"), "is written twice, first at line 2"),
        ("x.yaml:4", ("a",), "is written twice, first at line 1"),
        ("x.yaml:5", ("a",), "is written twice, first at line 1"),
    ]


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    text = """
base: &base {x: 1, y: 1}
more: &more
  <<: *base
  y: 2
  z: 2
both:
  y: 3
  <<: [*more, {x: 9, w: 9}]
copy: *more
"""
    document = parse_yaml(text, "x")
    assert not document.problems
    assert document.data["more"] == {"x": 1, "y": 2, "z": 2}
    assert document.data["both"] == {"y": 3, "z": 2, "x": 1, "w": 9}
    assert document.data["copy"] == document.data["more"]
    assert document.lines["both", "z"] == 6


@pytest.mark.parametrize(
    "text",
    ["&a [*a]", "&a {x: *a}", "x: &a\n  y: [1, {z: *a}]", "&a {b: &b {<<: *a}}"],
)
def test_an_alias_that_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x:\d+: an alias contains itself"):
        parse_yaml(text, "x")


@pytest.mark.parametrize("text", ["&a {<<: *a}", "&a {<<: &b {<<: *a}}", "<<: 3", "<<: [1]"])
def test_a_merge_of_nothing_mergeable_is_refused(text: str) -> None:
    assert "`<<` needs a map" in parse_yaml(text, "x").problems[0].message


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


def _merge_bomb(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("text", [_bomb(12), _merge_bomb(12)], ids=["aliases", "merges"])
def test_an_alias_bomb_is_refused_at_once(text: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(ConfigError, match=r"x:\d+: means more than 20000 values"):
        parse_yaml(text, "x")
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize("text", ["[" * 50_000, "{a: " * 20_000, "- " * 50_000, "? " * 20_000])
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(ConfigError, match=r"^x: is nested too deeply$"):
        parse_yaml(text, "x")
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2", "x:2: a tab; YAML is indented with spaces"),
        ("a:\n\t- 1", "x:2: a tab; YAML is indented with spaces"),
        ("a: 1\n  b: 2", "x:2: is not valid YAML (mapping values are not allowed here)"),
        ("a: [1, 2", "x:1: is not valid YAML (while parsing a flow sequence: expected ',' or ']'"),
        ("a: *b", "x:1: is not valid YAML (found undefined alias 'b')"),
        ("a: 1\n---\nb: 2", "x:2: a second document begins; a config is one"),
        ("a: 'text", "is not valid YAML (while scanning a quoted scalar: found unexpected end"),
        ("a: 1\nb: \x07", "x:2: contains the unprintable character"),
        ("@a: 1", "x:1: is not valid YAML"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_yaml(text, "x")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system [ls]", "the tag !!python/object/apply:os.system is"),
        ("a: !!binary aGk=", "the tag !!binary is not accepted"),
        ("a: !mine {b: 1}", "the tag !mine is not accepted"),
        ("a: !!set {b}", "the tag !!set is not accepted"),
        ("a: " + "9" * 50, "is not a number that can be used"),
        ("a: 0x" + "f" * 5000, "is not a number that can be used"),
        ("a: !!int abc", "is not a number that can be used"),
        ("[1]: 2", "a key must be text or a number"),
        ("true: 2", "a key must be text or a number"),
        ("~: 2", "a key must be text or a number"),
    ],
)  # fmt: skip
def test_what_no_config_holds_is_refused_with_its_line(text: str, message: str) -> None:
    (problem,) = parse_yaml("# a comment\n" + text, "x").problems
    assert problem.place == "x:2"
    assert message in problem.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "render.yaml:1: is not UTF-8 text"),
        (b"a: 1\nb: \xe9", "render.yaml:2: is not UTF-8 text"),
        (b"a: 1\n\0\0", "render.yaml:2: contains the unprintable character"),
        (b"a" * (MAX_BYTES + 1), "render.yaml: is larger than 256 kB: not a config"),
    ],
)
def test_what_is_not_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("render.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_yaml("render.yaml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_directory_are_one_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/noise_zoom.yaml").touch()
    for path, message in {
        "configs/noize_zoom.yaml": 'no such file. Did you mean "configs/noise_zoom.yaml"?',
        "elsewhere/x.yaml": "no such file",
        "configs": "is a directory; a YAML file is needed",
        "configs/noise_zoom.yaml/x": "cannot be read (Not a directory)",
        "a\0b": "cannot be read",
    }.items():
        with pytest.raises(ConfigError) as error:
            read_yaml(path)
        assert str(error.value).startswith(f"{path}: {message}")


def test_windows_lines_are_fine() -> None:
    document = parse_yaml("a: 1\r\nb: 2\r\n", "x")
    assert document.data == {"a": 1, "b": 2}
    assert document.lines["b",] == 2


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: \xc3\xa9t\xc3\xa9")
    assert read_yaml(path).data == {"name": "été"}


@given(st.text(max_size=60) | st.text("ab:-[]{}&*<!#'\"|>% \n\t1.e~?,", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):  # anything else that is raised fails the test
        assert isinstance(parse_yaml(text, "x").data, dict | list | str | int | float | None)
