"""From a config to what a frame inherits and what of its dream is kept."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, partial
from typing import TYPE_CHECKING

from pipeline.config import CameraFeedback as CameraFeedbackConfig
from pipeline.config import FlowFeedback as FlowFeedbackConfig
from pipeline.frames import FrameStore
from pipeline.inputs import Input
from pipeline.plan import Batch, most_held
from pipeline.runtime import Resolved
from pipeline.schedule import Schedule

if TYPE_CHECKING:
    from pipeline.feedback.camera import CameraFeedback
    from pipeline.feedback.color import Look
    from pipeline.feedback.composite import Composite
    from pipeline.feedback.optical_flow import FlowMethod
    from pipeline.feedback.seed import Feedback

# Undreamed frames kept for masks and colours: as many as most batches and their parents have.
_MOST_UNDREAMED = 32


def make_feedback(
    inputs: Sequence[Input], resolved: Resolved, coming: Sequence[Batch] = ()
) -> "Sequence[Feedback]":
    """Build what carries dreams from frame to frame, for every input.

    Args:
        inputs: what is rendered; all have one kind of feedback, and the same flow if any.
        resolved: where it runs.
        coming: the batches that will be asked for; frames are read and motion is found ahead.

    Raises:
        WeightsError: no weights for a learned flow.
    """
    from pipeline.feedback.flow import FlowFeedback
    from pipeline.feedback.none import NoFeedback
    from pipeline.feedback.ways import WayFinder

    device = resolved.device
    nodes = [node for batch in coming for node in batch.nodes]
    settings = [each.config.feedback for each in inputs]
    if cameras := [f for f in settings if f.kind == "camera"]:
        return [_camera(f, each, device) for f, each in zip(cameras, inputs, strict=True)]
    if flows := [f for f in settings if f.kind == "flow"]:
        lanes = min(resolved.batch, sum(len(each.shots) for each in inputs))
        farthest = max(f.keyframe_every for f in flows)
        method = _flow_method(flows[0], device)
        ways = WayFinder(method, coming=nodes, window=lanes * (farthest + 1))
        return [FlowFeedback(ways, carry=f.carry, device=device) for f in flows]
    return [NoFeedback(device, coming=nodes, window=2 * resolved.batch)] * len(inputs)


def make_composite(
    inputs: Sequence[Input],
    resolved: Resolved,
    *,
    stores: Sequence[FrameStore],
    coming: Sequence[Batch],
) -> "Composite":
    """Build what makes seeds and finishes dreams: feedback, masks and colours.

    Args:
        inputs: what is rendered.
        resolved: where it runs.
        stores: where the dreams of each input go.
        coming: the batches that will be asked for.

    Raises:
        WeightsError: no weights for a learned flow.
    """
    from pipeline.feedback.composite import Composite

    return Composite(
        make_feedback(inputs, resolved, coming),
        sources=[each.source.read for each in inputs],
        masks=[each.mask for each in inputs if each.mask is not None],
        keep_colors=[each.config.dream.color == "keep" for each in inputs],
        wanted=[
            _looks(each, store, resolved.device) if each.config.dream.color == "match" else None
            for each, store in zip(inputs, stores, strict=True)
        ],
        chroma_may_grow=inputs[0].config.feedback.kind != "camera",
        recent=min(sum(most_held(coming).values()), _MOST_UNDREAMED),
        device=resolved.device,
    )


def _looks(each: Input, store: FrameStore, device: str) -> "Callable[[int], Look | None]":
    """What `color: match` aims at: the source, or, of a zoom into noise, its first dream.

    Noise is no picture: its colours are louder and its light is flatter than those of any dream.
    """
    from pipeline.feedback.color import look
    from pipeline.feedback.seed import to_tensor

    if each.config.feedback.kind != "camera":
        return lambda frame: look(to_tensor(each.source.read(frame), device))
    noise = each.config.source.kind == "noise"
    read = store.read if noise else each.source.read
    first = cache(lambda: look(to_tensor(read(0), device)))
    return lambda frame: None if noise and frame == 0 else first()


def _camera(f: CameraFeedbackConfig, each: Input, device: str) -> "CameraFeedback":
    from pipeline.feedback.camera import CameraFeedback, CameraPath

    source = each.source
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


def _flow_method(f: FlowFeedbackConfig, device: str) -> "FlowMethod":
    from pipeline.feedback.optical_flow import dis

    if f.flow == "dis":
        return partial(dis, max_pixels=f.flow_max_pixels)
    from pipeline.feedback.raft import Raft

    return Raft(f.flow, weights=f.flow_weights, max_pixels=f.flow_max_pixels, device=device)


def _at_seconds(schedule: Schedule, fps: Fraction, seconds: Fraction) -> float:
    return schedule.at(seconds * fps, fps)
