"""Random turns and scales of what the network is shown, so that a dream holds in more than one.

A step sees the picture through a similarity around its centre, z -> a z on complex pixel positions,
and takes the gradient back through the inverse of it. The exact way back would be the adjoint of
the resampling, which scatters; up to interpolation it is the inverse warp times |a|^2, and what
gathers repeats to the byte on a GPU and leaves no moire of its own in the gradient. A constant
factor is nothing to a gradient that is about to be normalised.
"""

import cmath
import math
import random
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def random_turn(key: int, octave: int, iteration: int, *, rotate: float, scale: float) -> complex:
    """Draw a rotation and an enlargement: a pure function of the arguments.

    Args:
        key: of the sample.
        octave: index.
        iteration: index.
        rotate: largest angle, degrees; drawn evenly from -rotate..rotate.
        scale: largest enlargement, >= 1; drawn evenly on a logarithmic scale from 1/scale..scale.

    Returns:
        The factor a of z -> a z, y pointing down; 1 for no motion.
    """
    if rotate <= 0 and scale <= 1:
        return 1
    rng = random.Random(f"turn:{key}:{octave}:{iteration}")
    angle = math.radians(rng.uniform(-rotate, rotate))
    return cmath.rect(math.exp(rng.uniform(-1, 1) * math.log(scale)), angle)


def turned(picture: Tensor, turns: Sequence[complex]) -> Tensor:
    """Show every sample through its own similarity; the picture is reflected at its border.

    Args:
        picture: float32 [N, 3, H, W].
        turns: N factors, see `random_turn`.

    Returns:
        float32 [N, 3, H, W]; the picture itself where no sample moves.
    """
    return _warped(picture, turns, outside="reflection")


def turned_back(gradient: Tensor, turns: Sequence[complex]) -> Tensor:
    """Take the gradient by what was shown back to the picture; zero where nothing was shown.

    Args:
        gradient: float32 [N, 3, H, W].
        turns: as `turned` was given them.

    Returns:
        float32 [N, 3, H, W].
    """
    return _warped(gradient, [1 / turn for turn in turns], outside="zeros")


def _warped(picture: Tensor, turns: Sequence[complex], *, outside: str) -> Tensor:
    """Resample: pixel z of the result shows what stood at z / turn."""
    if all(turn == 1 for turn in turns):
        return picture
    back = [1 / complex(turn) for turn in turns]
    if picture.device.type == "cpu":
        samples = zip(picture.unbind(0), back, strict=True)
        return torch.stack([_by_opencv(sample, b, outside) for sample, b in samples])
    height, width = picture.shape[2:]
    # grid_sample's coordinates run from -1 to 1 along either side.
    theta = [
        [[b.real, -b.imag * height / width, 0], [b.imag * width / height, b.real, 0]] for b in back
    ]
    grid = F.affine_grid(torch.tensor(theta).to(picture), list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def _by_opencv(sample: Tensor, back: complex, outside: str) -> Tensor:
    """Resample [3, H, W]: pixel z of the result shows what stands at z * back."""
    if back == 1:
        return sample
    height, width = sample.shape[1:]
    shift = complex(width - 1, height - 1) / 2 * (1 - back)
    rows = np.array([[back.real, -back.imag, shift.real], [back.imag, back.real, shift.imag]])
    moved = cv2.warpAffine(
        sample.permute(1, 2, 0).contiguous().numpy(),
        rows,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT if outside == "reflection" else cv2.BORDER_CONSTANT,
    )
    return torch.from_numpy(moved).permute(2, 0, 1)
