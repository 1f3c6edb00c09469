"""What a render would do, without doing it: no torch is imported, no frame read."""

from pathlib import Path

from pipeline import build
from pipeline.config import Config
from pipeline.disk import estimate
from pipeline.engine.octaves import usable_octaves
from pipeline.inputs import copies, look_at_inputs
from pipeline.manifest import wanted


def dry_run(config: Config, root: Path) -> list[str]:
    """Describe a render in lines to print.

    Args:
        config: of the render.
        root: where renders land.

    Raises:
        PipelineError: whatever would stop the render before its first frame.
    """
    folder = root / config.name
    inputs = look_at_inputs(config, folder)
    build.check_sizes(config, inputs)
    plan = build.make_plan(inputs, 1)
    nodes = [node for batch in plan for node in batch.nodes]
    keys = [node for node in nodes if node.iterations]
    stored = [node.size for node in nodes]
    sizes = sorted(set(stored))
    dream, runtime = config.dream, config.runtime
    smallest = max(layer.smallest for layer in build.layers(config))
    octaves = usable_octaves(sizes[-1], dream.octaves, dream.ratio, smallest)
    steps = sum(node.iterations for node in nodes)
    weights = [(t.layer, t.weight) for t in dream.layer_terms()]
    weights += [(f"class {name}", weight) for name, weight in (dream.classes or {}).items()]
    terms = ", ".join(f"{what} x {weight.written()}" for what, weight in weights)
    seconds = sum(float(each.frames / each.source.fps) for each in inputs)
    rates = ", ".join(sorted({str(each.source.fps) for each in inputs}))
    kind = config.source.kind
    first = build.first_shown(config)
    about = "about " if kind == "video" else ""
    return [
        f"name       {config.name} -> {folder}",
        f"source     {kind}: {about}{len(nodes)} frames, {rates} fps, {seconds:.1f} s",
        f"size       {', '.join(f'{w}x{h}' for w, h in sizes)}",
        f"keyframes  {len(keys)} dreamed, {len(nodes) - len(keys)} filled from both sides; "
        f"feedback {config.feedback.kind}",
        *([f"loop       outputs begin with frame {first}"] if first else []),
        f"dream      {dream.model}: {terms}; {steps} steps per octave in all",
        f"octaves    {', '.join(f'{w}x{h}' for w, h in octaves)}",
        f"runtime    device {runtime.device}, precision {runtime.precision}, "
        f"tile {runtime.tile}, batch {runtime.batch}",
        f"disk       about {estimate(stored, stored * copies(config)) / 1e6:.0f} MB",
        *(f"output     {folder / want.key}" for want in wanted(config, inputs)),
    ]
