"""What holds a picture back while it climbs: decay and total variation, as gradients.

They pull after every step, whose gradient has been normalised to a mean size of 1, so that their
weights mean the same for every network, layer and objective (decoupled, as weight decay is in
Loshchilov and Hutter 2019): at decay 4, say, a pixel .25 away from the mean is pulled back as hard
as the dream pushes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_FLAT = 1 / 255  # differences of one 8-bit level count as none


def restrain(
    picture: Tensor, *, lengths: Tensor, decays: Tensor, calms: Tensor, mean: Tensor
) -> Tensor:
    """Step down both gradients.

    Args:
        picture: float32 [N, 3, H, W] in [0, 1].
        lengths: of the step, [N, 1, 1, 1] or [N, 1, H, W].
        decays: weight of `decay`, [N, 1, 1, 1].
        calms: weight of `variation`, [N, 1, 1, 1].
        mean: see `decay`.

    Returns:
        float32 [N, 3, H, W] in [0, 1].
    """
    pull = decays * decay(picture, mean) + calms * variation(picture)
    return torch.addcmul(picture, lengths, pull, value=-1).clamp_(0, 1)


def decay(picture: Tensor, mean: Tensor) -> Tensor:
    """Gradient of half the squared distance to the mean picture (Simonyan et al. 2013, eq. 1).

    Args:
        picture: float32 [N, 3, H, W].
        mean: [1, 3, 1, 1], the picture that the network sees as zero.

    Returns:
        float32 [N, 3, H, W].
    """
    return picture - mean


def variation(picture: Tensor) -> Tensor:
    """Gradient of the total variation, the sum of |slope| (Rudin, Osher and Fatemi 1992).

    The slope's length is sqrt(dx^2 + dy^2 + e^2), e one 8-bit level, which has a gradient in flat
    places too; differences run to the right and down, and stop at the border.

    Args:
        picture: float32 [N, 3, H, W].

    Returns:
        float32 [N, 3, H, W], each value at most 4.
    """
    right = F.pad(picture.diff(dim=3), (0, 1))
    down = F.pad(picture.diff(dim=2), (0, 0, 0, 1))
    length = torch.sqrt(right.square() + down.square() + _FLAT**2)
    right, down = right / length, down / length
    return F.pad(right, (1, 0))[..., :-1] - right + F.pad(down, (0, 0, 1, 0))[..., :-1, :] - down
