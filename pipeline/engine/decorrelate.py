"""The gradient as it is in coordinates in which photographs are white noise.

Feature visualisation (Olah et al. 2017, "Feature visualization", distill.pub; Lucid) does not climb
in pixels x but in coordinates z with x = S z: S weighs every spatial frequency f by 1 / f and mixes
three channels of noise by the root of the colours' correlation over ImageNet. A step along dL/dz
moves the picture by S S^T dL/dx. So the same climb needs no second set of coordinates: the gradient
by the pixels is multiplied by S S^T, which is symmetric and positive semi-definite, so that what
climbed before still climbs. Large smooth shapes in natural colours grow, rather than loud grain.
"""

from functools import cache, lru_cache

import torch
from torch import Tensor

# Lucid's color_correlation_svd_sqrt: rows are red, green and blue; columns about brightness,
# yellow against blue, and green against pink. Divided by its longest column, as there.
_COLOURS = torch.tensor(((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03)))
_COLOURS = _COLOURS / _COLOURS.norm(dim=0).max()
# Waves across the longer side that the lowest frequencies count as. Lucid has one, and its Adam
# evens frequencies out; a normalised step would go into the mean, and burn out many a channel.
_LOWEST = 2


def decorrelate(gradient: Tensor) -> Tensor:
    """Multiply a gradient by S S^T: frequencies by 1 / f^2, colours by their correlation.

    Args:
        gradient: float32 [N, 3, H, W], of pictures whose borders meet (as jitter has them).

    Returns:
        float32 [N, 3, H, W]. Its mean keeps its size, fine grain shrinks most.
    """
    height, width = gradient.shape[2:]
    mixed = torch.einsum("cd,ndhw->nchw", _correlation(gradient.device), gradient)
    weights = _spectrum(height, width, gradient.device)
    result: Tensor = torch.fft.irfft2(torch.fft.rfft2(mixed) * weights, s=(height, width))
    return result


@cache
def _correlation(device: torch.device) -> Tensor:
    """Of the colours, [3, 3]; on a GPU a step that copies from the host cannot be recorded."""
    return (_COLOURS @ _COLOURS.T).to(device)


@lru_cache(maxsize=32)
def _spectrum(height: int, width: int, device: torch.device) -> Tensor:
    """1 / f^2, as a share of that at the lowest frequencies."""
    lowest = _LOWEST / max(height, width)
    y, x = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]
    return (lowest / torch.hypot(y, x).clamp_min(lowest)).square().to(device)
