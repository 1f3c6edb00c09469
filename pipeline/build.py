"""From a config to flat arguments: the one place that knows the YAML's words and the rooms'."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pipeline.config import Config, Each, resolved_dict
from pipeline.engine.layers import Layer, resolve
from pipeline.errors import ConfigError, InputError
from pipeline.guide import read_guide, smallest_side
from pipeline.inputs import Input
from pipeline.plan import (
    Batch,
    FrameId,
    Lane,
    batches,
    camera_lane,
    flow_lane,
    independent_lanes,
    keyframe_distance,
)
from pipeline.runtime import Resolved

if TYPE_CHECKING:
    from pipeline.engine.ascent import StepSettings
    from pipeline.engine.dreamer import Dreamer

# What is read for every input (its lane of the plan, its noise, its feedback and colours) and for
# every frame (`step_settings`). All else goes into what inputs share: engine, clip, mask, runtime.
_OF_ONE_INPUT = (
    "name", "seed", "outputs", "keep_frames", "source.color", "source.scale",
    "feedback.zoom", "feedback.rotate", "feedback.move", "feedback.centre", "feedback.carry",
    "feedback.iterations", "feedback.keyframe_every", "feedback.loop", "feedback.refine",
    "dream.iterations", "dream.color", "dream.step", "dream.jitter", "dream.smooth.sigma",
    "dream.layers.*.weight", "dream.classes.*", "dream.decay", "dream.tv",
    "dream.transforms.rotate", "dream.transforms.scale", "dream.blur.sigma",
)  # fmt: skip


def shared(config: Config) -> str:
    """What configs must have in common to be rendered together; each may be an input of its own.

    Returns:
        A text, equal for configs that differ in nothing but settings of one input or frame. Layers
        are in their order, as a frame's weights are.
    """
    return json.dumps(_without_own(resolved_dict(config), ""))


def _without_own(value: Any, path: str) -> Any:
    if any(fnmatchcase(path, own) for own in _OF_ONE_INPUT):
        return None
    if isinstance(value, Mapping):
        return {key: _without_own(v, f"{path}.{key}" if path else key) for key, v in value.items()}
    return value


def layers(config: Config) -> list[Layer]:
    """The layers that are climbed, in the config's order."""
    return [resolve(config.dream.model, term.layer) for term in config.dream.terms()]


def check_sizes(config: Config, inputs: Sequence[Input]) -> None:
    """Refuse, before anything is dreamed, what cannot be.

    Raises:
        InputError: a picture too small for the chosen layers, or a guide that cannot be read.
        ConfigError: outputs that need frames of one size, of pictures with several.
    """
    _check_guide(config)
    deepest = max(layers(config), key=lambda layer: layer.smallest)
    for source in (each.source for each in inputs):
        for frame, size in enumerate(source.sizes):
            if min(size) < deepest.smallest:
                name = source.names[frame if len(source.names) > 1 else 0]
                raise InputError(
                    f"{name} is {size[0]}x{size[1]}, but {deepest.name} of {config.dream.model} "
                    f"sees nothing below {deepest.smallest} pixels; enlarge source.size, or choose "
                    f"a shallower layer (`dream layers {config.dream.model}`)"
                )
        if len(set(source.sizes)) > 1:
            for output in config.outputs:
                if output.kind not in ("png", "poster"):
                    raise ConfigError(
                        f"outputs: {output.kind} needs pictures of one size, and these have "
                        f"{len(set(source.sizes))}; use {{kind: png, frames: all}}"
                    )


def _check_guide(config: Config) -> None:
    """Refuse a guide that cannot be read, or in which a guided layer sees nothing."""
    guide = config.dream.guide
    if guide is None:
        return
    side = smallest_side(guide)
    for layer, term in zip(layers(config), config.dream.terms(), strict=True):
        if term.objective == "guide" and side < layer.smallest:
            raise InputError(
                f"{guide.path}, the guide, is seen {side} pixels wide or high, but {layer.name} of "
                f"{config.dream.model} sees nothing below {layer.smallest}; enlarge "
                "dream.guide.size, or choose a shallower layer"
            )


