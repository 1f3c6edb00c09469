"""The gradient as it is in coordinates in which photographs are white noise.

Feature visualisation (Olah et al. 2017, "Feature visualization", distill.pub; Lucid) does not climb
in pixels x but in coordinates z with x = S z: S weighs every spatial frequency f by 1 / f and mixes
three channels of noise by the root of the colours' correlation over ImageNet. A step along dL/dz
moves the picture by S S^T dL/dx. So the same climb needs no second set of coordinates: the gradient
by the pixels is multiplied by S S^T, which is symmetric and positive semi-definite, so that what
climbed before still climbs. Large smooth shapes in natural colours grow, rather than loud grain.
"""

from functools import lru_cache

import torch
from torch import Tensor

# Lucid's color_correlation_svd_sqrt: rows are red, green and blue; columns about brightness,
# yellow against blue, and green against pink. Divided by its longest column, as there.
_COLOURS = torch.tensor(((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03)))
_COLOURS = _COLOURS / _COLOURS.norm(dim=0).max()


def decorrelate(gradient: Tensor) -> Tensor:
    """Multiply a gradient by S S^T: frequencies by 1 / f^2, colours by their correlation.

    Args:
        gradient: float32 [N, 3, H, W], of pictures whose borders meet (as jitter has them).

    Returns:
        float32 [N, 3, H, W]. Its mean keeps its size, every other frequency shrinks.
    """
    height, width = gradient.shape[2:]
    correlation = (_COLOURS @ _COLOURS.T).to(gradient.device)
    mixed = torch.einsum("cd,ndhw->nchw", correlation, gradient)
    weights = _spectrum(height, width, gradient.device)
    result: Tensor = torch.fft.irfft2(torch.fft.rfft2(mixed) * weights, s=(height, width))
    return result


@lru_cache(maxsize=32)
def _spectrum(height: int, width: int, device: torch.device) -> Tensor:
    """1 / f^2, no frequency counted below that of one wave across the longer side."""
    lowest = 1 / max(height, width)
    y, x = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]
    return (lowest / torch.hypot(y, x).clamp_min(lowest)).square().to(device)
