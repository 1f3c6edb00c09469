"""A config as plain data, and what changes a picture."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import (
    PICTURE_NEUTRAL,
    Config,
    config_from,
    config_hash,
    differing_keys,
    load_config,
    resolved_dict,
)

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


def _changed(config: Config, *overrides: str) -> Config:
    return config_from(resolved_dict(config), overrides)


@pytest.fixture
def config() -> Config:
    return config_from(
        {
            "name": "x",
            "source": {"kind": "noise", "fps": 29.97},
            "feedback": {"kind": "camera", "zoom": {"0": 1, "30f": 2}, "rotate": "8*t"},
            "dream": {"layers": ["mixed4a", "mixed3a"]},
        }
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_plain_data_survives_json_and_reads_back_the_same(path: Path) -> None:
    config = load_config(path)
    resolved = resolved_dict(config)
    text = json.dumps(resolved)
    assert json.loads(text) == resolved
    again = config_from(json.loads(text))
    assert resolved_dict(again) == resolved
    assert json.dumps(resolved_dict(again)) == text  # the order too
    assert again.dream.terms() == config.dream.terms()
    assert again.model_dump(exclude={"dream"}) == config.model_dump(exclude={"dream"})


def test_plain_data_holds_what_the_user_wrote(config: Config) -> None:
    resolved = resolved_dict(config)
    assert resolved["source"]["fps"] == "30000/1001"
    assert resolved["feedback"]["zoom"] == {"0": 1.0, "30f": 2.0}
    assert resolved["feedback"]["rotate"] == "8*t"
    assert list(resolved["dream"]["layers"]) == ["mixed4a", "mixed3a"]
    assert config_from(resolved).source.fps == Fraction(30000, 1001)


def test_the_default_layer_is_written_out() -> None:
    resolved = resolved_dict(config_from({"name": "x", "source": "noise"}))
    (layer,) = resolved["dream"]["layers"].values()
    assert layer == {"weight": 1.0, "objective": "mean_square", "channels": None}


def test_keys_that_differ_are_named(config: Config) -> None:
    other = _changed(
        config, "seed=3", "source.size=[64, 64]", "dream.layers.mixed4a.weight=2",
        "feedback.zoom={0: 1, 30f: 3}", "outputs=[gif]", "keep_frames=false",
    )  # fmt: skip
    assert differing_keys(resolved_dict(config), resolved_dict(other)) == [
        "seed",
        "source.size",
        "feedback.zoom.30f",
        "dream.layers.mixed4a.weight",
    ]
    kind = _changed(config, "feedback.kind=none")
    assert differing_keys(resolved_dict(config), resolved_dict(kind))[0] == "feedback.kind"
    assert differing_keys(resolved_dict(config), resolved_dict(config)) == []


def test_the_hash_is_of_what_changes_the_picture(config: Config) -> None:
    same = _changed(config, "outputs=[gif, png]", "keep_frames=false")
    assert config_hash(resolved_dict(same)) == config_hash(resolved_dict(config))
    assert set(PICTURE_NEUTRAL) == {"outputs", "keep_frames"}
    for override in ("seed=1", "dream.step=.02", "runtime.threads=2", "name=y"):
        other = _changed(config, override)
        assert config_hash(resolved_dict(other)) != config_hash(resolved_dict(config))


def test_the_hash_does_not_depend_on_the_order_of_keys(config: Config) -> None:
    resolved = resolved_dict(config)
    assert config_hash(dict(reversed(resolved.items()))) == config_hash(resolved)


settings = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "keep_frames": st.booleans(),
        "source": st.sampled_from(
            ["noise", {"kind": "noise", "fps": 59.94, "frames": 3}, {"kind": "image", "path": "a"}]
        ),
        "feedback": st.sampled_from(["none", "camera", {"kind": "camera", "zoom": "1 + t"}]),
        "dream": st.fixed_dictionaries(
            {},
            optional={
                "layers": st.sampled_from(["mixed4a", ["mixed3a"], {"mixed4b": {"channels": 3}}]),
                "step": st.floats(1e-6, 1) | st.just({"0": 1, "2f": 3}),
                "smooth": st.sampled_from(["none", {"kind": "gaussian", "sigma": 2}]),
                "octaves": st.integers(1, 16),
            },
        ),
    },
)


@given(settings, settings)
def test_configs_differ_where_their_hashes_do(ours: dict, theirs: dict) -> None:
    base = {"name": "x", "source": "noise"}
    a, b = (resolved_dict(config_from(base | each)) for each in (ours, theirs))
    assert (config_hash(a) == config_hash(b)) == (differing_keys(a, b) == [])
    assert resolved_dict(config_from(a)) == a