def make_plan(inputs: Sequence[Input], batch: int) -> list[Batch]:
    """Lay out the whole render."""
    lanes: list[Lane] = []
    for index, each in enumerate(inputs):
        sizes, feedback = each.source.sizes, each.config.feedback
        first = each.config.dream.iterations
        if feedback.kind == "camera":
            every = keyframe_distance(feedback.keyframe_every, each.source.fps)
            lanes.append(
                camera_lane(
                    len(sizes),
                    size=sizes[0],
                    every=every,
                    first_iterations=first,
                    iterations=feedback.iterations,
                    loop=feedback.loop,
                    input=index,
                )
            )
        elif feedback.kind == "flow":
            lanes += [
                flow_lane(
                    shot,
                    size=sizes[0],
                    every=feedback.keyframe_every,
                    first_iterations=first,
                    iterations=feedback.iterations,
                    refine=feedback.refine,
                    input=index,
                )
                for shot in each.shots
            ]
        else:
            lanes += independent_lanes(sizes, iterations=first, input=index)
    return list(batches(lanes, batch))


def first_shown(config: Config) -> int:
    """The frame that outputs begin with: a loop leaves out what its end becomes."""
    return config.feedback.loop if config.feedback.kind == "camera" else 0


def make_dreamer(config: Config, resolved: Resolved) -> tuple["Dreamer", dict[str, str]]:
    """Load the network and build the dreamer.

    Returns:
        The dreamer, and what a manifest keeps of it: model, sha256 of the weights, gradient path
        and, where there is one, sha256 of the guide.

    Raises:
        WeightsError: no weights, or those of another network.
        ConfigError: a class that the weights do not know.
        InputError: a guide that cannot be read.
    """
    import torch

    from pipeline.engine.capabilities import DTYPES
    from pipeline.engine.dreamer import Dreamer
    from pipeline.engine.objectives import Term
    from pipeline.engine.tiles import Split
    from pipeline.weights import check_classes, load_network

    torch.set_num_threads(resolved.threads)
    if resolved.device.startswith("cuda"):
        # cuBLAS, which a guide's dot products and classifiers need, asks for this to repeat itself.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(resolved.deterministic)
        torch.backends.cudnn.benchmark = not resolved.deterministic
    dream = config.dream
    network, file = load_network(dream.model, dream.weights)
    check_classes(network, file, dream.classes or ())
    guide = None if dream.guide is None else read_guide(dream.guide)
    chosen = layers(config)
    terms = [
        Term(
            layer.node,
            term.objective,
            "each" if isinstance(term.channels, Each) else term.channels,
        )
        for layer, term in zip(chosen, dream.terms(), strict=True)
    ]
    dreamer = Dreamer(
        network,
        terms,
        octaves=dream.octaves,
        ratio=dream.ratio,
        merge=dream.merge,
        blend=dream.blend,
        octave_blur=dream.octave_blur,
        smoothing=dream.smooth.kind,
        growth=dream.smooth.growth,
        blur_every=dream.blur.every if dream.blur else 0,
        normalisation=dream.normalize,
        normalise_tiles=dream.normalize_tiles,
        smallest=max(layer.smallest for layer in chosen),
        guide=None if guide is None else guide.picture,
        match=dream.guide.match if dream.guide else "best",
        split=Split(resolved.tile, resolved.chunk),
        device=resolved.device,
        dtype=DTYPES[resolved.precision],
    )
    engine = {"model": dream.model, "weights": file.sha256, "gradient": dreamer.path}
    if guide is not None:
        engine["guide"] = guide.sha256
    return dreamer, engine


def frame_key(inputs: Sequence[Input], id: FrameId) -> int:
    """A number that decides everything random about one frame."""
    each = inputs[id.input]
    text = f"{each.config.seed}/{each.clip}/{id.frame}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def step_settings(inputs: Sequence[Input], id: FrameId) -> "StepSettings":
    """Evaluate the dream's schedules at one frame."""
    from pipeline.engine.ascent import StepSettings

    dream, fps = inputs[id.input].config.dream, inputs[id.input].source.fps
    terms = dream.terms()
    return StepSettings(
        step=dream.step.at(id.frame, fps),
        jitter=round(dream.jitter.at(id.frame, fps)),
        sigma=dream.smooth.sigma.at(id.frame, fps),
        weights=tuple(term.weight_at(id.frame, fps) for term in terms),
        channels=tuple(t.channels.at(id.frame) for t in terms if isinstance(t.channels, Each)),
        decay=dream.decay.at(id.frame, fps),
        variation=dream.tv.at(id.frame, fps),
        rotate=dream.transforms.rotate.at(id.frame, fps),
        scale=dream.transforms.scale.at(id.frame, fps),
        blur=dream.blur.sigma.at(id.frame, fps) if dream.blur else 0.0,
    )
