"""The image pyramid: resizing, and how one octave's dream enters the next."""

from collections.abc import Iterator, Sequence
from typing import Literal

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.engine.ascent import smooth

Merge = Literal["detail", "replace", "blend"]


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize with a bicubic filter, low-passed where it shrinks; linear in the picture.

    Args:
        picture: float32 [N, 3, H, W].
        size: (width, height).

    Returns:
        float32 [N, 3, height, width].
    """
    width, height = size
    if picture.shape[2:] == (height, width):
        return picture
    enlarges = width >= picture.shape[3] and height >= picture.shape[2]
    if enlarges and picture.device.type == "cpu":  # torch's kernel to the letter, 8 x faster
        samples = picture.permute(0, 2, 3, 1).contiguous().numpy()
        large = [cv2.resize(s, (width, height), interpolation=cv2.INTER_CUBIC) for s in samples]
        return torch.stack([torch.from_numpy(s) for s in large]).permute(0, 3, 1, 2)
    return F.interpolate(
        picture, size=(height, width), mode="bicubic", antialias=not enlarges, align_corners=False
    )


def pyramid(
    picture: Tensor, sizes: Sequence[tuple[int, int]], *, blurred: float = 0.0
) -> Iterator[Tensor]:
    """Give a picture at every size of a pyramid, coarse to fine.

    Args:
        picture: float32 [N, 3, H, W].
        sizes: (width, height) of the levels; the last is the picture's own.
        blurred: sigma of a Gaussian before every reduction, pixels; each level is then made of the
            next finer one (the recursive octaves of the TensorFlow tutorials). 0: each is made of
            the full picture.

    Yields:
        float32 [N, 3, height, width].
    """
    if blurred <= 0:
        yield from (resize(picture, size) for size in sizes)
        return
    levels = [resize(picture, sizes[-1])]
    for size in reversed(sizes[:-1]):
        levels.append(resize(smooth(levels[-1], "gaussian", [blurred] * len(picture)), size))
    yield from reversed(levels)


def merge(
    seed: Tensor, started: Tensor | None, dreamed: Tensor | None, *, how: Merge, blend: float
) -> Tensor:
    """Make the picture an octave starts from.

    - `detail` (google/deepdream): the seed, plus what the coarser octaves added. Sharpest: the
      seed's own high frequencies are never resized.
    - `replace` (pytorch-deepdream): the coarser dream itself, enlarged.
    - `blend` (the recursive octaves of the TensorFlow tutorials): both, `blend` of the seed.

    Args:
        seed: the seed at this octave's size, float32 [N, 3, H, W].
        started: what the octave below started from, at its size; None at the coarsest.
        dreamed: what it became, at its size; None at the coarsest.
        how: one of the three.
        blend: share of the seed, for `blend`.

    Returns:
        float32 [N, 3, H, W].
    """
    if started is None or dreamed is None:
        return seed
    size = (seed.shape[3], seed.shape[2])
    if how == "detail":
        return seed + resize(dreamed - started, size)
    if how == "replace":
        return resize(dreamed, size)
    return blend * seed + (1 - blend) * resize(dreamed, size)
