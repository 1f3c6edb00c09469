"""What the README promises is what there is."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from pipeline.cli import _parser
from pipeline.config import load_config
from pipeline.variants import plan_sweep

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_tables_are_up_to_date():
    tables = runpy.run_path(str(ROOT / "scripts/readme_tables.py"))
    assert tables["with_tables"](README) == README, "run python scripts/readme_tables.py"


def commands() -> list[str]:
    lines = re.findall(r"^    (dream [^#\n]*)", README, re.MULTILINE)
    return [part.strip() for line in lines for part in line.split(";")]


def test_it_shows_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", commands())
def test_its_commands_are_accepted(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = _parser().parse_args(shlex.split(command)[1:])
    if command.startswith("dream sweep"):
        plan_sweep(options.config, options.overrides)
    elif "config" in options:
        load_config(options.config, options.overrides)


def test_files_it_points_to_are_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.unix
def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    small = '"source.frames=2", "source.size=[64, 48]", "dream.iterations=1", "outputs=[png]"'
    exec(first.replace('"source.frames=48"', small), {})
    assert (tmp_path / "outputs/short/short.png").exists()
    scope: dict[str, object] = {}
    exec(second.replace("180, 320", "48, 64").replace("iterations=10", "iterations=1"), scope)
    assert scope["dream"].pictures.shape == (2, 3, 48, 64)
