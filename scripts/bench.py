"""Measure, as ratios within one run.

    python scripts/bench.py engine         how fast: ours against an engine as the field writes it
    python scripts/bench.py engine --rows B,F,G --device cuda
    python scripts/bench.py plot           seconds against pixels and batch, with their floors
    python scripts/bench.py publish        the tables and the plot into docs/
    python scripts/bench.py coherence      how calm: ours against what others do
    python scripts/bench.py camera         how calm a zoom is, by distance of keyframes

`engine` keeps every row as it is done, in outputs/bench/engine-KIND.json with a table beside it:
run it again to go on, or with --rows to measure some (A to F and S one dream, G whole renders).
`coherence` and `camera` write outputs/bench-NAME.json. `--quick` measures less. DREAM_ASSETS is a
folder of real weights, clips and photos.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pipeline  # noqa: F401  sets up OpenMP, which must happen before torch is imported

# isort: split
import bench_camera
import bench_coherence
import bench_engine
import bench_plot
import bench_render
import torch
from bench_results import KINDS, NONE, OtherMachineError, Results, machine, markdown, publish
from bench_works import QUICK, WORKS, kind_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TURNS, QUICK_TURNS, RENDER_TURNS = 5, 3, 1


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whats = ["engine", "plot", "publish", "coherence", "camera"]
    parser.add_argument("what", choices=whats)
    parser.add_argument("--quick", action="store_true", help="under three minutes")
    parser.add_argument("--rows", help="of engine: letters or names, as in B,F/4,G")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of engine")
    parser.add_argument("--turns", type=int, help="medians of so many; 5, of a whole render 1")
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    options = parser.parse_args()
    names = [*(work.name for work in WORKS), *bench_render.RENDERS]
    known = dict.fromkeys(part for name in names for part in (name.partition("/")[0], name))
    if strange := [row for row in (options.rows or "").split(",") if row and row not in known]:
        parser.error(f"--rows: no {', '.join(strange)}; there are {', '.join(known)}")
    name = os.environ.get("DREAM_ASSETS")
    assets = Path(name) if name else None
    if options.what in ("engine", "plot", "publish"):
        try:
            _engine(options, assets)
        except OtherMachineError as error:
            parser.error(str(error))
        return
    if options.what == "coherence" and not (assets and (assets / "weights").is_dir()):
        parser.error("set DREAM_ASSETS to a folder with weights/, clips/ and photos/")
    print(
        f"{platform.platform()}, python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        flush=True,
    )
    quick = options.quick
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if options.what == "coherence":
            rows: Sequence[bench_coherence.Row | bench_camera.Row] = bench_coherence.run(
                assets, Path(folder), frames=17 if quick else 25, attempts=2 if quick else 4
            )
            text = bench_coherence.table(rows)
        else:
            rows = bench_camera.run(Path(folder), frames=37 if quick else 73)
            text = bench_camera.table(rows)
    print(f"\n{text}")
    target = ROOT / f"outputs/bench-{options.what}.json"
    target.write_text(json.dumps([asdict(row) for row in rows], indent=2), encoding="utf-8")
    print(f"\n{target}")


def _engine(options: argparse.Namespace, assets: Path | None) -> None:
    """Measure the engine, or show what was measured."""
    if options.what == "engine":
        _measure(options, assets)
        return
    for kind in KINDS:
        results = Results.read(_file(kind, quick=False))
        if not results.works:
            print(f"{kind}: {NONE} here")
            continue
        picture = DOCS / f"performance_{kind}.png"
        bench_plot.draw(picture, results)
        print(picture)
        if options.what == "publish":
            publish(DOCS / "performance.md", kind, results, picture)
            print(DOCS / "performance.md")


def _measure(options: argparse.Namespace, assets: Path | None) -> None:
    device = options.device
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: its columns stay " + repr(NONE))
    torch.backends.cudnn.benchmark = True  # as a render has it
    path = _file(kind_of(device), quick=options.quick)
    if options.again:
        path.unlink(missing_ok=True)
    results = Results.read(path)
    here = machine(device)
    results.begin(here)
    print(", ".join(f"{k} {v}" for k, v in here.items()), flush=True)
    if options.quick:
        print(f"quick: rows {', '.join(QUICK)} only, medians of {QUICK_TURNS}", flush=True)
    turns = options.turns or (QUICK_TURNS if options.quick else TURNS)
    for work in WORKS:
        if not _wanted(work.name, options) or results.has(work.name):
            continue
        row = bench_engine.measure(work, device=device, turns=turns)
        print("\n".join(bench_engine.describe(row)), flush=True)
        results.add(row)
    for name in bench_render.RENDERS:
        if not _wanted(name, options) or results.has(name):
            continue
        render = bench_render.measure(
            name, device=device, turns=options.turns or RENDER_TURNS, assets=assets, tiny=False
        )
        print("\n".join(bench_render.describe(render)), flush=True)
        results.add(render)
    print(f"\n{markdown(results)}\n\n{path}")


def _wanted(name: str, options: argparse.Namespace) -> bool:
    rows = options.rows.split(",") if options.rows else QUICK if options.quick else None
    return rows is None or name in rows or name.partition("/")[0] in rows


def _file(kind: str, *, quick: bool) -> Path:
    return ROOT / f"outputs/bench/engine-{kind}{'-quick' if quick else ''}.json"


if __name__ == "__main__":
    main()
