"""Optical flow between neighbouring frames: where each pixel of one is seen in the other.

A `Hop` says it for one direction, with a share that tells how surely. Hops compose, so a detail is
carried over several frames by one sampling along the composed path: as exact as frame by frame, but
sharper, because every sampling blurs a little.
"""

import functools
import threading
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg import Frame

Flow = NDArray[np.float32]  # (H, W, 2), pixels, x then y
Mask = NDArray[np.float32]  # (H, W), 0 to 1
Grey = NDArray[np.uint8]  # (H, W)

FlowMethod = Callable[[Frame, Frame], tuple[Flow, Flow]]
"""(earlier, later) -> (backward, forward), both in pixels of their own, maybe smaller, size."""

_SMALLEST = 16  # pixels a side; DIS cannot build its pyramid below 12


class Hop(NamedTuple):
    """Where a frame's pixels are seen in another frame.

    Attributes:
        flow: pixel x of this frame is at x + flow in the other one; float32 (H, W, 2).
        visible: 1 where the other frame shows it, 0 where it is hidden or unsure; float32 (H, W).
    """

    flow: Flow
    visible: Mask


class Motion(NamedTuple):
    """What moves where between two neighbouring frames.

    Attributes:
        backward: where the later frame's pixels were in the earlier one.
        forward: where the earlier frame's pixels go in the later one.
    """

    backward: Hop
    forward: Hop


def find_motion(earlier: Frame, later: Frame, method: FlowMethod) -> Motion:
    """Find the motion between two neighbouring frames, both ways.

    Args:
        earlier: uint8 RGB (H, W, 3).
        later: the same size.
        method: finds the flows, see `dis` and `raft`.

    Returns:
        Hops of the size at which `method` works.
    """
    backward, forward = method(earlier, later)
    return Motion(
        Hop(backward, soften(consistency_mask(backward, forward))),
        Hop(forward, soften(consistency_mask(forward, backward))),
    )


def consistency_mask(backward: Flow, forward: Flow) -> Mask:
    """Mark the pixels whose motion is the same both ways.

    A pixel x passes if |b + f(x+b)|^2 < 0.01 (|b|^2 + |f|^2) + 0.5 (Sundaram et al. 2010, eq. 5).

    Args:
        backward: flow from frame t to t-1, float32 (H, W, 2), pixels, x then y.
        forward: flow from frame t-1 to t, same shape.

    Returns:
        float32 (H, W) in {0, 1}.

    Raises:
        ValueError: the two flows differ in shape.
    """
    if backward.shape != forward.shape:
        raise ValueError(f"got {backward.shape = } and {forward.shape = }")
    there = sample(forward, backward)
    apart = _squared(backward + there)
    allowed = 0.01 * (_squared(backward) + _squared(there)) + 0.5
    return (apart < allowed).astype(np.float32)


def soften(mask: Mask) -> Mask:
    """Close specks, and let the mask fade inside its border, so that nothing is cut out of a dream.

    Args:
        mask: float32 (H, W) in {0, 1}.

    Returns:
        float32 (H, W) in [0, 1]; 0 where a hole is.
    """
    closed = cv2.medianBlur(mask.astype(np.uint8), 5)
    inner = cv2.erode(closed, np.ones((5, 5), np.uint8))
    return cv2.blur(inner.astype(np.float32), (5, 5)).astype(np.float32, copy=False)


def compose(first: Hop, then: Hop) -> Hop:
    """Follow one hop, and another one from where it leads.

    Args:
        first: from frame a to frame b.
        then: from frame b to frame c, same shape.

    Returns:
        The hop from a to c: visible where both are.
    """
    return Hop(
        first.flow + sample(then.flow, first.flow),
        first.visible * sample(then.visible, first.flow),
    )


def enlarge(hop: Hop, size: tuple[int, int]) -> Hop:
    """Scale a hop found at a smaller size to frames of `size` (width, height)."""
    height, width = hop.visible.shape
    if (width, height) == size:
        return hop
    scale = np.array([size[0] / width, size[1] / height], np.float32)
    flow = cv2.resize(hop.flow, size, interpolation=cv2.INTER_LINEAR) * scale
    visible = cv2.resize(hop.visible, size, interpolation=cv2.INTER_LINEAR)
    return Hop(flow.astype(np.float32, copy=False), visible.astype(np.float32, copy=False))


def flow_size(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """(width, height) at which the flow of frames of `size` is computed."""
    shrink = min(1.0, (max_pixels / (size[0] * size[1])) ** 0.5)
    return max(_SMALLEST, round(size[0] * shrink)), max(_SMALLEST, round(size[1] * shrink))


def dis(
    earlier: Frame,
    later: Frame,
    *,
    max_pixels: int = 1_000_000,
    preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
) -> tuple[Flow, Flow]:
    """Dense inverse search (Kroeger et al. 2016), both ways.

    Args:
        earlier: uint8 RGB (H, W, 3).
        later: the same size.
        max_pixels: larger frames are made smaller.
        preset: OpenCV's.

    Returns:
        backward and forward flow, float32 (h, w, 2), in pixels of that size.
    """
    size = flow_size((earlier.shape[1], earlier.shape[0]), max_pixels)
    a, b = grey(earlier, size), grey(later, size)
    search = _search(preset)
    return search.calc(b, a, None), search.calc(a, b, None)  # type: ignore[call-overload]


def grey(frame: Frame, size: tuple[int, int]) -> Grey:
    """uint8 grey of a frame at (width, height)."""
    shades = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if (frame.shape[1], frame.shape[0]) != size:
        shades = cv2.resize(shades, size, interpolation=cv2.INTER_AREA)
    return shades.astype(np.uint8, copy=False)


def sample(
    picture: NDArray[np.float32],
    flow: Flow,
    *,
    interpolation: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_REPLICATE,
) -> NDArray[np.float32]:
    """Read a picture where a flow leads.

    Args:
        picture: float32 (H, W) or (H, W, C).
        flow: float32 (H, W, 2).
        interpolation: OpenCV's.
        border: OpenCV's, for where the flow leads outside.

    Returns:
        Like the picture; at x the picture at x + flow.
    """
    where = cv2.add(_grid(*flow.shape[:2]), flow)
    there: NDArray[np.float32] = cv2.remap(  # type: ignore[call-overload]
        picture, where, None, interpolation, borderMode=border
    )
    return there


def _squared(flow: Flow) -> NDArray[np.float32]:
    x, y = flow[..., 0], flow[..., 1]
    length: NDArray[np.float32] = x * x + y * y
    return length


@functools.lru_cache(maxsize=8)
def _grid(height: int, width: int) -> Flow:
    """Each pixel's own place."""
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0] = np.arange(width)
    grid[..., 1] = np.arange(height)[:, None]
    return grid


_local = threading.local()


def _search(preset: int) -> cv2.DISOpticalFlow:
    """The thread's own searcher: it keeps buffers, which two threads must not share."""
    searchers: dict[int, cv2.DISOpticalFlow] = _local.__dict__.setdefault("dis", {})
    if preset not in searchers:
        searchers[preset] = cv2.DISOpticalFlow.create(preset)
    return searchers[preset]
