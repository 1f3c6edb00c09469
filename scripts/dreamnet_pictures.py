"""What dreamnet is trained on: crops of photos, noise, and a pool of pictures that dream on."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def load_pictures(source: Path, *, side: int = 128) -> np.ndarray:
    """Decode all training pictures into memory.

    Args:
        source: a folder of pictures, or of one pack: `jpeg.bin` (JPEG files end to end) with
            `off.npy` (int64 offsets, one more than files).
        side: pictures are squeezed to this many pixels a side.

    Returns:
        uint8 (pictures, side, side, 3), RGB.

    Raises:
        FileNotFoundError: no pictures there.
    """
    if (source / "jpeg.bin").exists():
        offsets = np.load(source / "off.npy")
        packed = np.fromfile(source / "jpeg.bin", np.uint8)
        files = [packed[a:b] for a, b in itertools.pairwise(offsets)]
    else:
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
        files = [np.fromfile(p, np.uint8) for p in paths]
    if not files:
        raise FileNotFoundError(f"no pictures in {source}: give a folder of JPEGs or a pack")
    pictures = np.empty((len(files), side, side, 3), np.uint8)
    for i, file in enumerate(files):
        picture = cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)
        if picture.shape[:2] != (side, side):
            picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        pictures[i] = picture
    return pictures


def photo_batch(
    pictures: np.ndarray, count: int, side: int, rng: np.random.Generator, *, shortest: int = 56
) -> Tensor:
    """Cut random crops, flipped and shifted in contrast and colour; some get noise.

    Args:
        pictures: from `load_pictures`.
        count: crops.
        side: of a crop after resizing, pixels.
        rng: source of all randomness.
        shortest: side of the smallest crop before resizing, pixels.

    Returns:
        float32 [count, 3, side, side] in [0, 1].
    """
    crops = np.empty((count, side, side, 3), np.float32)
    full = pictures.shape[1]
    for i, index in enumerate(rng.integers(len(pictures), size=count)):
        length = int(rng.integers(shortest, full + 1))
        top, left = rng.integers(full - length + 1, size=2)
        crop = pictures[index, top : top + length, left : left + length]
        how = cv2.INTER_AREA if length > side else cv2.INTER_CUBIC
        crops[i] = cv2.resize(crop, (side, side), interpolation=how)[:, :: rng.choice((-1, 1))]
    contrast = rng.uniform(0.5, 1.5, (count, 1, 1, 1))
    colour = rng.normal(0, 0.06, (count, 1, 1, 3)) + rng.normal(0, 0.06, (count, 1, 1, 1))
    noise = rng.choice((0.0, 0.0, 0.0, 0.05), (count, 1, 1, 1))
    crops = (crops / 255 - 0.5) * contrast + 0.5 + colour
    crops += noise * rng.standard_normal(crops.shape, np.float32)
    return torch.from_numpy(crops.astype(np.float32)).permute(0, 3, 1, 2).clamp(0, 1)


def noise_picture(height: int, width: int, generator: torch.Generator, *, soft: bool) -> Tensor:
    """Draw noise around mid-grey.

    Args:
        height: pixels.
        width: pixels.
        generator: source of all randomness.
        soft: Gaussian noise of every size, 2^(.7 k) of it enlarged 2^k times, instead of white.

    Returns:
        float32 [3, height, width] in [0, 1], standard deviation about .16.
    """
    noise = torch.randn(1, 3, height, width, generator=generator)
    for k in range(1, 7) if soft else ():
        size = (max(2, math.ceil(height / 2**k)), max(2, math.ceil(width / 2**k)))
        coarse = torch.randn(1, 3, *size, generator=generator)
        noise += 2 ** (0.7 * k) * F.interpolate(coarse, size=(height, width), mode="bicubic")
    return (noise[0] / noise.std() * 0.16 + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Visit:
    """Pool pictures taken out for a training step.

    Attributes:
        slots: their places in the pool.
        pictures: at the octave's size and shifted, [N, 3, h, w].
        shift: (down, right) pixels of the random shift.
    """

    slots: Tensor
    pictures: Tensor
    shift: tuple[int, int]


class DreamPool:
    """Pictures that go on dreaming while the student learns from them.

    A picture belongs to one layer and is dreamed by the student, by the teacher, or by both; each
    visit is a step at a random octave and a little zoom, so that its history is that of a zoom
    video. What the current student runs into in its own dreams, false attractors above all, is
    therefore in its next batches (as in DAgger: Ross et al. 2011). Restarts come at random.
    """

    def __init__(
        self,
        layers: int,
        photos: np.ndarray,
        *,
        per_layer: int = 48,
        side: int = 144,
        lifetime: float = 70.0,
        seed: int = 0,
    ) -> None:
        self._photos = photos
        self._per_layer = per_layer
        self._lifetime = lifetime
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        count = layers * per_layer
        self._pictures = torch.empty(count, 3, side, side)
        self._student_share = torch.empty(count)
        for slot in range(count):
            self._restart(slot)

    @property
    def pictures(self) -> Tensor:
        """All of them, float32 [N, 3, side, side]."""
        return self._pictures

    def state(self) -> dict[str, object]:
        """Return everything a resumed run needs."""
        return {
            "pictures": self._pictures.half(),
            "student_share": self._student_share,
            "rng": self._rng.bit_generator.state,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict) -> None:
        """Take over what `state` returned."""
        self._pictures = state["pictures"].float()
        self._student_share = state["student_share"]
        self._rng.bit_generator.state = state["rng"]
        self._generator.set_state(state["generator"])

    def visit(self, layer: int, pixels: int) -> Visit:
        """Take pictures of one layer out, as many as make up the number of pixels."""
        side = self._pictures.shape[2]
        size = round(side / 1.4 ** int(self._rng.choice(3, p=(0.45, 0.3, 0.25))))
        count = min(max(1, pixels // size**2), self._per_layer)
        order = self._rng.permutation(self._per_layer)[:count] + layer * self._per_layer
        slots = torch.from_numpy(order)
        pictures = self._pictures[slots]
        if size != side:
            pictures = F.interpolate(pictures, size=(size, size), mode="bicubic", antialias=True)
        shift = (int(self._rng.integers(-16, 17)), int(self._rng.integers(-16, 17)))
        return Visit(slots, torch.roll(pictures, shift, (2, 3)).clamp(0, 1), shift)

    def advance(self, visit: Visit, student: Tensor, teacher: Tensor) -> None:
        """Let the visited pictures dream on.

        Args:
            visit: from `visit`.
            student: its dream direction at the visited pictures, [N, 3, h, w], smoothed.
            teacher: the teacher's.
        """
        by_student = torch.rand(len(visit.slots), generator=self._generator)
        by_student = (by_student < self._student_share[visit.slots])[:, None, None, None]
        direction = torch.where(by_student, student, teacher)
        direction = direction / direction.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-20)
        step = float(self._rng.uniform(3, 9)) / 255
        dreamed = (visit.pictures + step * direction).clamp(0, 1) - visit.pictures
        dreamed = torch.roll(dreamed, (-visit.shift[0], -visit.shift[1]), (2, 3))
        side = self._pictures.shape[2]
        if dreamed.shape[2] != side:
            dreamed = F.interpolate(dreamed, size=(side, side), mode="bicubic")
        pictures = self._zoom((self._pictures[visit.slots] + dreamed).clamp(0, 1))
        self._pictures[visit.slots] = pictures.clamp(0, 1)
        for slot in visit.slots.tolist():
            if self._rng.random() < 1 / self._lifetime:
                self._restart(slot)

    def _zoom(self, pictures: Tensor) -> Tensor:
        zoom = float(self._rng.uniform(1.0, 1.04))
        turn = float(self._rng.normal(0, 0.005))
        c, s = math.cos(turn) / zoom, math.sin(turn) / zoom
        matrix = torch.tensor([[c, -s, 0.0], [s, c, 0.0]]).expand(len(pictures), 2, 3)
        grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
        return F.grid_sample(
            pictures, grid, mode="bicubic", padding_mode="reflection", align_corners=False
        )

    def _restart(self, slot: int) -> None:
        side = self._pictures.shape[2]
        kind = self._rng.choice(("white", "soft", "photo"), p=(0.4, 0.35, 0.25))
        if kind == "photo":
            self._pictures[slot] = photo_batch(self._photos, 1, side, self._rng)[0]
        else:
            soft = bool(kind == "soft")
            self._pictures[slot] = noise_picture(side, side, self._generator, soft=soft)
        self._student_share[slot] = float(self._rng.choice((1.0, 0.5, 0.0), p=(0.6, 0.2, 0.2)))
