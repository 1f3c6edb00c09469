"""How calm a dreamed video is, judged by a flow that the render did not use.

All pictures are uint8 RGB (H, W, 3); `d` is the detail, dream minus source. A pixel counts if its
motion is consistent (see `consistency_mask`), so nothing is charged for what comes into view.
"""

import math
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.feedback.optical_flow import Flow, Mask, consistency_mask, sample
from pipeline.media.ffmpeg import Frame

Judge = Callable[[Frame, Frame], tuple[Flow, Flow]]
"""(earlier, later) -> (backward, forward), float32 (H, W, 2), pixels."""

# OpenCV's Farneback regularises by an absolute amount that, at 8-bit contrast, pulls the motion of
# smooth regions to zero (a sky panned by 7 pixels: error 4). At 64 times the contrast it does not.
_FARNEBACK_GAIN = 64.0


@dataclass(frozen=True)
class Coherence:
    """How calm a dreamed video is.

    Attributes:
        flicker: rms of d[t] - warp(d[t-1]) over rms of d[t], both over the pixels that count, of
            all pairs together: 0 for a detail painted onto what moves, 1.41 for unrelated frames.
        warping_error: mean over pairs of the mean over pixels that count of the squared distance of
            dream t and warped dream t-1, colours in [0, 1], summed over RGB (Lai et al. 2018,
            "Learning Blind Video Temporal Consistency", eq. 10 and 11). It includes what the
            source itself changes, and falls with the contrast: compare at equal dream strength.
        pairs: flicker of every pair, in order.
        share: of the pixels that count, 0 to 1.
    """

    flicker: float
    warping_error: float
    pairs: tuple[float, ...]
    share: float


def coherence(
    dreams: Iterable[Frame], sources: Iterable[Frame], judge: Judge, *, cuts: Container[int] = ()
) -> Coherence:
    """Measure the coherence of a clip of two frames or more.

    Args:
        dreams: frames in order.
        sources: the undreamed frames, as many.
        judge: finds the motion between two sources.
        cuts: first frames of shots; no pair reaches across one.
    """
    residuals, details, errors, counts = [], [], [], []
    frames = enumerate(zip(dreams, sources, strict=True))
    for (_, (dream0, source0)), (t, (dream1, source1)) in pairwise(frames):
        if t in cuts:
            continue
        backward, forward = judge(source0, source1)
        mask = consistency_mask(backward, forward)
        counts.append(max(float(mask.sum()), 1.0))
        detail0, detail1 = _detail(dream0, source0), _detail(dream1, source1)
        residuals.append(_masked_square(detail1 - _warp(detail0, backward), mask))
        details.append(_masked_square(detail1, mask))
        change = dream1.astype(np.float32) - _warp(dream0.astype(np.float32), backward)
        errors.append(_masked_square(change / np.float32(255), mask) / counts[-1])
        size = mask.size
    return Coherence(
        flicker=math.sqrt(sum(residuals) / max(sum(details), 1e-12)),
        warping_error=sum(errors) / len(errors),
        pairs=tuple(math.sqrt(r / max(d, 1e-12)) for r, d in zip(residuals, details, strict=True)),
        share=sum(counts) / len(counts) / size,
    )


def farneback(earlier: Frame, later: Frame) -> tuple[Flow, Flow]:
    """Farneback (2003) with large windows: the judge of renders made with DIS."""
    a, b = (_grey(frame).astype(np.float32) * _FARNEBACK_GAIN for frame in (earlier, later))
    gaussian = cv2.OPTFLOW_FARNEBACK_GAUSSIAN

    def find(start: NDArray[np.float32], end: NDArray[np.float32]) -> Flow:
        flow: Flow = cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
            start, end, None, 0.5, 5, 41, 5, 7, 1.5, gaussian
        )
        return flow

    return find(b, a), find(a, b)


def refined_dis(earlier: Frame, later: Frame) -> tuple[Flow, Flow]:
    """DIS medium, refined at full resolution by variational refinement: the most exact judge."""
    a, b = _grey(earlier), _grey(later)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    refinement = cv2.VariationalRefinement.create()
    refinement.setFixedPointIterations(10)
    refinement.setSorIterations(10)

    def find(start: NDArray[np.uint8], end: NDArray[np.uint8]) -> Flow:
        coarse = search.calc(start, end, None)  # type: ignore[call-overload]
        return np.asarray(refinement.calc(start, end, coarse), np.float32)

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
    """
    series = np.asarray(values, dtype=np.float64)
    indices = np.arange(len(series))
    chosen = indices >= first
    return [float(series[chosen & (indices % every == phase)].mean()) for phase in range(every)]


def weakest_phase(values: Sequence[float], every: int, *, first: int = 0) -> float:
    """Weakest phase over strongest phase, 0 to 1; a low one is seen as a pulse. See `by_phase`."""
    means = by_phase(values, every, first=first)
    return min(means) / max(means)


def _detail(dream: Frame, source: Frame) -> NDArray[np.float32]:
    return dream.astype(np.float32) - source.astype(np.float32)


def _warp(picture: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    return sample(picture, flow, interpolation=cv2.INTER_CUBIC, border=cv2.BORDER_REFLECT)


def _masked_square(picture: NDArray[np.float32], mask: Mask) -> float:
    return float((np.square(picture).sum(-1) * mask).sum(dtype=np.float64))


def _grey(frame: Frame) -> NDArray[np.uint8]:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
