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
    if all(turn == 1 for turn in turns):
        return picture
    samples = torch.split(picture, 1)
    moved = [
        s if turn == 1 else _bilinear(s, turn, outside)
        for s, turn in zip(samples, turns, strict=True)
    ]
    return torch.cat(moved)


def _bilinear(sample: Tensor, turn: complex, outside: str) -> Tensor:
    """Resample [1, 3, H, W]: the result's pixel z shows what stood at z / turn."""
    height, width = sample.shape[2:]
    back = 1 / complex(turn)
    if sample.device.type == "cpu":
        x, y = (width - 1) / 2, (height - 1) / 2
        shift = complex(x, y) * (1 - back)
        rows = torch.tensor(
            [[back.real, -back.imag, shift.real], [back.imag, back.real, shift.imag]]
        )
        moved = cv2.warpAffine(
            sample[0].permute(1, 2, 0).contiguous().numpy(),
            rows.numpy(),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT if outside == "reflection" else cv2.BORDER_CONSTANT,
        )
        return torch.from_numpy(moved).permute(2, 0, 1)[None]
    # grid_sample's coordinates run from -1 to 1 along either side.
    theta = [
        [back.real, -back.imag * height / width, 0],
        [back.imag * width / height, back.real, 0],
    ]
    grid = F.affine_grid(
        torch.tensor([theta]).to(sample), [1, 3, height, width], align_corners=False
    )
    return F.grid_sample(sample, grid, mode="bilinear", padding_mode=outside, align_corners=False)
