"""How calm a dreamed video is, judged by a flow that the render did not use.

All pictures are uint8 RGB (H, W, 3); `d` is the detail, dream minus source. A pixel counts if its
motion is consistent both ways (see `consistency_mask`) and leads from inside the picture, so
nothing is charged for what comes into view.
"""

import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.feedback.optical_flow import (
    Field,
    Flow,
    Grey,
    Hop,
    Mask,
    consistency_mask,
    grey,
    sample,
    within,
)
from pipeline.media.ffmpeg import Frame

Judge = Callable[[Frame, Frame], tuple[Flow, Flow]]
"""(earlier, later) -> (backward, forward), float32 (H, W, 2), pixels."""

# OpenCV's Farneback regularises by an absolute amount that, at 8-bit contrast, pulls the motion of
# smooth regions to zero (a wall panned by 7 pixels: error 4). At 64 times the contrast: error .2.
_FARNEBACK_GAIN = 64.0
# Grey levels a pixel, rms over a window: below it, a motion is a guess (a wall, a sky, a road).
_CONTRAST, _WINDOW = 4.0, 15


@dataclass(frozen=True)
class Coherence:
    """How calm a dreamed video is.

    Attributes:
        flicker: rms of d[t] - warp(d[t-1]) over rms of d[t], over the pixels that count of all
            pairs together. 0 is a detail painted onto what moves, 1.41 are unrelated frames; a
            judge that errs adds to it.
        textured: the same over those of them where there is something to see, so that the judge
            knows the motion rather than guessing it; nan where there is nothing.
        warping_error: mean over pairs of the mean over pixels that count of the squared distance,
            summed over RGB in [0, 1], of dream t and warped dream t-1 (Lai et al. 2018, "Learning
            Blind Video Temporal Consistency"). It includes what changes in the source itself, and
            grows with the dream's strength: compare at equal strength.
        pairs: flicker of every pair, in order.
        counted: share of the pixels that count, 0 to 1.
    """

    flicker: float
    textured: float
    warping_error: float
    pairs: tuple[float, ...]
    counted: float


def coherence(
    dreams: Iterable[Frame], sources: Iterable[Frame], judge: Judge, *, cuts: Container[int] = ()
) -> Coherence:
    """Measure the coherence of a clip.

    Args:
        dreams: frames in order.
        sources: the undreamed frames, as many.
        judge: finds the motion between two sources: `farneback`, `refined_dis`, or the known one.
        cuts: first frames of shots; no pair reaches across one.

    Raises:
        ValueError: not one pair of frames.
    """
    pairs: list[_Pair] = []
    for (_, earlier), (frame, later) in pairwise(enumerate(zip(dreams, sources, strict=True))):
        if frame not in cuts:
            pairs.append(_compare(earlier, later, judge))
    if not pairs:
        raise ValueError("coherence needs two frames of one shot")
    total = _Pair(*(sum(values) for values in zip(*pairs, strict=True)))
    return Coherence(
        flicker=total.flicker,
        textured=math.sqrt(total.textured_change / total.textured_detail)
        if total.textured_detail
        else math.nan,
        warping_error=total.warping_error / len(pairs),
        pairs=tuple(pair.flicker for pair in pairs),
        counted=total.counted / len(pairs),
    )


class _Pair(NamedTuple):
    """Sums of squares over a pair's pixels, and two means."""

    change: float
    detail: float
    textured_change: float
    textured_detail: float
    warping_error: float
    counted: float

    @property
    def flicker(self) -> float:
        return math.sqrt(self.change / self.detail) if self.detail else 0.0


def _compare(earlier: tuple[Frame, Frame], later: tuple[Frame, Frame], judge: Judge) -> _Pair:
    """Compare two (dream, source) pairs."""
    backward, forward = judge(earlier[1], later[1])
    counts = consistency_mask(backward, forward) * _inside(backward)
    seen = counts * _textured(later[1])
    detail = _difference(*later)
    change = np.square(detail - _warp(_difference(*earlier), backward)).sum(-1)
    strength = np.square(detail).sum(-1)
    before, after = earlier[0].astype(np.float32), later[0].astype(np.float32)
    error = np.square((after - _warp(before, backward)) / 255).sum(-1)
    return _Pair(
        _total(change * counts),
        _total(strength * counts),
        _total(change * seen),
        _total(strength * seen),
        _total(error * counts) / max(_total(counts), 1.0),
        float(counts.mean()),
    )


