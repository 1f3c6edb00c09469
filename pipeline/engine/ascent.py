"""Gradient ascent on pictures: shift, gradient, smooth, normalise, update, clamp, unshift.

Everything is per sample, so pictures that share a batch do not know of one another, and everything
random is a pure function of (key, octave, iteration).
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.engine.decorrelate import decorrelate
from pipeline.engine.footing import Footing, Knobs, Step
from pipeline.engine.restraints import restrain
from pipeline.engine.transforms import random_turn, turned, turned_back

Smoothing = Literal["none", "gaussian", "cascade", "laplacian", "decorrelate"]
Normalisation = Literal["mean_abs", "std", "none"]
GradientFunction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# As published (Gordic 2020): a 9 x 9 window, sigma growing by 2 over the iterations of an octave.
CASCADE_RADIUS = 4
CASCADE_GROWTH = 2.0
_LAPLACIAN_BANDS = 4  # google/deepdream's notebook
_TINY = 1e-12


@dataclass(frozen=True)
class StepSettings:
    """One sample's knobs, schedules already evaluated.

    Attributes:
        step: length of a step in units of the [0, 1] image, after normalisation.
        jitter: largest random shift, pixels.
        sigma: of the smoothing, pixels.
        weights: one per objective term.
        channels: one per term that climbs another channel in every sample.
        decay: pull towards the mean picture, see `restraints`.
        variation: pull towards flat areas, see `restraints`.
        rotate: largest random rotation of what the network sees, degrees.
        scale: largest random enlargement of what the network sees, and reduction; >= 1.
        blur: sigma of the blur that the picture itself gets now and then, pixels.
    """

    step: float
    jitter: int
    sigma: float
    weights: tuple[float, ...]
    channels: tuple[int, ...] = ()
    decay: float = 0.0
    variation: float = 0.0
    rotate: float = 0.0
    scale: float = 1.0
    blur: float = 0.0


class Plain:
    """Steps by torch's operators, on any device; a CPU's filters are OpenCV's. See `Footing`."""

    def shift(self, picture: Tensor, knobs: Knobs) -> Tensor:
        """Shift every sample circularly by its own offset."""
        return shift(picture, knobs.offsets)

    def climb(self, shifted: Tensor, slope: Tensor, knobs: Knobs) -> Tensor:
        """Smooth, normalise, update, clamp, unshift."""
        direction = normalise(smooth(slope, knobs.smoothing, knobs.sigmas), knobs.normalisation)
        climbed = torch.addcmul(shifted, knobs.steps.view(-1, 1, 1, 1), direction).clamp_(0, 1)
        return shift(climbed, [(-y, -x) for y, x in knobs.offsets])

    def walk(self, step: Step, picture: Tensor, way: Sequence[Knobs]) -> tuple[Tensor, Tensor]:
        """Take one step after the other."""
        dials, mean = way[0].dials.to(picture.device), way[0].mean.to(picture.device)
        for knobs in way:
            picture, value = step(picture, knobs._replace(dials=dials, mean=mean))
        return picture, value


PLAIN = Plain()


def jitter_offset(key: int, octave: int, iteration: int, jitter: int) -> tuple[int, int]:
    """Random shift (down, right), each in -jitter..jitter: a pure function of its arguments."""
    if jitter <= 0:
        return 0, 0
    rng = random.Random(f"{key}:{octave}:{iteration}")
    return rng.randint(-jitter, jitter), rng.randint(-jitter, jitter)


def shift(picture: Tensor, offsets: Sequence[tuple[int, int]]) -> Tensor:
    """Shift every sample circularly by its own (down, right) pixels; [N, C, H, W] in and out."""
    if len(offsets) == 1:
        return torch.roll(picture, offsets[0], dims=(2, 3))
    rolled = [
        torch.roll(p, o, dims=(1, 2)) for p, o in zip(picture.unbind(0), offsets, strict=True)
    ]
    return torch.stack(rolled)


