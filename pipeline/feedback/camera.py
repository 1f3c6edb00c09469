"""Feedback along a camera path: the parent is the frame before, zoomed, rotated and moved.

A camera motion is a similarity of the plane. With pixels as complex numbers around the camera's
centre it is z -> a z + b, and steady motion (zoom rate r, angular velocity w, velocity v) solves
z' = (ln r + i w) z + v, which has a closed form. Integrating it in slices of a fixed length in
*seconds* makes the path independent of the frame rate: no frame rate appears in it.
"""

import cmath
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.feedback.seed import to_tensor
from pipeline.media.ffmpeg import Frame
from pipeline.plan import FrameId, Node

Rate = Callable[[Fraction], float]

# Slices a second for schedules that change; 120 is a multiple of 24, 30 and 60 frames a second.
_SLICES_PER_SECOND = 120
# Width of the soft edge of a keyframe inside its neighbour, as a share of the shorter side: wide
# enough that no frame is seen inside the frame.
_FEATHER = 0.08
_WAYS = 4  # from keyframes to frames between them that are remembered


@dataclass(frozen=True)
class Similarity:
    """z -> a z + b on complex pixel positions relative to the camera's centre."""

    a: complex = 1
    b: complex = 0

    def then(self, after: "Similarity") -> "Similarity":
        """Apply this motion, and the other one after it."""
        return Similarity(after.a * self.a, after.a * self.b + after.b)

    def inverse(self) -> "Similarity":
        """Undo the motion."""
        return Similarity(1 / self.a, -self.b / self.a)

    def apply(self, point: complex) -> complex:
        """Move one point."""
        return self.a * point + self.b


@dataclass(frozen=True)
class CameraPath:
    """Where the camera takes a point of the picture.

    Attributes:
        zoom: enlargement per second at a time in seconds, > 0; 1 is rest.
        rotate: degrees per second, anticlockwise as seen.
        move: (right, down), picture widths and heights per second.
        centre: fixed point of zoom and rotation, (x, y) as shares of width and height.
        fps: frames a second.
        size: (width, height), pixels.
    """

    zoom: Rate
    rotate: Rate
    move: tuple[Rate, Rate]
    centre: tuple[float, float]
    fps: Fraction
    size: tuple[int, int]

    def hop(self, start: int, end: int) -> Similarity:
        """Motion that carries a point of frame `start` to its place in frame `end`."""
        if end < start:
            return self.hop(end, start).inverse()
        motion = Similarity()
        for frame in range(start, end):
            motion = motion.then(self._motion(frame / self.fps, (frame + 1) / self.fps))
        return motion

    def matrix(self, motion: Similarity) -> NDArray[np.float64]:
        """The 2 x 3 matrix of a motion on pixel coordinates (x right, y down, pixel centres)."""
        # Rotating anticlockwise as seen is clockwise in coordinates whose y points down.
        a, b = motion.a.conjugate(), motion.b
        cx, cy = (c * s - 0.5 for c, s in zip(self.centre, self.size, strict=True))
        linear = np.array([[a.real, -a.imag], [a.imag, a.real]])
        offset = np.array([cx + b.real, cy - b.imag]) - linear @ (cx, cy)
        return np.column_stack([linear, offset])

    def _motion(self, start: Fraction, end: Fraction) -> Similarity:
        """Integrate from `start` to `end` seconds, slice by slice, sampling at mid-slice."""
        first = math.floor(start * _SLICES_PER_SECOND)
        last = math.ceil(end * _SLICES_PER_SECOND)
        edges = [max(start, Fraction(first, _SLICES_PER_SECOND))]
        edges += [Fraction(i, _SLICES_PER_SECOND) for i in range(first + 1, last)]
        edges.append(end)
        motion = Similarity()
        width, height = self.size
        for begin, stop in itertools.pairwise(edges):
            seconds = float(stop - begin)
            t = (begin + stop) / 2
            rate = complex(math.log(self.zoom(t)), math.radians(self.rotate(t)))
            velocity = complex(self.move[0](t) * width, -self.move[1](t) * height)
            a = cmath.exp(rate * seconds)
            b = velocity * (seconds if abs(rate) < 1e-12 else (a - 1) / rate)
            motion = motion.then(Similarity(a, b))
        return motion


def warp(picture: Tensor, matrix: NDArray[np.float64]) -> Tensor:
    """Move a picture: bicubic, sub-pixel, reflected at the border (never black).

    Args:
        picture: float32 [3, H, W].
        matrix: 2 x 3, from a pixel of the picture to its place in the result.

    Returns:
        float32 [3, H, W].
    """
    height, width = picture.shape[1:]
    if picture.device.type == "cpu":
        moved = cv2.warpAffine(
            picture.permute(1, 2, 0).contiguous().numpy(),
            matrix,
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT,
        )
        return torch.from_numpy(moved).permute(2, 0, 1)
    if picture.device.type == "mps":  # whose grid_sample has no bicubic filter
        return warp(picture.cpu(), matrix).to(picture.device)
    # grid_sample works backwards, in coordinates from -1 to 1 across the picture's outer edges.
    to_unit = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    full = np.vstack([matrix, [0, 0, 1]])
    theta = to_unit @ np.linalg.inv(full) @ np.linalg.inv(to_unit)
    grid = F.affine_grid(
        torch.from_numpy(theta[None, :2]).to(picture), [1, 3, height, width], align_corners=False
    )
    return F.grid_sample(
        picture[None], grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )[0]


