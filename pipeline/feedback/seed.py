"""What a feedback is, and pictures to tensors and back."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.media.ffmpeg import Frame
from pipeline.plan import Node


class Feedback(Protocol):
    """Makes what a frame's dream starts from out of its source and its parents' dreams."""

    def seed(self, node: Node, source: Callable[[int], Frame], parents: Sequence[Frame]) -> Tensor:
        """Make one frame's seed.

        Args:
            node: the frame.
            source: reads an undreamed frame by number, uint8 RGB [H, W, 3].
            parents: the dreams of `node.parents`, in that order, uint8 RGB [H, W, 3].

        Returns:
            float32 [3, H, W] on the engine's device.
        """
        ...

    def undreamed(self, frame: int, source: Callable[[int], Frame]) -> Tensor:
        """What a frame would be without any dream, float32 [3, H, W] on the engine's device."""
        ...

    def close(self) -> None:
        """Stop whatever works in the background, and let go of what is kept for other frames."""
        ...


def to_tensor(picture: Frame, device: torch.device | str) -> Tensor:
    """uint8 [H, W, 3] -> float32 [3, H, W] in [0, 1], of the same order in memory."""
    if torch.device(device).type == "cpu":  # in one pass
        return torch.from_numpy(np.divide(picture, 255, dtype=np.float32)).permute(2, 0, 1)
    return upload(picture, device).permute(2, 0, 1).float() / 255


def upload(array: NDArray[Any], device: torch.device | str) -> Tensor:
    """Bring an array to a device; on the way to a CUDA GPU nobody waits for it."""
    tensor = torch.from_numpy(array)
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    # Apple's would read the array after it is gone (pytorch/pytorch#139550).
    return tensor.to(device)


def stacked(pictures: Iterable[Tensor]) -> Tensor:
    """Put pictures, [3, H, W], into one tensor, [N, 3, H, W], channels_last as the engine wants it.

    (`torch.stack` would bring those that lie so already into another order.)
    """
    return torch.stack([picture.permute(1, 2, 0) for picture in pictures]).permute(0, 3, 1, 2)


def to_pictures(dreams: Tensor) -> list[Frame]:
    """float32 [N, 3, H, W] in [0, 1] -> N of uint8 [H, W, 3], rounded."""
    rounded = (dreams * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    if not rounded.is_cuda:
        return list(rounded.cpu().numpy())
    fetched = torch.empty(rounded.shape, dtype=torch.uint8, pin_memory=True)
    fetched.copy_(rounded)
    return list(fetched.numpy())
