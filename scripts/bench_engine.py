"""How fast is one dream? Ours in each precision against the field's way, on the same work.

All ways of a row take turns, after one or two to warm up, and the median of the turns counts: what
else the machine does meanwhile hits them alike. Memory is measured in a process for each way.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import torch
from bench_baseline import baseline
from bench_floor import gflop, peak
from bench_memory import resident_peak
from bench_works import Work, automatic, dream_of, ours, precisions, weights_of

Ways = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Cost:
    """Seconds a picture, on the clock and of the processors, and megabytes (see `memory_of`)."""

    wall: float
    user: float
    memory: float


@dataclass(frozen=True)
class Row:
    """What was measured of one work.

    Attributes:
        work: what was done.
        costs: by way: baseline, fp32, and bf16 where the machine has convolutions for it.
        gflop: the least that one picture takes.
        peaks: 10^9 operations a second that the machine reached around the row, by precision.
        auto: what a render would choose: precision and batch.
        path: how our gradient is computed, by precision.
        weights: real or random.
        turns: how many the medians are of.
    """

    work: Work
    costs: dict[str, Cost]
    gflop: float
    peaks: dict[str, float]
    auto: tuple[str, int]
    path: dict[str, str]
    weights: str
    turns: int


def measure(work: Work, *, device: str, turns: int) -> Row:
    """Measure one row."""
    here = precisions(device)
    peaks = {precision: peak(precision, device) for precision in here}
    network, weights = weights_of(work.model)
    dreamers = {precision: ours(work, network, precision, device) for precision in here}
    ways: dict[str, Callable[[], object]] = {
        precision: dream_of(work, dreamer) for precision, dreamer in dreamers.items()
    }
    ways["baseline"] = baseline(work, device)
    times = interleaved(ways, device=device, turns=turns)
    costs = {}
    for way, (wall, user) in times.items():
        count = 1 if way == "baseline" else work.batch  # it knows no batches
        costs[way] = Cost(wall / count, user / count, memory_of(work, way, device))
    resolved = automatic(work, device)
    return Row(
        work,
        costs,
        gflop(work),
        {precision: max(peaks[precision], peak(precision, device)) for precision in here},
        (resolved.precision, resolved.batch),
        {precision: dreamer.path for precision, dreamer in dreamers.items()},
        weights,
        turns,
    )


def interleaved(ways: Ways, *, device: str, turns: int) -> dict[str, tuple[float, float]]:
    """Median wall and user seconds of each way."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    warm_ups = 1 if device == "cpu" else 2  # a GPU's steps are recorded in the second
    for _ in range(warm_ups + turns):
        for way, run in ways.items():
            _settle(device)
            start, user = time.perf_counter(), _user_seconds()
            run()
            _settle(device)
            taken[way].append((time.perf_counter() - start, _user_seconds() - user))
    counted = {way: each[warm_ups:] for way, each in taken.items()}
    return {
        way: (statistics.median(w for w, _ in each), statistics.median(u for _, u in each))
        for way, each in counted.items()
    }


def memory_of(work: Work, way: str, device: str) -> float:
    """Most megabytes that one way holds, measured in a process of its own.

    On a CPU what the process has resident above its libraries (most of a gigabyte, of torch's CUDA
    build); on a GPU what torch took of it.
    """
    command = [sys.executable, __file__, json.dumps(asdict(work)), way, device]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return float(done.stdout)


def _measure_memory(work: Work, way: str, device: str) -> float:
    libraries = resident_peak()
    run: Callable[[], object]
    if way == "baseline":
        run = baseline(work, device)
    else:
        run = dream_of(work, ours(work, weights_of(work.model)[0], way, device))
    for _ in range(2):
        run()
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e6
    return resident_peak() - libraries


def row_from(saved: Mapping[str, object]) -> Row:
    """Read a row as `asdict` left it in JSON."""
    fields = dict(saved)
    fields["work"] = work_from(fields["work"])
    fields["costs"] = {way: Cost(**cost) for way, cost in fields["costs"].items()}
    fields["auto"] = tuple(fields["auto"])
    return Row(**fields)


def work_from(saved: Mapping[str, object]) -> Work:
    """Read a work as `asdict` left it in JSON."""
    return Work(**{**saved, "size": tuple(saved["size"])})


def describe(row: Row) -> Iterable[str]:
    """Lines for whoever waits."""
    yield f"{row.work.name}: {row.work.model} {row.work.at}, {row.gflop:.0f} GFLOP a picture"
    for way, cost in row.costs.items():
        yield (
            f"  {way:8s} {cost.wall:8.3f} s, user {cost.user:8.3f} s, {cost.memory:6.0f} MB, "
            f"{row.costs['baseline'].wall / cost.wall:5.1f}x the baseline"
        )


def _settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _user_seconds() -> float:
    return os.times().user


if __name__ == "__main__":
    asked, way, device = sys.argv[1:]
    # One step holds as much as ten.
    print(_measure_memory(replace(work_from(json.loads(asked)), steps=1), way, device))
