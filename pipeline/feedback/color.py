"""A dream's colours: those of its source, or with the mean and contrast of another picture."""

from typing import NamedTuple

import cv2
import torch
from torch import Tensor

# sRGB with its D65 white (IEC 61966-2-1): linear RGB to XYZ, relative to white.
_TO_XYZ = (
    (0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883),
)
# XYZ to CIE L*a*b* (L of 0 to 100) once the cube root is taken; but for L's constant.
_TO_LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))
_EDGE = 6 / 29
_LUMA = (0.2126, 0.7152, 0.0722)  # BT.709
_FLAT = 1e-3  # of a Lab deviation: a picture of one colour has none to stretch


class Look(NamedTuple):
    """A picture's colours in CIE L*a*b*: mean and standard deviation, float32 [3, 1, 1] each."""

    mean: Tensor
    deviation: Tensor


def keep_chroma(dream: Tensor, source: Tensor) -> Tensor:
    """Take only the luma of a dream: all three channels of the source move alike.

    Args:
        dream: float32 [3, H, W] in [0, 1].
        source: the same size, in [0, 1].

    Returns:
        float32 [3, H, W] in [0, 1].
    """
    weights = torch.tensor(_LUMA, device=dream.device).view(3, 1, 1)
    return (source + ((dream - source) * weights).sum(dim=0)).clamp(0, 1)


def look(picture: Tensor) -> Look:
    """Measure a picture, float32 [3, H, W] in [0, 1]."""
    return _look(to_lab(picture))


def match(dream: Tensor, wanted: Look, *, chroma_may_grow: bool = True) -> Tensor:
    """Give a dream the mean and deviation of another picture, as Reinhard et al. (2001) do.

    In L*a*b* instead of their l-alpha-beta. Where every dream is the next one's source, a factor
    that enlarges the deviations of a and b would do so again in every frame, until what the network
    leaves alone is a patch of pure magenta or green. There a and b get one factor, which leaves
    their proportion as it is, and never one above 1; what the dream adds brings colour enough.

    Args:
        dream: float32 [3, H, W] in [0, 1].
        wanted: of the other picture.
        chroma_may_grow: whether a dream may be made more colourful than it is.

    Returns:
        float32 [3, H, W] in [0, 1].
    """
    lab = to_lab(dream)
    mean, deviation = _look(lab)
    stretch = wanted.deviation / deviation.clamp_min(_FLAT)
    if not chroma_may_grow:
        chroma = wanted.deviation[1:].norm() / deviation[1:].norm().clamp_min(_FLAT)
        stretch[1:] = chroma.clamp(max=1)
    return to_rgb(_changed(lab, stretch, wanted.mean - stretch * mean))


def to_lab(picture: Tensor) -> Tensor:
    """Convert sRGB to CIE L*a*b*, D65; on a CPU by OpenCV's tables, off by half a unit at most.

    Args:
        picture: float32 [3, H, W] in [0, 1].

    Returns:
        float32 [3, H, W], L of 0 to 100.
    """
    if picture.device.type == "cpu":  # a fifth of the formula's time
        return _converted(picture, cv2.COLOR_RGB2Lab)
    return lab_of(picture)


def to_rgb(lab: Tensor) -> Tensor:
    """The way back from `to_lab`; what sRGB cannot show is clipped: float32 [3, H, W] in [0, 1]."""
    if lab.device.type == "cpu":
        return _converted(lab, cv2.COLOR_Lab2RGB).clamp_(0, 1)
    return rgb_of(lab)


def lab_of(picture: Tensor) -> Tensor:
    """`to_lab` by its formulas, on any device."""
    linear = torch.where(picture <= 0.04045, picture / 12.92, ((picture + 0.055) / 1.055) ** 2.4)
    xyz = _times(_TO_XYZ, linear)
    root = torch.where(xyz > _EDGE**3, xyz.clamp_min(0) ** (1 / 3), xyz / (3 * _EDGE**2) + 4 / 29)
    return _times(_TO_LAB, root) - _offset(picture)


def rgb_of(lab: Tensor) -> Tensor:
    """`to_rgb` by its formulas, on any device."""
    root = _times(torch.linalg.inv(torch.tensor(_TO_LAB)).tolist(), lab + _offset(lab))
    xyz = torch.where(root > _EDGE, root**3, 3 * _EDGE**2 * (root - 4 / 29))
    linear = _times(torch.linalg.inv(torch.tensor(_TO_XYZ)).tolist(), xyz).clamp(0, 1)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curved).clamp(0, 1)


def _converted(picture: Tensor, how: int) -> Tensor:
    rows = cv2.cvtColor(picture.permute(1, 2, 0).contiguous().numpy(), how)
    return torch.from_numpy(rows).permute(2, 0, 1)


def _offset(like: Tensor) -> Tensor:
    """L's constant, as a colour."""
    return torch.tensor([16.0, 0.0, 0.0], device=like.device).view(3, 1, 1)


def _look(lab: Tensor) -> Look:
    mean = _mean(lab)
    return Look(mean, _mean(_changed(lab, torch.ones_like(mean), -mean).square()).sqrt())


# Of three colours side by side torch does three numbers at a time, on a CPU; of their rows, all.


def _mean(picture: Tensor) -> Tensor:
    """Of every channel, [3, 1, 1]."""
    return _rows(picture).mean(0).view(-1, 3).mean(0).view(3, 1, 1)


def _changed(picture: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Multiply and shift every channel, by [3, 1, 1] each."""
    _, height, width = picture.shape
    factors, offsets = (each.flatten().repeat(width) for each in (factor, offset))
    changed = torch.addcmul(offsets, _rows(picture), factors)
    return changed.view(height, width, 3).permute(2, 0, 1)


def _rows(picture: Tensor) -> Tensor:
    """[3, H, W] as [H, 3 W]."""
    return picture.permute(1, 2, 0).flatten(1)


def _times(matrix: object, picture: Tensor) -> Tensor:
    """Mix the channels of every pixel."""
    return torch.einsum("ij,jhw->ihw", torch.tensor(matrix, device=picture.device), picture)
