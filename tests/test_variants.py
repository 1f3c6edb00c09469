"""Which variants a sweep compares."""

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.variants import plan_sweep

STILL = {
    "name": "small",
    "source": {"kind": "noise", "size": [48, 32], "frames": 1},
    "dream": {"layers": "mixed3b"},
    "outputs": [{"kind": "png"}],
}


@pytest.fixture
def file(tmp_path):
    def written(**changes) -> str:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(STILL | changes), encoding="utf-8")
        return str(path)

    return written


def test_every_combination_is_a_variant(file):
    plan = plan_sweep(
        file(), ["dream.step=0.01,0.02,0.03", "dream.layers=mixed3a,[mixed3a, mixed4a]", "seed=9"]
    )
    assert [v.config.dream.step.value for v in plan.variants] == [
        0.01,
        0.01,
        0.02,
        0.02,
        0.03,
        0.03,
    ]
    assert [tuple(v.config.dream.layers) for v in plan.variants[:2]] == [
        ("mixed3a",),
        ("mixed3a", "mixed4a"),
    ]
    assert {v.config.seed for v in plan.variants} == {9}
    assert len({v.config.name for v in plan.variants}) == 6
    assert plan.columns == 2
    assert plan.variants[2].values == ("step 0.02", "layers mixed3a")


@pytest.mark.parametrize(
    ("setting", "count"),
    [
        ("dream.step={0: 0.01, 1: 0.02},0.03", 2),
        ("dream.step=min(0.01, t+0.01),0.03", 2),
        ("dream.layers=[mixed3a,mixed3b],[mixed4a]", 2),
        ("dream.layers={mixed3a: 1, mixed3b: 2},mixed4a,mixed4b", 3),
        ('dream.smooth=none,"gaussian",{kind: cascade, sigma: 1}', 3),
    ],
)
def test_commas_inside_brackets_do_not_separate(file, setting, count):
    assert len(plan_sweep(file(), [setting]).variants) == count


def test_a_variant_has_the_same_name_in_a_larger_sweep(file):
    few = plan_sweep(file(), ["dream.step=0.01,0.02"]).variants
    more = plan_sweep(file(), ["dream.step=0.005,0.01,0.02"]).variants
    assert [v.config.name for v in few] == [v.config.name for v in more[1:]]


def test_different_values_have_different_names(file):
    paths = "source.path=a b.jpg,a_b.jpg,a-b.jpg,a b.jpg"
    still = file(source={"kind": "image", "path": "photo.jpg"})
    names = [v.config.name for v in plan_sweep(still, [paths]).variants]
    assert len(set(names)) == 3
    assert names[0] == names[3]


def test_a_preview_is_small_and_has_a_folder_of_its_own(file):
    plan = plan_sweep(file(source={"kind": "noise"}), ["dream.step=0.01,0.02"], small=True)
    assert plan.name == "small-sweep-preview"
    assert {max(v.config.source.size) for v in plan.variants} == {320}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dream.step=0.01"], "a sweep compares values"),
        ([], "a sweep compares values"),
        (["seed=" + ",".join(map(str, range(9))), "dream.octaves=" + ",".join("12345678")],
         "9 x 8 values are 72 variants, and a sweep has at most 64"),
        (["seed=1,2", "seed=3,4"], "twice"),
        (["dream.stepp=1,2"], 'override "dream.stepp=1": .* Did you mean "step"'),
        (["dream.step=0.01,abc"], 'override "dream.step=abc": dream.step'),
        (["dream.step=0.01,0.02", "x"], 'override "x": key=value is needed'),
        (["dream.layers=mixed3a,mixed9z"], "is not a layer of dreamnet"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept_is_said(file, settings, message):
    with pytest.raises(ConfigError, match=message):
        plan_sweep(file(), settings)


def test_every_complaint_is_said_once(file):
    with pytest.raises(ConfigError) as caught:
        plan_sweep(file(), ["dream.step=0.01,abc", "dream.layers=mixed3a,mixed9z", "dream.sed=1"])
    lines = str(caught.value).splitlines()
    assert len(lines) == len(set(lines)) == 3
