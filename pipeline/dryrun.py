"""What a render would do, without doing it: no torch is imported, no picture read."""

from pathlib import Path

from pipeline import build
from pipeline.config import Config
from pipeline.engine.octaves import usable_octaves


def dry_run(config: Config, root: Path) -> list[str]:
    """Describe a render in lines to print.

    Args:
        config: of the render.
        root: where renders land.

    Raises:
        PipelineError: whatever would stop the render before its first frame.
    """
    source = build.make_source(config)
    plan = build.make_plan(config, source, 1)
    nodes = [node for batch in plan for node in batch.nodes]
    keys = [node for node in nodes if node.iterations]
    sizes = sorted({node.size for node in nodes})
    dream, runtime = config.dream, config.runtime
    smallest = max(layer.smallest for layer in build.layers(config))
    octaves = usable_octaves(sizes[-1], dream.octaves, dream.ratio, smallest)
    steps = sum(node.iterations for node in nodes)
    terms = ", ".join(f"{t.layer} x {t.weight.written()}" for t in dream.terms())
    seconds = float(len(nodes) / source.fps)
    folder = root / config.name
    return [
        f"name       {config.name} -> {folder}",
        f"source     {config.source.kind}: {len(nodes)} frames, {source.fps} fps, {seconds:.1f} s",
        f"size       {', '.join(f'{w}x{h}' for w, h in sizes)}",
        f"keyframes  {len(keys)} dreamed, {len(nodes) - len(keys)} filled from both sides; "
        f"feedback {config.feedback.kind}",
        f"dream      {dream.model}: {terms}; {steps} steps per octave in all",
        f"octaves    {', '.join(f'{w}x{h}' for w, h in octaves)}",
        f"runtime    device {runtime.device}, precision {runtime.precision}, "
        f"tile {runtime.tile}, batch {runtime.batch}",
        f"disk       about {build.disk_estimate([n.size for n in nodes]) / 1e6:.0f} MB",
        *(f"output     {folder / file}" for file in config.output_names()),
    ]
