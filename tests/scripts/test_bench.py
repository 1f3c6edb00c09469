"""The benchmark measures what it says: every row runs, at sizes where it takes no time."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import bench
import bench_baseline
import bench_engine
import bench_floor
import bench_memory
import bench_plot
import bench_render
import bench_results
import bench_works
from bench_results import NONE, OtherMachineError, Results
from bench_works import WORKS

from pipeline.engine import capabilities

SMALL = {work.name: replace(work, steps=1, octaves=2, size=(160, 128)) for work in WORKS}
HERE = {"device": "a test", "torch": "1"}


def rows_measured(names):
    """Rows as a machine of 100 and 200 GFLOP/s would measure them."""
    for k, work in enumerate(WORKS):
        if names is None or work.name in names:
            yield bench_engine.Row(
                work,
                {
                    "baseline": bench_engine.Cost(8.0 + k, 16.0, 3000),
                    "fp32": bench_engine.Cost(4.0, 8.0, 1500),
                    "bf16": bench_engine.Cost(2.0, 4.0, 1000),
                },
                gflop=200.0,
                peaks={"fp32": 100.0, "bf16": 200.0},
                auto=("bf16", 4),
                path={"fp32": "analytic", "bf16": "analytic"},
                weights="random",
                turns=5,
            )


def see_both_ways_change_the_picture(name):
    work = SMALL[name]
    network, _ = bench_works.weights_of(work.model)
    dreamer = bench_works.ours(work, network, "fp32", "cpu")
    dreamed = bench_works.dream_of(work, dreamer)().pictures
    assert dreamed.shape == (work.batch, 3, 128, 160)
    assert (dreamed - bench_works.pictures(work)).abs().mean() > 1e-3
    detail = bench_baseline.baseline(work, "cpu")()
    assert detail.shape == (128, 160, 3)
    assert 1e-3 < np.abs(detail).mean() < 0.1
    assert bench_floor.gflop(work) > 0


@pytest.mark.parametrize("name", ["F/2", "D/alexnet", "S"])
def test_rows_dream(name):
    see_both_ways_change_the_picture(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [w.name for w in WORKS if w.name not in ("F/2", "D/alexnet", "S")])
def test_every_row_dreams(name):
    see_both_ways_change_the_picture(name)


def test_a_row_is_measured_whole(monkeypatch):
    monkeypatch.setattr(bench_engine, "memory_of", lambda work, way, device: len(way))
    row = bench_engine.measure(replace(SMALL["S"], batch=2), device="cpu", turns=1)
    assert set(row.costs) == {"baseline", *bench_works.precisions("cpu")}
    assert all(c.wall > 0 and c.user > 0 for c in row.costs.values())
    assert row.path["fp32"].startswith("analytic")
    assert row.costs["baseline"].memory == 8
    assert bench_engine.row_from(json.loads(json.dumps(asdict(row)))) == row


def test_what_a_machine_cannot_do_is_left_out_and_said(monkeypatch, tmp_path):
    monkeypatch.setattr(capabilities, "has_convolution", lambda dtype: dtype == torch.float32)
    monkeypatch.setattr(bench_engine, "memory_of", lambda work, way, device: len(way))
    assert bench_works.kind_of("cpu") == "cpu"
    row = bench_engine.measure(replace(SMALL["S"], steps=1), device="cpu", turns=1)
    assert set(row.costs) == {"baseline", "fp32"}
    assert set(row.path) == set(row.peaks) == {"fp32"}
    results = Results(tmp_path / "x.json", HERE, {"S": row}, {})
    (line,) = [x for x in bench_results.markdown(results).splitlines() if x.startswith("| S |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[6] == cells[9] == bench_results.ABSENT
    assert cells[7].endswith("(fp32, batch 16)")
    assert cells[12].startswith("8, 4, -")
    bench_plot.draw(tmp_path / "plot.png", results)


def test_kinds_of_machine_are_told_apart(monkeypatch):
    monkeypatch.setattr(capabilities, "has_convolution", lambda dtype: True)
    assert bench_works.kind_of("cpu") == "cpu-bf16"
    assert bench_works.kind_of("cuda") == "cuda"
    assert set(bench_results.KINDS) == {"cpu-bf16", "cpu", "cuda"}
    page = (Path(bench.DOCS) / "performance.md").read_text(encoding="utf-8")
    assert all(bench_results.begin_of(kind) in page for kind in bench_results.KINDS)


def test_memory_is_what_the_work_takes():
    """The weights alone of a whole AlexNet take 244 MB."""
    assert 244 < bench_engine.memory_of(SMALL["D/alexnet"], "baseline", "cpu") < 500


def test_memory_is_left_out_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert bench_results._megabytes(bench_memory.resident_peak()) == "-"
    assert bench_results._megabytes(1234.5) == "1234"


def test_operations_are_counted_as_written_by_hand():
    """The first layer of VGG16 at one size: 3 x 3 x 3 x 64 products and sums a pixel, twice."""
    work = bench_works.Work("x", "vgg16", "relu1_1", (40, 30), octaves=1, steps=7)
    assert bench_floor.gflop(work) == pytest.approx(2 * 2 * 27 * 64 * 1200 * 7 / 1e9)


def test_response_normalisation_is_no_convolution_that_must_be():
    work = replace(SMALL["B"], octaves=1, size=(64, 64))
    plain = replace(work, at="conv2/3x3_reduce")
    # conv1 7x7/2 and a 1x1 on a fourth of its pixels: nothing for norm1, which lies between.
    wanted = 2 * 2 * (147 * 64 * 32 * 32 + 64 * 64 * 16 * 16) / 1e9
    assert bench_floor.gflop(plain) == pytest.approx(wanted)


def test_a_render_comes_apart(tmp_path):
    row = bench_render.measure("G/video", device="cpu", turns=1, assets=None, tiny=True)
    assert row.frames == 6
    assert row.size[0] == 96
    for run in row.runs.values():
        parts = run["parts"]
        assert set(parts) == {*bench_render.MAIN, *bench_render.BESIDE}
        assert 0 < sum(parts[part] for part in bench_render.MAIN) < run["wall"]
    saved = json.loads(json.dumps(asdict(row)))
    assert bench_render.rendering_from(saved) == row


def test_rows_are_kept_and_merged(tmp_path):
    path = tmp_path / "bench/engine-cpu.json"
    for name in ("B", "F/1"):  # two runs, one row each
        results = Results.read(path)
        results.begin(HERE)
        for row in rows_measured({name}):
            results.add(row)
    results = Results.read(path)
    assert results.has("B")
    assert results.has("F/1")
    assert not results.has("A")
    assert (
        path.with_suffix(".md").read_text(encoding="utf-8")
        == bench_results.markdown(results) + "\n"
    )


def test_rows_of_another_machine_are_not_mixed_in(tmp_path):
    path = tmp_path / "engine-cpu.json"
    results = Results.read(path)
    results.begin(HERE)
    results.add(next(rows_measured({"B"})))
    with pytest.raises(OtherMachineError, match=r"torch 1 \(here 2\)"):
        Results.read(path).begin(HERE | {"torch": "2"})


def test_the_table_says_what_was_not_measured(tmp_path):
    results = Results(tmp_path / "x.json", HERE, {}, {})
    for row in rows_measured({"B"}):
        results.works["B"] = row
    lines = bench_results.markdown(results, whole=True).splitlines()
    (b,) = [line for line in lines if line.startswith("| B |")]
    assert "| 2.00 (bf16, batch 4) | 2.8x | 5.5x |" in b
    assert "| 50%, 50% |" in b
    (a,) = [line for line in lines if line.startswith("| A |")]
    assert a.count(NONE) == 1
    assert NONE not in bench_results.markdown(results)
    assert lines[0].endswith("Medians of 5 for dreams.")
    assert {line.count("|") for line in lines if line.startswith("| ")} == {14, 16}


def test_a_table_goes_between_the_markers_of_its_kind(tmp_path):
    page = tmp_path / "page.md"
    begin, other = (bench_results.begin_of(kind) for kind in ("cpu", "cuda"))
    end = bench_results.END
    page.write_text(
        f"before {begin} old {end} between {other} another {end} after\n", encoding="utf-8"
    )
    empty = Results.read(tmp_path / "none.json")
    for _ in range(2):
        bench_results.publish(page, "cpu", empty, tmp_path / "plot.png")
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before {begin}\n")
    assert text.endswith(f"{end} between {other} another {end} after\n")
    assert "old" not in text
    assert text.count("### A CPU without") == text.count("](plot.png)") == 1
    assert f"Measured with: {NONE}." in text
    with pytest.raises(ValueError, match="has no <!-- bench: cpu-bf16 -->"):
        bench_results.publish(page, "cpu-bf16", empty, tmp_path / "plot.png")


def test_a_row_that_there_is_not_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "engine", "--rows", "B,Z,F/3"])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert "no Z, F/3; there are A, A/batch, A/small, B, C, D, " in capsys.readouterr().err


def test_the_plot_does_not_depend_on_the_order_of_measuring(tmp_path):
    drawn = []
    for order in (1, -1):
        works = {row.work.name: row for row in list(rows_measured(None))[::order]}
        path = tmp_path / f"{order}.png"
        bench_plot.draw(path, Results(tmp_path / "x.json", HERE, works, {}))
        drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1]


def test_the_plot_shows_every_line(tmp_path):
    results = Results(tmp_path / "x.json", HERE, {}, {})
    results.works = {row.work.name: row for row in rows_measured(None)}
    bench_plot.draw(tmp_path / "plot.png", results)
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture.shape == (560, 1280, 3)
    for colour in bench_plot._COLOURS.values():
        assert (np.abs(picture.astype(int) - colour).sum(2) < 12).sum() > 300


@pytest.mark.cuda
def test_a_row_is_measured_on_a_gpu(cuda):
    row = bench_engine.measure(SMALL["S"], device="cuda", turns=1)
    assert all(c.wall > 0 for c in row.costs.values())
    assert row.costs["bf16"].memory < 2000
    torch.cuda.empty_cache()


@pytest.mark.parametrize("model", ["alexnet", "resnet50", "dreamnet"])
def test_the_baseline_leaves_everything_on(model):
    network = bench_baseline.published(model)
    assert all(p.requires_grad and p.device.type == "cpu" for p in network.parameters())
    assert len(list(network.parameters())) > 10
