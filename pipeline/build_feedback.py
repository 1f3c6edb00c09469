"""From a config to what a frame inherits and what of its dream is kept."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, partial
from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.config import FlowFeedback as FlowFeedbackConfig
from pipeline.frames import FrameStore
from pipeline.inputs import Input
from pipeline.plan import Batch, FrameId, most_held
from pipeline.runtime import Resolved
from pipeline.schedule import Schedule

if TYPE_CHECKING:
    from pipeline.feedback.color import Look
    from pipeline.feedback.composite import Composite
    from pipeline.feedback.optical_flow import FlowMethod
    from pipeline.feedback.seed import Feedback

# Undreamed frames kept for masks and colours: as many as most batches and their parents have.
_MOST_UNDREAMED = 32


def make_feedback(
    config: Config, inputs: Sequence[Input], resolved: Resolved, coming: Sequence[Batch] = ()
) -> "Feedback":
    """Build what carries dreams from frame to frame.

    Args:
        config: of the render.
        inputs: what it renders.
        resolved: where it runs.
        coming: the batches that will be asked for; frames are read and motion is found ahead.

    Raises:
        WeightsError: no weights for a learned flow.
    """
    from pipeline.feedback.camera import CameraFeedback, CameraPath
    from pipeline.feedback.flow import FlowFeedback
    from pipeline.feedback.none import NoFeedback

    f, device = config.feedback, resolved.device
    nodes = [node for batch in coming for node in batch.nodes]
    if f.kind == "flow":
        return FlowFeedback(
            _flow_method(f, device),
            carry=f.carry,
            device=device,
            coming=nodes,
            window=min(resolved.batch, sum(len(each.shots) for each in inputs))
            * (f.keyframe_every + 1),
        )
    if f.kind == "none":
        return NoFeedback(device, coming=nodes, window=2 * resolved.batch)
    source = inputs[0].source
    path = CameraPath(
        zoom=partial(_at_seconds, f.zoom, source.fps),
        rotate=partial(_at_seconds, f.rotate, source.fps),
        move=(
            partial(_at_seconds, f.move[0], source.fps),
            partial(_at_seconds, f.move[1], source.fps),
        ),
        centre=f.centre,
        fps=source.fps,
        size=source.sizes[0],
    )
    return CameraFeedback(path, carry=f.carry, device=device)


def make_composite(
    config: Config,
    inputs: Sequence[Input],
    resolved: Resolved,
    *,
    stores: Sequence[FrameStore],
    coming: Sequence[Batch],
) -> "Composite":
    """Build what makes seeds and finishes dreams: feedback, masks and colours.

    Args:
        config: of the render.
        inputs: what it renders.
        resolved: where it runs.
        stores: where the dreams of each input go.
        coming: the batches that will be asked for.

    Raises:
        WeightsError: no weights for a learned flow.
    """
    from pipeline.feedback.composite import Composite

    color = config.dream.color

    return Composite(
        make_feedback(config, inputs, resolved, coming),
        sources=[each.source.read for each in inputs],
        masks=[each.mask for each in inputs if each.mask is not None],
        keep_colors=color == "keep",
        wanted=_looks(config, inputs, stores, resolved.device) if color == "match" else None,
        recent=min(most_held(coming), _MOST_UNDREAMED),
        device=resolved.device,
    )


def _looks(
    config: Config, inputs: Sequence[Input], stores: Sequence[FrameStore], device: str
) -> "Callable[[FrameId], Look | None]":
    """What `color: match` aims at: the source, or, of a zoom into noise, its first dream.

    Noise is no picture: its colours are louder and its light is flatter than those of any dream.
    """
    from pipeline.feedback.color import look
    from pipeline.feedback.seed import to_tensor

    if config.feedback.kind != "camera":
        return lambda id: look(to_tensor(inputs[id.input].source.read(id.frame), device))
    noise = config.source.kind == "noise"
    read = stores[0].read if noise else inputs[0].source.read
    first = cache(lambda: look(to_tensor(read(0), device)))
    return lambda id: None if noise and id.frame == 0 else first()


def _flow_method(f: FlowFeedbackConfig, device: str) -> "FlowMethod":
    from pipeline.feedback.optical_flow import dis

    if f.flow == "dis":
        return partial(dis, max_pixels=f.flow_max_pixels)
    from pipeline.feedback.raft import Raft

    return Raft(f.flow, weights=f.flow_weights, max_pixels=f.flow_max_pixels, device=device)


def _at_seconds(schedule: Schedule, fps: Fraction, seconds: Fraction) -> float:
    return schedule.at(seconds * fps, fps)
