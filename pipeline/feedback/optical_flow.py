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

from pipeline.media.ffmpeg import Frame, Size

Field = NDArray[np.float32]  # (H, W) or (H, W, C)
Flow = NDArray[np.float32]  # (H, W, 2), pixels, x then y
Mask = NDArray[np.float32]  # (H, W), 0 to 1
Grey = NDArray[np.uint8]  # (H, W)

FlowMethod = Callable[[Frame, Frame], tuple[Flow, Flow]]
"""(earlier, later) -> (backward, forward), in pixels of their own size, which may be smaller."""

_FADE = 2.0  # pixels; a flow that stands still is off by a tenth
_NARROW = 48  # pixels a side, below which OpenCV 5's DIS reads beyond its buffers now and then


class Hop(NamedTuple):
    """Where a frame's pixels are seen in another frame.

    Attributes:
        flow: pixel x of this frame is at x + flow in the other one; float32 (H, W, 2).
        visible: 1 where the other frame shows it, 0 where it is hidden; float32 (H, W).
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
    """Drop specks, and let a mask fade inside its border, so that nothing is cut out of a dream.

    Args:
        mask: float32 (H, W) in {0, 1}.

    Returns:
        float32 (H, W) in [0, 1]; 0 where a hole is.
    """
    clean = cv2.medianBlur(mask.astype(np.uint8), 5)
    inner = cv2.erode(clean, np.ones((5, 5), np.uint8))
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


def enlarge(hop: Hop, size: Size) -> Hop:
    """Scale a hop found at a smaller size to frames of `size` (width, height)."""
    height, width = hop.visible.shape
    if (width, height) == size:
        return hop
    scale = np.array([size[0] / width, size[1] / height], np.float32)
    return Hop(resize(hop.flow * scale, size), resize(hop.visible, size))


def within(hop: Hop) -> Hop:
    """Take back what a hop sees outside the other frame: it fades over the first pixels.

    To be asked of a whole way: a slow pan leaves the picture by less than that with every hop.
    """
    height, width = hop.visible.shape
    where = _grid(height, width) + hop.flow
    last = np.array([width - 1, height - 1], np.float32)
    outside = np.maximum(-where, where - last)
    beyond = np.maximum(outside[..., 0], outside[..., 1])
    return Hop(hop.flow, hop.visible * np.clip(1 - beyond / _FADE, 0, 1))


def sample(
    picture: Field,
    flow: Flow,
    *,
    interpolation: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_REPLICATE,
) -> Field:
    """Read a picture where a flow leads.

    Args:
        picture: float32 (H, W) or (H, W, C).
        flow: float32 (H, W, 2).
        interpolation: OpenCV's.
        border: OpenCV's, for where the flow leads outside.

    Returns:
        Like the picture: at x what the picture has at x + flow.
    """
    where = _grid(*flow.shape[:2]) + flow
    there: Field = cv2.remap(  # type: ignore[call-overload]
        picture, where, None, interpolation, borderMode=border
    )
    return there


def resize(picture: Field, size: Size) -> Field:
    """Resize a float32 picture to (width, height): area average down, linear up."""
    smaller = size[0] < picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(picture, size, interpolation=how).astype(np.float32, copy=False)


def grey(frame: Frame, size: Size) -> Grey:
    """uint8 grey of a frame at (width, height)."""
    shades = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if (frame.shape[1], frame.shape[0]) != size:
        shades = cv2.resize(shades, size, interpolation=cv2.INTER_AREA)
    return shades.astype(np.uint8, copy=False)


def size_within(size: Size, max_pixels: float) -> Size:
    """Shrink a (width, height) to at most `max_pixels`, both sides alike."""
    shrink = min(1.0, (max_pixels / (size[0] * size[1])) ** 0.5)
    # The sum keeps a square root's rounding from costing a pixel.
    return max(1, int(size[0] * shrink + 1e-6)), max(1, int(size[1] * shrink + 1e-6))


def dis(earlier: Frame, later: Frame, *, max_pixels: int = 1_000_000) -> tuple[Flow, Flow]:
    """Dense inverse search (Kroeger et al. 2016), both ways, at half the frames' size.

    OpenCV's medium preset works on full frames but stops at half their size. Starting there, with
    fewer and wider-spaced patches, is as exact (on three clips, judged by another flow, the details
    of a render flicker .35, .20, .38 instead of .38, .20, .40) at a third of its time.

    Args:
        earlier: uint8 RGB (H, W, 3).
        later: the same size.
        max_pixels: the flow of frames with more than four times as many is found smaller still.

    Returns:
        backward and forward flow, float32 (h, w, 2), in pixels of that size.
    """
    width, height = earlier.shape[1], earlier.shape[0]
    size = size_within((width, height), min(max_pixels, width * height / 4))
    right, below = (max(0, _NARROW - side) for side in size)
    a, b = (
        cv2.copyMakeBorder(grey(frame, size), 0, below, 0, right, cv2.BORDER_REPLICATE)
        for frame in (earlier, later)
    )
    search = _searcher()
    flows: list[Flow] = [search.calc(b, a, None), search.calc(a, b, None)]  # type: ignore[call-overload]
    backward, forward = (np.ascontiguousarray(flow[: size[1], : size[0]]) for flow in flows)
    return backward, forward


_local = threading.local()


def _searcher() -> cv2.DISOpticalFlow:
    """The thread's own: it keeps buffers, which two threads must not share."""
    if not hasattr(_local, "searcher"):
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(0)
        search.setPatchStride(5)
        search.setGradientDescentIterations(8)
        search.setVariationalRefinementIterations(2)
        _local.searcher = search
    found: cv2.DISOpticalFlow = _local.searcher
    return found


def _squared(flow: Flow) -> Field:
    x, y = flow[..., 0], flow[..., 1]
    length: Field = x * x + y * y
    return length


@functools.lru_cache(maxsize=8)
def _grid(height: int, width: int) -> Flow:
    """Each pixel's own place."""
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0] = np.arange(width)
    grid[..., 1] = np.arange(height)[:, None]
    return grid
