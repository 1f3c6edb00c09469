"""What was measured, kept row by row, and as Markdown.

A full run takes over an hour. So each row is stored as it is done, a run may be stopped and
continued or split by `--rows`, and rows measured elsewhere are never mixed in: another machine,
device, version or number of threads is another file's business.
"""

import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import bench_engine
import bench_render
import torch
from bench_engine import Row
from bench_render import BESIDE, MAIN, RENDERS, Rendering
from bench_works import PRECISIONS, WORKS

from pipeline.engine.capabilities import processor
from pipeline.media.atomic import partial

NONE, ABSENT = "not measured", "not on this machine"
# The kinds of machine that have a table each: see `bench_works.kind_of`.
KINDS = {
    "cpu-bf16": "A CPU with bf16 convolutions",
    "cpu": "A CPU without",
    "cuda": "A GPU",
}
END = "<!-- end -->"
WAYS = ("baseline", *PRECISIONS)


class OtherMachineError(Exception):
    """The file holds what another machine, or other versions, measured."""


@dataclass
class Results:
    """The rows of one kind of machine, and the file they are in.

    Attributes:
        path: JSON.
        machine: what measured them; empty where nothing is measured yet.
        works: rows of the engine by name.
        renders: rows of whole renders by name.
    """

    path: Path
    machine: dict[str, str]
    works: dict[str, Row]
    renders: dict[str, Rendering]

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a file; one that is not there has no rows."""
        saved = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return cls(
            path,
            saved.get("machine", {}),
            {k: bench_engine.row_from(r) for k, r in saved.get("works", {}).items()},
            {k: bench_render.rendering_from(r) for k, r in saved.get("renders", {}).items()},
        )

    def begin(self, machine: dict[str, str]) -> None:
        """Go on with the rows that are there, or begin.

        Raises:
            OtherMachineError: they were measured under other conditions.
        """
        if differing := [k for k in self.machine if self.machine[k] != machine.get(k)]:
            found = ", ".join(f"{k} {self.machine[k]} (here {machine.get(k)})" for k in differing)
            raise OtherMachineError(
                f"{self.path} was measured with {found}: --again measures anew, or move it away"
            )
        self.machine = machine

    def has(self, name: str) -> bool:
        """Whether a row is there."""
        return name in self.works or name in self.renders

    def add(self, row: Row | Rendering) -> None:
        """Keep one row, on disk at once, with the table beside it."""
        if isinstance(row, Row):
            self.works[row.work.name] = row
        else:
            self.renders[row.name] = row
        rows = {
            "works": {k: asdict(r) for k, r in self.works.items()},
            "renders": {k: asdict(r) for k, r in self.renders.items()},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with partial(self.path) as unfinished:
            text = json.dumps({"machine": self.machine, **rows}, indent=2)
            unfinished.write_text(text, encoding="utf-8")
        with partial(self.path.with_suffix(".md")) as unfinished:
            unfinished.write_text(markdown(self) + "\n", encoding="utf-8")


def machine(device: str) -> dict[str, str]:
    """What decides a number besides the code."""
    here = {
        "device": torch.cuda.get_device_name()
        if device == "cuda"
        else f"{processor()}, {os.cpu_count()} cores",
        "threads": str(torch.get_num_threads()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device == "cuda":
        return {**here, "cudnn": str(torch.backends.cudnn.version())}
    return {**here, "capability": torch.backends.cpu.get_cpu_capability()}


def _cpu() -> str:
    return f"{processor()}, {os.cpu_count()} cores"


def markdown(results: Results, *, whole: bool = False) -> str:
    """The tables of one device.

    Args:
        results: what was measured.
        whole: with the rows that were not, which say so.
    """
    facts = ", ".join(f"{k} {v}" for k, v in results.machine.items()) or NONE
    return "\n".join(
        [
            f"Measured with: {facts}. {_turns(results)}".rstrip(),
            "",
            *_works_table(results.works, whole),
            "",
            *_renders_table(results.renders, whole),
        ]
    )


def _turns(results: Results) -> str:
    """How much each number stands on."""
    kinds = {"dreams": results.works.values(), "whole renders": results.renders.values()}
    least = {what: min((row.turns for row in rows), default=0) for what, rows in kinds.items()}
    said = [f"of {count} for {what}" for what, count in least.items() if count]
    return f"Medians {', '.join(said)}." if said else ""


def _works_table(rows: Mapping[str, Row], whole: bool) -> Iterable[str]:
    yield (
        "| row | network, layer | size, pictures | GFLOP | baseline s | fp32 s | bf16 s | "
        "auto s | fp32 | bf16 | user s: baseline, fp32, bf16 | of peak: fp32, bf16 | "
        "MB: baseline, fp32, bf16 |"
    )
    yield "|---|---|---|---:|---:|---:|---:|---|---:|---:|---|---|---|"
    for work in WORKS:
        width, height = work.size
        start = [work.name, f"{work.model} {work.at}", f"{width}x{height}, {work.batch}"]
        row = rows.get(work.name)
        if row or whole:
            yield _line(start + (_work_cells(row) if row else [NONE, *[""] * 9]))


def _work_cells(row: Row) -> list[str]:
    walls = {way: cost.wall for way, cost in row.costs.items()}
    precision, batch = row.auto

    def each(told: Callable[[str], str], ways: Sequence[str], absent: str) -> list[str]:
        return [told(way) if way in walls else absent for way in ways]

    def several(told: Callable[[str], str], ways: Sequence[str] = WAYS) -> str:
        return ", ".join(each(told, ways, "-"))

    return [
        f"{row.gflop:.0f}",
        *each(lambda way: _seconds(walls[way]), WAYS, ABSENT),
        f"{_seconds(walls[precision])} ({precision}, batch {batch})",
        *each(lambda way: f"{walls['baseline'] / walls[way]:.1f}x", PRECISIONS, ABSENT),
        several(lambda way: _seconds(row.costs[way].user)),
        several(lambda way: f"{row.gflop / walls[way] / row.peaks[way]:.0%}", PRECISIONS),
        several(lambda way: _megabytes(row.costs[way].memory)),
    ]


def _renders_table(rows: Mapping[str, Rendering], whole: bool) -> Iterable[str]:
    parts = " | ".join([*MAIN, "rest", *BESIDE])
    yield f"| render | precision | s/frame | wall s | user s | MB | {parts} |"
    yield "|---|---|---:|---:|---:|---:|" + "---:|" * (len(MAIN) + 1 + len(BESIDE))
    for name in RENDERS:
        row = rows.get(name)
        if row is None and whole:
            yield _line([name, NONE, *[""] * (5 + len(MAIN) + len(BESIDE))])
        for precision, run in row.runs.items() if row else ():
            wall, spent = run["wall"], run["parts"]
            shares = [spent.get(part, 0.0) / wall for part in MAIN]
            shares += [1 - sum(shares), *(spent.get(part, 0.0) / wall for part in BESIDE)]
            yield _line(
                [
                    f"{name}: {row.source}",
                    f"{precision}{' (auto)' if precision == row.auto else ''}",
                    _seconds(wall / row.frames),
                    f"{wall:.1f}",
                    f"{run['user']:.1f}",
                    _megabytes(run["memory"]),
                    *(f"{share:.0%}" for share in shares),
                ]
            )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _megabytes(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def begin_of(kind: str) -> str:
    """Where the table of a kind of machine begins on a page."""
    return f"<!-- bench: {kind} -->"


def publish(page: Path, kind: str, results: Results, plot: Path) -> None:
    """Put the tables and the plot of a kind of machine between its markers on a page.

    Those of other kinds, measured on other machines, stay as they are.

    Raises:
        ValueError: the page has no such markers.
    """
    begin = begin_of(kind)
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ValueError(f"{page} has no {begin} ... {END}")
    shown = f"![Seconds a picture, by pixels and by batch]({plot.name})"
    section = f"### {KINDS[kind]}\n\n{shown}\n\n{markdown(results, whole=True)}"
    with partial(page) as unfinished:
        unfinished.write_text(f"{before}{begin}\n\n{section}\n\n{END}{after}", encoding="utf-8")
