"""Masks: where a picture may be dreamed (white) and where it stays as it is (black)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.media.ffmpeg import Frame, Size
from pipeline.media.images import read_picture, resize

Field = NDArray[np.float32]

_BLACK = 0.04  # ten steps of 255

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
"""Names of files that are one mask for every frame; everything else is a video."""


@dataclass(frozen=True)
class Mask:
    """A mask for every frame of a clip.

    Attributes:
        name: of its file.
        fingerprint: changes when its pictures do.
        picture: reads the mask of a frame by number, uint8 RGB [H, W, 3] of any size.
        feather: width of the soft edge, pixels of the frame.
        invert: black is dreamed instead.
        close: ends what reads its pictures from a file.
    """

    name: str
    fingerprint: str
    picture: Callable[[int], Frame]
    feather: float
    invert: bool = False
    close: Callable[[], None] = lambda: None

    def read(self, frame: int, size: Size) -> Field:
        """The mask of one frame, stretched to (width, height): float32 [H, W] in [0, 1]."""
        grey = cv2.cvtColor(self.picture(frame), cv2.COLOR_RGB2GRAY)
        share = np.divide(resize(np.asarray(grey, np.uint8), size), 255, dtype=np.float32)
        return feathered(1 - share if self.invert else share, self.feather)


def still_mask(path: Path, *, fingerprint: str, feather: float, invert: bool) -> Mask:
    """One picture for all frames, read once.

    Raises:
        InputError: it cannot be read.
    """
    picture = read_picture(path)
    return Mask(path.name, fingerprint, lambda _: picture, feather, invert)


def feathered(mask: Field, width: float) -> Field:
    """Soften the edge inwards: what is black stays black, and white begins `width` pixels from it.

    What is nearly black counts as black: a lossy file leaves a little of everything everywhere. A
    mask that ends at the picture's border has no edge there.

    Args:
        mask: float32 [H, W] in [0, 1].
        width: of the edge, pixels; 0 leaves it as it is.

    Returns:
        float32 [H, W] in [0, 1].
    """
    white = mask > _BLACK
    if white.all():
        return mask
    inside = cv2.distanceTransform(white.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ramp = np.clip(inside / max(width, 1), 0, 1)
    return np.asarray(mask * ramp * ramp * (3 - 2 * ramp), np.float32)
