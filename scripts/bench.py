"""Measure, as ratios within one run.

    python scripts/bench.py coherence      how calm: ours against what others do
    python scripts/bench.py camera         how calm a zoom is, by distance of keyframes
    python scripts/bench.py engine         how fast: ours against an engine as the field writes it

Each prints its rows as they come, then a Markdown table, and writes outputs/bench-NAME.json.
`--quick` measures less. DREAM_ASSETS is a folder of real weights, clips and photos.
"""

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path

# Before torch is imported: threads that spin while they wait distort every number here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import bench_camera
import bench_coherence
import bench_engine
import torch

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["coherence", "camera", "engine"])
    parser.add_argument("--quick", action="store_true", help="under three minutes")
    options = parser.parse_args()
    assets = Path(os.environ.get("DREAM_ASSETS", ""))
    if options.what != "camera" and not (assets / "weights").is_dir():
        parser.error("set DREAM_ASSETS to a folder with weights/, clips/ and photos/")
    print(
        f"{platform.platform()}, python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        flush=True,
    )
    quick = options.quick
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if options.what == "coherence":
            rows = bench_coherence.run(
                assets, Path(folder), frames=17 if quick else 25, attempts=2 if quick else 4
            )
            text = bench_coherence.table(rows)
        elif options.what == "camera":
            rows = bench_camera.run(Path(folder), frames=37 if quick else 73)
            text = bench_camera.table(rows)
        else:
            rows = bench_engine.run(assets, quick=quick)
            text = bench_engine.table(rows)
    print(f"\n{text}")
    target = ROOT / f"outputs/bench-{options.what}.json"
    target.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    print(f"\n{target}")


if __name__ == "__main__":
    main()
