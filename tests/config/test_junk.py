"""Whatever stands in a config or an override, the answer is a config or a message."""

import contextlib
import copy
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Config, config_from, preview, resolved_dict
from pipeline.errors import ConfigError

FULL: dict[str, Any] = {
    "name": "x",
    "seed": 3,
    "source": {"kind": "noise", "size": [64, 32], "frames": 3, "fps": 29.97, "color": "white"},
    "feedback": {"kind": "camera", "zoom": {"0": 1, "2f": 2}, "move": [0, "t"], "centre": [0, 1]},
    "dream": {
        "layers": {"mixed4a": {"weight": 1, "channels": [1]}, "mixed3a": "cos(t)"},
        "smooth": {"kind": "gaussian", "sigma": 1},
    },
    "outputs": ["mp4", {"kind": "gif", "width": 64}, {"kind": "png", "frames": [1]}],
    "runtime": {"batch": 2},
}
words = st.sampled_from(
    ["", "kind", "noise", "image", "camera", "flow", "gif", "mixed4a", "t", "auto", "a.b", "null"]
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), words
)
keys = words | st.integers(-2, 3) | st.floats(-1, 3) | st.sampled_from(["path", "layers", "30f"])
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def _paths(value: Any, path: tuple = ()) -> list[tuple]:
    if not isinstance(value, dict | list):
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(p for key, each in items for p in _paths(each, (*path, key)))]


paths = st.sampled_from([path for path in _paths(FULL) if path])


def _answer(data: Any, overrides: list[str]) -> Config | None:
    try:
        config = config_from(data, overrides)
    except ConfigError as error:
        message = str(error)
    else:
        assert resolved_dict(config_from(resolved_dict(config))) == resolved_dict(config)
        assert preview(config)
        return config
    assert all(line.isprintable() for line in message.split("\n")), message
    assert not re.search("Input should|Value error|Keys should|unable to", message), message
    return None


def _spoil(data: Any, path: tuple, value: Any) -> None:
    *above, last = path
    for key in above:
        data = data[key]
    data[last] = value


def test_the_config_to_be_spoiled_is_right() -> None:
    assert _answer(FULL, []) is not None


@settings(max_examples=400)
@given(st.lists(st.tuples(paths, junk), min_size=1, max_size=3))
def test_junk_in_place_of_values(changes: list[tuple[tuple, Any]]) -> None:
    data = copy.deepcopy(FULL)
    for path, value in changes:
        # An earlier change may have removed what the path leads through.
        with contextlib.suppress(LookupError, TypeError):
            _spoil(data, path, value)
    _answer(data, [])


@settings(max_examples=300)
@given(paths, keys, junk)
def test_junk_beside_the_values(path: tuple, key: object, value: Any) -> None:
    data = copy.deepcopy(FULL)
    with contextlib.suppress(LookupError, TypeError):
        _spoil(data, (*path, key), value)
    _answer(data, [])


@settings(max_examples=400)
@given(
    st.lists(
        st.tuples(
            paths.map(lambda path: ".".join(map(str, path))) | keys.map(str) | st.text(max_size=8),
            words | scalars.map(str) | st.text("[]{}:,'\"#&*!|>%@` \n\ta1.", max_size=6),
        ).map("=".join),
        max_size=4,
    )
)
def test_junk_in_overrides(overrides: list[str]) -> None:
    _answer(FULL, overrides)
