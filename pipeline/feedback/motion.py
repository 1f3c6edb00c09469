"""The motion between two neighbouring frames, made of a flow both ways.

A flow found from pictures guesses where there is nothing to see: on a wall, in a sky, on a road. It
wanders there with the noise, differently each way, so a mask would tear holes into the dream just
where it has most room. Such regions are settled here before the mask is made.
"""

import cv2
import numpy as np

from pipeline.feedback.optical_flow import (
    Field,
    Flow,
    FlowMethod,
    Hop,
    Mask,
    Motion,
    consistency_mask,
    grey,
    resize,
    sample,
    soften,
)
from pipeline.media.ffmpeg import Frame

# Sizes in pixels of the flow. A pixel is unsure where less than this share of a window agrees, or
# of a wide window around it and there is nothing to see: flows agree in patches by chance.
_UNSURE, _WINDOW = 0.8, 15
_UNSURE_FAR, _WIDE, _PLAIN = 0.7, 61, 0.2
# Less than this share of the picture is not worth the time.
_FEW = 0.005
# Another motion is taken if its residual, over a window, is at most 1.5 times the flow's own plus
# one grey level: a flow that follows the noise explains it a little better than the truth does.
_SLACK, _LEVEL, _EVIDENCE = 1.5, 1.0, 33
# And if it explains something: unrelated pictures differ by 1.4 times their contrast.
_EXPLAINED, _NOISE = 0.5, 2.0
# Contrast, in grey levels a pixel, at which a pixel's own motion counts half.
_CONTRAST = 4.0


def find_motion(earlier: Frame, later: Frame, method: FlowMethod) -> Motion:
    """Find the motion between two neighbouring frames, both ways.

    Args:
        earlier: uint8 RGB (H, W, 3).
        later: the same size.
        method: finds the flows, see `optical_flow.dis` and `raft.Raft`.

    Returns:
        Hops of the size at which the method works.
    """
    backward, forward = method(earlier, later)
    seen, kept = consistency_mask(backward, forward), consistency_mask(forward, backward)
    if max(_unsure(seen).mean(), _unsure(kept).mean()) > _FEW:
        half = (max(1, seen.shape[1] // 2), max(1, seen.shape[0] // 2))
        a, b = (grey(frame, half).astype(np.float32) for frame in (earlier, later))
        backward, forward = settle(backward, seen, b, a), settle(forward, kept, a, b)
        seen, kept = consistency_mask(backward, forward), consistency_mask(forward, backward)
    return Motion(Hop(backward, soften(seen)), Hop(forward, soften(kept)))


def settle(flow: Flow, consistent: Mask, here: Field, there: Field) -> Flow:
    """Give regions where a flow is unsure a plausible motion: none, or that of what is around.

    Whichever explains the picture about as well as the flow itself does; standing still first, as
    nothing moves in front of a fixed camera but what can be seen to move.

    Args:
        flow: float32 (H, W, 2), from the frame `here` to the frame `there`.
        consistent: where it agrees with the flow the other way, float32 (H, W).
        here: grey of the frame, 0..255, float32 (h, w), about half of H, W.
        there: grey of the other frame, the same shape.

    Returns:
        float32 (H, W, 2); the flow itself where it is sure, or nothing else fits.
    """
    size, small = (flow.shape[1], flow.shape[0]), (here.shape[1], here.shape[0])
    scale = np.array([small[0] / size[0], small[1] / size[1]], np.float32)
    agreed = resize(consistent, small)
    textured = _textured(here)
    unsure = _unsure(agreed, _WINDOW // 2) | (
        (_mean(agreed, _WIDE // 2) < _UNSURE_FAR) & (textured < _PLAIN)
    )
    own = resize(flow, small)
    around = spread(own, textured * agreed * ~unsure)

    # Without their means, as the light may change.
    evidence = _EVIDENCE // 2
    here, there = here - _mean(here, evidence), there - _mean(there, evidence)

    def residual(flow: Flow | None) -> Field:
        seen = there if flow is None else sample(there, flow * scale)
        return _mean(np.abs(here - seen), evidence)

    moving, still = residual(around), residual(None)
    rests = still <= _SLACK * moving
    other = np.where(rests[..., None], np.float32(0), around)
    left = np.where(rests, still, moving)
    fits = left <= np.minimum(
        _SLACK * residual(own) + _LEVEL, _EXPLAINED * _mean(np.abs(here), evidence) + _NOISE
    )
    weight = _mean((unsure & fits).astype(np.float32), 5)[..., None]
    return flow * (1 - resize(weight, size)[..., None]) + resize(other * weight, size)


def spread(flow: Flow, weight: Mask) -> Flow:
    """Fill a flow from where it counts into where it does not, as smoothly as can be.

    Averages are taken over ever larger cells until one has weight ("pull-push", Gortler et al.
    1996).

    Args:
        flow: float32 (H, W, 2).
        weight: how much each pixel counts, float32 (H, W), 0 to 1.

    Returns:
        float32 (H, W, 2); zero if nothing counts.
    """
    levels = [np.dstack([flow * weight[..., None], weight])]
    while min(levels[-1].shape[:2]) > 3:
        levels.append(cv2.pyrDown(levels[-1]).astype(np.float32, copy=False))
    filled = np.zeros((*levels[-1].shape[:2], 2), np.float32)
    enough = 0.05  # of weight in a cell, for it to go by itself
    for level in reversed(levels):
        filled = resize(filled, (level.shape[1], level.shape[0]))
        filled = (level[..., :2] + enough * filled) / (level[..., 2:] + enough)
    return filled


def _unsure(
    consistent: Mask, window: int = _WINDOW
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return _mean(consistent, window) < _UNSURE


def _textured(picture: Field) -> Mask:
    """How much there is to see at each pixel, 0 to 1."""
    x = cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=1 / 8)
    y = cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=1 / 8)
    contrast = _mean((x * x + y * y).astype(np.float32), 5)
    return contrast / (contrast + _CONTRAST**2)


def _mean(picture: Field, window: int) -> Field:
    return cv2.blur(picture, (window | 1, window | 1)).astype(np.float32, copy=False)
