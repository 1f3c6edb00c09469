"""The guide: a picture whose features a dream follows, opened.

It is seen once, at one size, and not anew for every octave: its features are a vocabulary, and
coarse octaves speak with the same words as fine ones, as in google/deepdream.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import Guide as GuideConfig
from pipeline.media.images import fit, fit_size, picture_size, read_picture
from pipeline.media.ingest import fingerprint

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Guide:
    """A guide as it was read.

    Attributes:
        picture: float32 RGB [1, 3, H, W] in [0, 1].
        sha256: of the file, hexadecimal, for the record.
    """

    picture: "Tensor"
    sha256: str


def smallest_side(guide: GuideConfig) -> int:
    """Return the shorter side, in pixels, at which a guide will be seen; nothing is decoded.

    Raises:
        InputError: missing, or not a picture.
    """
    return min(fit_size(picture_size(Path(guide.path)), guide.size))


def read_guide(guide: GuideConfig) -> Guide:
    """Read a guide at the size at which its features are seen.

    Raises:
        InputError: missing, not a picture, or damaged.
    """
    import torch

    path = Path(guide.path)
    pixels = torch.from_numpy(fit(read_picture(path), guide.size))
    picture = pixels.permute(2, 0, 1)[None].float() / 255
    return Guide(picture, fingerprint(path))