def ascend(
    picture: Tensor,
    gradient: GradientFunction,
    *,
    keys: Sequence[int],
    octave: int,
    iterations: int,
    settings: Sequence[StepSettings],
    smoothing: Smoothing = "cascade",
    growth: float = CASCADE_GROWTH,
    normalisation: Normalisation = "mean_abs",
    blur_every: int = 0,
    mean: Sequence[float] = (0.5, 0.5, 0.5),
    footing: Footing = PLAIN,
    reach: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Climb the objective for some steps.

    Args:
        picture: float32 [N, 3, H, W] in [0, 1].
        gradient: (picture, weights) -> (gradient, value), see `ImageGradient`.
        keys: N integers that decide the random shifts.
        octave: enters the random shifts.
        iterations: number of steps, >= 1.
        settings: one per sample.
        smoothing: of the gradient, before it is normalised.
        growth: how much wider `cascade` becomes over the iterations, pixels.
        normalisation: of the gradient.
        blur_every: blur the picture after every so many steps; 0 for never.
        mean: RGB, the picture that decay pulls towards.
        footing: how the device does its parts of a step.
        reach: share of every step that each pixel takes, float32 [N, 1, H, W]; None for all of it.

    Returns:
        The climbed picture, and the objective's value at the last step, float32 [N].
    """
    rows = [(s.step, s.decay, s.variation, *s.weights, *s.channels) for s in settings]
    dials = torch.tensor(rows).T.contiguous()
    centre = torch.tensor(mean).view(1, 3, 1, 1)
    restrained = any(s.decay or s.variation for s in settings)

    def knobs(i: int) -> Knobs:
        offsets = [
            jitter_offset(key, octave, i, s.jitter) for key, s in zip(keys, settings, strict=True)
        ]
        turns = [
            random_turn(key, octave, i, rotate=s.rotate, scale=s.scale)
            for key, s in zip(keys, settings, strict=True)
        ]
        sigmas = [smoothing_sigma(smoothing, s.sigma, i, iterations, growth) for s in settings]
        blurs = [s.blur for s in settings] if blur_every and (i + 1) % blur_every == 0 else None
        # One Gaussian's width is read where the step is put together, the cascade's on the device.
        fixed = tuple(sigmas) if smoothing == "gaussian" else ()
        lone = blurs or any(turn != 1 for turn in turns)
        kind = None if lone else (smoothing, normalisation, restrained, fixed)
        return Knobs(
            kind, smoothing, normalisation, offsets, sigmas, turns, blurs, dials, centre, reach
        )

    def step(before: Tensor, knobs: Knobs) -> tuple[Tensor, Tensor]:
        shifted = footing.shift(before, knobs)
        slope, value = gradient(turned(shifted, knobs.turns), knobs.weights)
        picture = footing.climb(shifted, turned_back(slope, knobs.turns), knobs)
        if restrained:
            lengths, decays, calms = knobs.dials[:3, :, None, None, None].unbind(0)
            picture = restrain(
                picture, lengths=lengths, decays=decays, calms=calms, mean=knobs.mean
            )
        if knobs.blurs:
            picture = smooth(picture, "gaussian", knobs.blurs)
        if knobs.reach is not None:
            picture = torch.lerp(before, picture, knobs.reach)
        return picture, value

    return footing.walk(step, picture, [knobs(i) for i in range(iterations)])


def smoothing_sigma(
    kind: Smoothing,
    sigma: float,
    iteration: int,
    iterations: int,
    growth: float = CASCADE_GROWTH,
) -> float:
    """Sigma of one iteration, pixels: `cascade` widens as an octave proceeds, others stay."""
    if kind != "cascade":
        return sigma
    return sigma + growth * (iteration + 1) / iterations


def smooth(gradient: Tensor, kind: Smoothing, sigmas: Sequence[float]) -> Tensor:
    """Low-pass the gradient, which is what keeps a dream from turning into high-frequency noise.

    - `gaussian`: one Gaussian.
    - `cascade`: the mean of three Gaussians, sigma * (0.5, 1, 2) (Gordic 2020).
    - `laplacian`: bands of a Laplacian pyramid, each brought to unit deviation (google/deepdream).
    - `decorrelate`: the spectrum and the colours of photographs (Olah et al. 2017).

    Args:
        gradient: float32 [N, 3, H, W].
        kind: of smoothing.
        sigmas: one per sample, pixels, of `gaussian` and `cascade`.

    Returns:
        float32 [N, 3, H, W].
    """
    if kind == "none":
        return gradient
    if kind == "laplacian":
        return _equalise_bands(gradient)
    if kind == "decorrelate":
        return decorrelate(gradient)
    blurred = [
        _cascade(sample, sigma) if kind == "cascade" else blur(sample, sigma, math.ceil(3 * sigma))
        for sample, sigma in zip(torch.split(gradient, 1), sigmas, strict=True)
    ]
    return torch.cat(blurred) if len(blurred) > 1 else blurred[0]


def blur(picture: Tensor, sigma: float, radius: int) -> Tensor:
    """Gaussian blur with a window of 2 * radius + 1 pixels and a reflected border.

    Args:
        picture: float32 [1, 3, H, W].
        sigma: pixels; 0 leaves the picture as it is.
        radius: pixels; less where the picture is smaller than that.

    Returns:
        float32 [1, 3, H, W].
    """
    radius = radius_within(picture, radius)
    if sigma <= 0 or radius < 1:
        return picture
    if picture.device.type == "cpu":  # the same filter, 40 x faster than torch's on a CPU
        window = (2 * radius + 1, 2 * radius + 1)
        return _from_rows(cv2.GaussianBlur(_to_rows(picture), window, sigma))
    line = _gaussian(sigma, radius, picture.device).expand(3, 1, 1, -1)
    picture = F.pad(picture, (radius, radius, radius, radius), mode="reflect")
    return F.conv2d(F.conv2d(picture, line, groups=3), line.transpose(2, 3), groups=3)


def _cascade(picture: Tensor, sigma: float) -> Tensor:
    """The mean of three Gaussians as one filter of 9 x 9 pixels."""
    radius = radius_within(picture, CASCADE_RADIUS)
    if sigma <= 0 or radius < 1:
        return picture
    lines = [_gaussian(sigma * factor, radius) for factor in (0.5, 1.0, 2.0)]
    kernel = torch.stack([torch.outer(line, line) for line in lines]).mean(0)
    if picture.device.type == "cpu":
        return _from_rows(cv2.filter2D(_to_rows(picture), -1, kernel.numpy()))
    picture = F.pad(picture, (radius, radius, radius, radius), mode="reflect")
    return F.conv2d(picture, kernel.to(picture.device).expand(3, 1, -1, -1), groups=3)


def _gaussian(sigma: float, radius: int, device: torch.device | str = "cpu") -> Tensor:
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=device) / sigma) ** 2)
    return line / line.sum()


def radius_within(picture: Tensor, radius: int) -> int:
    """Reflection needs more picture than window; only the tiniest octaves are that small."""
    return min(radius, min(picture.shape[2:]) - 1)


def _to_rows(picture: Tensor) -> NDArray[np.float32]:
    """[1, 3, H, W] as OpenCV has it, [H, W, 3]; a view if the channels lie last."""
    rows: NDArray[np.float32] = picture[0].permute(1, 2, 0).contiguous().numpy()
    return rows


def _from_rows(rows: cv2.typing.MatLike) -> Tensor:
    return torch.from_numpy(rows).permute(2, 0, 1)[None]


def normalise(gradient: Tensor, kind: Normalisation) -> Tensor:
    """Bring every sample's gradient to unit size.

    `mean_abs` divides by mean |g| (google/deepdream); `std` subtracts the mean and divides by the
    standard deviation (pytorch-deepdream); `none` leaves it.

    Args:
        gradient: float32 [N, 3, H, W].
        kind: of normalisation.

    Returns:
        float32 [N, 3, H, W]; zero where the gradient is zero.
    """
    over = (1, 2, 3)
    if kind == "mean_abs":
        return gradient / gradient.abs().mean(over, keepdim=True).clamp_min(_TINY)
    if kind == "std":
        centred = gradient - gradient.mean(over, keepdim=True)
        return centred / centred.square().mean(over, keepdim=True).sqrt().clamp_min(_TINY)
    return gradient


def _equalise_bands(gradient: Tensor) -> Tensor:
    bands = []
    current = gradient
    for _ in range(_LAPLACIAN_BANDS - 1):
        height, width = current.shape[2:]
        if min(height, width) < 4:
            break
        half = ((height + 1) // 2, (width + 1) // 2)
        low = F.interpolate(current, size=half, mode="bilinear", antialias=True)
        bands.append(current - F.interpolate(low, size=(height, width), mode="bicubic"))
        current = low
    bands.append(current)
    result = normalise(bands[-1], "std")
    for band in reversed(bands[:-1]):
        result = F.interpolate(result, size=band.shape[2:], mode="bicubic") + normalise(band, "std")
    return result
