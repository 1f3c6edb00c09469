"""Clips of exactly known motion."""

import cv2
import numpy as np
from numpy.typing import NDArray

Clip = NDArray[np.uint8]  # (N, H, W, 3)


def texture(size: tuple[int, int], *, seed: int = 0, blur: float = 1.5) -> NDArray[np.uint8]:
    """Coloured blobs of several sizes, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    width, height = size
    picture = np.zeros((height, width, 3), np.float32)
    for k in (0, 2, 4):
        small = rng.normal(size=((height >> k) + 2, (width >> k) + 2, 3)).astype(np.float32)
        small = cv2.GaussianBlur(small, (0, 0), blur)
        picture += cv2.resize(small / small.std(), size, interpolation=cv2.INTER_CUBIC)
    return (picture / picture.std() * 45 + 128).clip(0, 255).astype(np.uint8)


def pan(frames: int, size: tuple[int, int], step: tuple[int, int], *, seed: int = 0) -> Clip:
    """A window that moves by `step` (right, down) pixels a frame over a texture.

    Frame t's pixel x is frame t-1's pixel x + step.
    """
    width, height = size
    reach = [abs(s) * (frames - 1) for s in step]
    whole = texture((width + reach[0], height + reach[1]), seed=seed)
    clip = []
    for t in range(frames):
        x, y = (s * t if s >= 0 else r + s * t for s, r in zip(step, reach, strict=True))
        clip.append(whole[y : y + height, x : x + width])
    return np.stack(clip)


def turn(frames: int, size: tuple[int, int], degrees: float) -> tuple[Clip, NDArray[np.float32]]:
    """A texture that turns about the middle; with the flow from frame t to t-1."""
    width, height = size
    side = 2 * max(size)
    whole = texture((side, side), seed=3)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    y, x = np.mgrid[0:height, 0:width]
    place = np.stack([x, y], axis=-1) - middle
    clip = [
        cv2.remap(
            whole,
            (place @ _rotation(degrees * t) + (side - 1) / 2).astype(np.float32),
            None,
            cv2.INTER_CUBIC,
        )
        for t in range(frames)
    ]
    return np.stack(clip), (place @ _rotation(degrees) - place).astype(np.float32)


def square_over_texture(
    frames: int, size: tuple[int, int], *, side: int, step: int
) -> tuple[Clip, list[slice]]:
    """A textured square that moves right over a texture at rest; with its columns, frame by frame.

    Its rows are the middle ones.
    """
    width, height = size
    back, square = texture(size, seed=1), texture((side, side), seed=2)
    clip, columns = [], []
    for t in range(frames):
        x = width // 4 + step * t
        frame = back.copy()
        frame[(height - side) // 2 : (height + side) // 2, x : x + side] = square
        clip.append(frame)
        columns.append(slice(x, x + side))
    return np.stack(clip), columns


def _rotation(degrees: float) -> NDArray[np.float64]:
    a = np.radians(degrees)
    return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