def farneback(earlier: Frame, later: Frame) -> tuple[Flow, Flow]:
    """Farneback (2003) with large windows: the judge of renders that used DIS."""
    a, b = (_full_grey(frame).astype(np.float32) * _FARNEBACK_GAIN for frame in (earlier, later))
    gaussian = cv2.OPTFLOW_FARNEBACK_GAUSSIAN

    def find(start: Field, end: Field) -> Flow:
        flow = cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
            start, end, None, 0.5, 5, 41, 5, 7, 1.5, gaussian
        )
        return np.asarray(flow, np.float32)

    return find(b, a), find(a, b)


def refined_dis(earlier: Frame, later: Frame) -> tuple[Flow, Flow]:
    """DIS medium, refined at full resolution by variational refinement: the most exact judge.

    Of a family with the flow that renders use, and so a little partial to them.
    """
    a, b = _full_grey(earlier), _full_grey(later)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    refinement = cv2.VariationalRefinement.create()
    refinement.setFixedPointIterations(10)
    refinement.setSorIterations(10)

    def find(start: Grey, end: Grey) -> Flow:
        flow = refinement.calc(start, end, search.calc(start, end, None))  # type: ignore[call-overload]
        return np.asarray(flow, np.float32)

    return find(b, a), find(a, b)


def high_frequency_energy(dream: Frame) -> float:
    """Mean square of a frame minus its blur (Gaussian, sigma 2 pixels), of the 0..255 image."""
    picture = dream.astype(np.float32)
    return float(np.square(picture - cv2.GaussianBlur(picture, (0, 0), 2.0)).mean())


def by_phase(values: Sequence[float], every: int, *, first: int = 0) -> list[float]:
    """Mean of a value of every frame, by the frame's place within the keyframe period.

    Args:
        values: one per frame, of one shot from its first frame on.
        every: distance of keyframes.
        first: leave out the frames before this one.

    Returns:
        `every` means; index 0 is the keyframes'.

    Raises:
        ValueError: fewer values than phases.
    """
    phases = [
        [value for i, value in enumerate(values) if i >= first and i % every == phase]
        for phase in range(every)
    ]
    if not all(phases):
        raise ValueError(f"got {len(values)} values, {first = }: too few for {every} phases")
    return [sum(phase) / len(phase) for phase in phases]


def weakest_phase(values: Sequence[float], every: int, *, first: int = 0) -> float:
    """Weakest phase over strongest phase, 0 to 1; a low one is seen as a pulse. See `by_phase`."""
    means = by_phase(values, every, first=first)
    return min(means) / max(means)


def _difference(dream: Frame, source: Frame) -> Field:
    return dream.astype(np.float32) - source.astype(np.float32)


def _warp(picture: Field, flow: Flow) -> Field:
    return sample(picture, flow, interpolation=cv2.INTER_CUBIC, border=cv2.BORDER_REFLECT)


def _inside(flow: Flow) -> Mask:
    """1 where the flow leads inside the picture."""
    height, width = flow.shape[:2]
    return within(Hop(flow, np.ones((height, width), np.float32))).visible


def _textured(source: Frame) -> Mask:
    picture = _full_grey(source).astype(np.float32)
    x = cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=1 / 8)
    y = cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=1 / 8)
    contrast = cv2.blur(x * x + y * y, (_WINDOW, _WINDOW))
    return (contrast > _CONTRAST**2).astype(np.float32)


def _full_grey(frame: Frame) -> Grey:
    return grey(frame, (frame.shape[1], frame.shape[0]))


def _total(values: Field) -> float:
    return float(values.sum(dtype=np.float64))
