"""The workflow that runs all of this elsewhere: it names what there is and runs what gates."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TEXT = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
WORKFLOW = yaml.load(TEXT, yaml.BaseLoader)  # texts as they stand: `on` is a key, not a truth
JOB = WORKFLOW["jobs"]["test"]
UNIX, WINDOWS = (
    [step for step in JOB["steps"] if step.get("if") == f"runner.os {sign} 'Windows'"]
    for sign in ("!=", "==")
)


def recipe(target: str) -> list[str]:
    """The lines of a target of the Makefile, without where the programs are."""
    found = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE, re.MULTILINE)
    assert found, f"the Makefile has no {target}"
    known = dict(re.findall(r"^(\w+) *[?:]?= *(.*)$", MAKEFILE, re.MULTILINE)) | {"VENV": ""}
    lines = (re.sub(r"\$\((\w+)\)", lambda name: known[name[1]], x) for x in found[1].splitlines())
    return [line.strip().removeprefix("/bin/") for line in lines]


def test_it_runs_for_every_change_on_every_system():
    assert set(WORKFLOW["on"]) == {"push", "pull_request"}
    systems = " ".join(JOB["strategy"]["matrix"]["os"])
    for system in (r"ubuntu-[\d.]+ ", r"ubuntu-[\d.]+-arm", "windows-", "macos-"):
        assert re.search(system, systems)
    assert JOB["runs-on"] == "${{ matrix.os }}"


def test_it_runs_every_python_from_the_oldest_on():
    versions = JOB["strategy"]["matrix"]["python"]
    assert f">={versions[0]}" == PROJECT["requires-python"]
    assert versions == ["3.11", "3.12", "3.13"]


def test_make_is_asked_for_targets_that_it_has():
    (step,) = UNIX
    targets = re.findall(r"^make (\w+)", step["run"], re.MULTILINE)
    assert targets == ["check", "test"]
    for target in targets:
        assert recipe(target)


def test_windows_runs_the_same_lines():
    (step,) = WINDOWS
    install, *lines = step["run"].splitlines()
    assert lines == recipe("check") + recipe("test")
    assert "--extra-index-url" in install
    assert set(re.findall(r"\.\[(\w+)\]", install)) <= set(PROJECT["optional-dependencies"])


def test_what_it_refers_to_is_defined():
    used = set(re.findall(r"\$\{\{ ([\w.]+) \}\}", TEXT))
    assert used == {f"matrix.{name}" for name in JOB["strategy"]["matrix"]}
    assert "TORCH_INDEX" in MAKEFILE
    assert "TORCH_INDEX" in JOB["env"]