def coverage(
    matrix: NDArray[np.float64], size: tuple[int, int], device: torch.device | str = "cpu"
) -> Tensor:
    """How much a moved picture counts at each pixel: 0 outside it, rising to 1 inside its border.

    Args:
        matrix: 2 x 3, from a pixel of the picture to its place in the result.
        size: (width, height).
        device: of the result.

    Returns:
        float32 [H, W] in [0, 1].
    """
    width, height = size
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    x = torch.arange(width, device=device, dtype=torch.float32)[None, :]
    y = torch.arange(height, device=device, dtype=torch.float32)[:, None]
    u = float(back[0, 0]) * x + float(back[0, 1]) * y + float(back[0, 2]) + 0.5
    v = float(back[1, 0]) * x + float(back[1, 1]) * y + float(back[1, 2]) + 0.5
    inside = torch.minimum(torch.minimum(u, width - u), torch.minimum(v, height - v))
    ramp = (inside / (_FEATHER * min(size))).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def dissolve(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Mix two pictures that have nothing in common without the loss of contrast that mixing brings.

    Args:
        first: float32 [3, H, W].
        second: likewise.
        share: of the second, 0 to 1.

    Returns:
        float32 [3, H, W], its deviation between those of the two.
    """
    mixed = torch.lerp(first, second, share)
    mean, kept = mixed.mean(), torch.lerp(first.std(), second.std(), share)
    return (mixed - mean) * (kept / mixed.std().clamp_min(1e-6)) + mean


class CameraFeedback:
    """Seeds of frames that follow a camera.

    Args:
        path: of the camera.
        carry: share of a picture's distance from grey that is kept per second. A dream adds
            contrast at every keyframe; at 1 nothing ever takes it away but the limits of the range.
        device: where the seeds are made.

    Attributes:
        path: of the camera.
    """

    def __init__(
        self, path: CameraPath, *, carry: float = 1.0, device: torch.device | str = "cpu"
    ) -> None:
        self.path = path
        self._carry = carry
        self._device = device
        self._reached = (0, Similarity())  # where the camera has come from the first frame
        # A steady camera goes the same ways between all keyframes.
        self._coverage = lru_cache(2 * _WAYS)(self._find_coverage)
        self._later_share = lru_cache(_WAYS)(self._find_later_share)

    def seed(self, node: Node, source: Callable[[int], Frame], parents: Sequence[Frame]) -> Tensor:
        """Make a frame's seed, see `Feedback.seed`.

        Without parents it is the source. A keyframe's is its parent, moved. A frame between two
        keyframes is both of them, moved to it and weighed by nearness; each counts only where it
        has something to show, which matters for the later one when zooming in, as it shows only
        the inner part of the earlier one. Near the end of a loop the earlier side becomes, by
        `node.share`, the frame that the camera sees likewise near the beginning.
        """
        if not parents:
            return to_tensor(source(node.id.frame), self._device)
        sides = parents[:-1] if node.share else parents
        ways = [self.path.hop(parent.frame, node.id.frame) for parent in node.parents[: len(sides)]]
        moved = [
            self._faded(warp(to_tensor(picture, self._device), self.path.matrix(way)), node, parent)
            for picture, way, parent in zip(sides, ways, node.parents, strict=False)
        ]
        turned = moved[0]
        if node.share:
            turned = dissolve(moved[0], to_tensor(parents[-1], self._device), node.share)
        if len(moved) == 1:
            return turned
        early, late = (p.frame for p in node.parents[:2])
        near = (node.id.frame - early) / (late - early)
        filled = torch.lerp(moved[0], moved[1], self._later_share(ways[0], ways[1], near))
        # The later side brings as much of the beginning as is due; where it does not reach, none.
        return torch.lerp(turned, filled, self._coverage(ways[1])) if node.share else filled

    def _find_coverage(self, way: Similarity) -> Tensor:
        return coverage(self.path.matrix(way), self.path.size, self._device)

    def _find_later_share(self, early: Similarity, late: Similarity, near: float) -> Tensor:
        """How much the later of two sides counts, float32 [3, H, W]."""
        # The tiny rest decides where neither reaches: the reflected border of the earlier one.
        first = (1 - near) * self._coverage(early) + 1e-3
        second = near * self._coverage(late) + 1e-6
        share = second / (first + second)
        return share[:, :, None].repeat(1, 1, 3).permute(2, 0, 1)

    def _faded(self, picture: Tensor, node: Node, parent: FrameId) -> Tensor:
        """Let go of contrast for the time since an earlier parent."""
        frames = max(0, node.id.frame - parent.frame)
        if self._carry == 1 or frames == 0:
            return picture
        kept: float = self._carry ** float(frames / self.path.fps)
        return picture * kept + 0.5 * (1 - kept)

    def undreamed(self, frame: int, source: Callable[[int], Frame]) -> Tensor:
        """The first frame's source as the camera sees it from here, see `Feedback.undreamed`."""
        if frame < self._reached[0]:
            self._reached = (0, Similarity())
        reached, motion = self._reached
        self._reached = (frame, motion.then(self.path.hop(reached, frame)))
        matrix = self.path.matrix(self._reached[1])
        return warp(to_tensor(source(0), self._device), matrix).clamp(0, 1)

    def close(self) -> None:
        """Let go of what is kept for other frames."""
        self._coverage.cache_clear()
        self._later_share.cache_clear()
