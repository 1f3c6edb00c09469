"""Feedback along optical flow: a video's dream is carried by what moves in the video.

What is carried is the detail, the dream minus its source: the seed is this frame's own source, as
sharp as ever, plus the parents' details brought to where what they were dreamed onto is now.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.feedback.optical_flow import Hop, enlarge, sample
from pipeline.feedback.seed import to_tensor, upload
from pipeline.feedback.ways import Read, WayFinder
from pipeline.media.ffmpeg import Frame, Size
from pipeline.plan import Node

# What a rejected detail weighs beside an accepted one. Where both sides are rejected, the two
# dissolve into one another along the flow as it was found: wrong by a pixel or two for a few
# frames, it is seen less than a hole that opens between two keyframes.
_REJECTED = 0.05


class FlowFeedback:
    """Seeds of video frames.

    Args:
        ways: finds what is inherited along, with a flow such as `optical_flow.dis` or `raft.Raft`;
            inputs that carry differently may share it.
        carry: share of the detail that a keyframe keeps per frame of distance, 0 to 1; below 1 a
            dream settles where it loses as much as its iterations add.
        device: where the seeds are made.
    """

    def __init__(
        self, ways: WayFinder, *, carry: float, device: torch.device | str = "cpu"
    ) -> None:
        self._ways = ways
        self._carry = carry
        self._device = torch.device(device)

    def seed(self, node: Node, source: Read, parents: Sequence[Frame]) -> Tensor:
        """Make a frame's seed, see `Feedback.seed`; it may lie outside [0, 1].

        Without parents it is the source. A keyframe inherits of its parent's detail `carry` per
        frame of distance where the parent shows what is here, and nothing elsewhere: a dream begins
        there anew. A frame between inherits from both sides; it adds nothing, so it loses nothing.
        """
        ways = self._ways.take(node, source)
        picture = to_tensor(ways.source, self._device)
        if not parents:
            return picture
        size = (picture.shape[2], picture.shape[1])
        inherited = [
            self._moved(dream, undreamed, hop, size)
            for dream, undreamed, hop in zip(parents, ways.parents, ways.hops, strict=True)
        ]
        details, visible = [each[0] for each in inherited], [each[1] for each in inherited]
        if len(details) == 1:
            kept = self._carry ** abs(node.id.frame - node.parents[0].frame)
            return picture + details[0] * (kept * visible[0])
        early, late = (parent.frame for parent in node.parents)
        near = (node.id.frame - early) / (late - early)
        return picture + blend(details, visible, near)

    def undreamed(self, frame: int, source: Read) -> Tensor:
        """See `Feedback.undreamed`."""
        return to_tensor(source(frame), self._device)

    def close(self) -> None:
        """Stop looking ahead."""
        self._ways.close()

    def _moved(self, dream: Frame, source: Frame, hop: Hop, size: Size) -> tuple[Tensor, Tensor]:
        """Bring a parent's detail here: float32 [3, H, W]; and how surely it is seen, [H, W]."""
        if self._device.type != "cuda":  # Apple's GPU has no bicubic filter along a flow
            hop = enlarge(hop, size)
            difference: NDArray[np.float32] = cv2.subtract(
                dream, source, dtype=cv2.CV_32F
            ) / np.float32(255)
            cubic, reflect = cv2.INTER_CUBIC, cv2.BORDER_REFLECT
            moved = sample(difference, hop.flow, interpolation=cubic, border=reflect)
            detail, visible = upload(moved, self._device), upload(hop.visible, self._device)
            return detail.permute(2, 0, 1), visible
        flow, visible = enlarged(
            upload(hop.flow, self._device), upload(hop.visible, self._device), size
        )
        detail = to_tensor(dream, self._device) - to_tensor(source, self._device)
        return warp(detail, flow), visible


def enlarged(flow: Tensor, visible: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Scale a hop to frames of `size` (width, height) as `optical_flow.enlarge` does, on a GPU.

    Args:
        flow: float32 [h, w, 2], pixels, x then y.
        visible: float32 [h, w].
        size: of the frames.

    Returns:
        float32 [H, W, 2] and [H, W].
    """
    height, width = visible.shape
    scale = torch.tensor([size[0] / width, size[1] / height, 1.0]).view(1, 3, 1, 1)
    both = torch.cat([flow, visible[..., None]], dim=-1).permute(2, 0, 1)[None]
    larger = F.interpolate(both, size=(size[1], size[0]), mode="bilinear", align_corners=False)
    larger = larger * scale.to(flow.device, non_blocking=flow.is_cuda)
    return larger[0, :2].permute(1, 2, 0), larger[0, 2]


def blend(details: Sequence[Tensor], visible: Sequence[Tensor], near: float) -> Tensor:
    """Mix the details of two sides by nearness and visibility.

    Args:
        details: of the earlier and the later parent, float32 [3, H, W].
        visible: how surely each shows what is here, float32 [H, W] in [0, 1].
        near: how near the later one is, 0 to 1.

    Returns:
        float32 [3, H, W].
    """
    first = (1 - near) * (visible[0] + _REJECTED)
    second = near * (visible[1] + _REJECTED)
    return torch.lerp(details[0], details[1], second / (first + second))


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """Sample a picture where a flow leads: bicubic, reflected border.

    Args:
        picture: float32 [3, H, W].
        flow: float32 [H, W, 2], pixels, x then y.

    Returns:
        float32 [3, H, W]: at x what the picture has at x + flow.
    """
    height, width = picture.shape[1:]
    x = torch.arange(width, device=picture.device) + flow[..., 0]
    y = torch.arange(height, device=picture.device)[:, None] + flow[..., 1]
    # grid_sample goes from -1 to 1 across the picture's outer edges.
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(
        picture[None], grid[None], mode="bicubic", padding_mode="reflection", align_corners=False
    )[0]
