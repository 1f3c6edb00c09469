"""RAFT, optical flow by a network (Teed and Deng 2020): better in hard scenes, slow on a CPU."""

import threading
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import WeightsError
from pipeline.feedback.optical_flow import Flow, size_within
from pipeline.feedback.seed import to_tensor
from pipeline.media.ffmpeg import Frame
from pipeline.weights import checkpoints, load_state

Kind = Literal["raft_small", "raft_large"]

# The correlation pyramid halves an eighth of the picture three times and wants two pixels left.
_SMALLEST = 128
_STRIDE = 8


class Raft:
    """Finds flows, both ways at once; call it as an optical flow method.

    Its memory grows with the square of the pixels: a million of them take 3 GB.

    Args:
        kind: raft_small or raft_large.
        weights: a file of the user's; None for torchvision's, downloaded when they are not there.
        max_pixels: larger frames are made smaller.
        device: where it runs.

    Raises:
        WeightsError: no weights, or those of another network; the message says where to put them.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        weights: str | Path | None = None,
        max_pixels: int = 1_000_000,
        device: torch.device | str = "cpu",
    ) -> None:
        self._network = load_raft(kind, weights).to(device)
        self._max_pixels = max_pixels
        self._device = device
        self._lock = threading.Lock()  # the network keeps its correlation pyramid on itself

    @torch.inference_mode()
    def __call__(self, earlier: Frame, later: Frame) -> tuple[Flow, Flow]:
        """Find the flows, see `optical_flow.FlowMethod`."""
        size = size_within((earlier.shape[1], earlier.shape[0]), self._max_pixels)
        a, b = (prepared(frame, size, self._device) for frame in (earlier, later))
        with self._lock:
            flows = self._network(torch.stack([b, a]), torch.stack([a, b]))[-1]
        backward, forward = flows[:, :, : size[1], : size[0]].permute(0, 2, 3, 1).cpu().numpy()
        return backward.copy(), forward.copy()


def prepared(frame: Frame, size: tuple[int, int], device: torch.device | str) -> Tensor:
    """Bring a frame to (width, height) and [-1, 1], padded to what the network takes.

    Returns:
        float32 [3, H, W], H and W multiples of 8 and at least 128.
    """
    picture = to_tensor(frame, device)[None] * 2 - 1
    height, width = size[1], size[0]
    if picture.shape[2:] != (height, width):
        picture = F.interpolate(picture, (height, width), mode="bilinear", antialias=True)
    right, below = (
        max(_SMALLEST, -(-side // _STRIDE) * _STRIDE) - side for side in (width, height)
    )
    return F.pad(picture, (0, right, 0, below), mode="replicate")[0]


def load_raft(kind: Kind, weights: str | Path | None = None) -> nn.Module:
    """Build RAFT with its weights, ready to infer.

    Raises:
        WeightsError: as the class says.
    """
    from torchvision.models import get_model, get_model_weights

    network: nn.Module = get_model(kind)
    if weights is not None:
        file = Path(weights).expanduser()
        if not file.is_file():
            raise WeightsError(f"{file}: no such weight file (`feedback.flow_weights` of {kind})")
        state = load_state(file)
    else:
        url: str = get_model_weights(kind).DEFAULT.url
        file = checkpoints() / Path(url).name
        state = load_state(file if file.is_file() else _downloaded(url, file, kind))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{file}: not the weights of {kind}") from error
    return network.eval().requires_grad_(False)


def _downloaded(url: str, file: Path, kind: Kind) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    checksum = file.stem.rpartition("-")[2]  # torchvision ends its names with the sha256's start
    try:
        torch.hub.download_url_to_file(url, str(file), checksum, progress=False)
    except (OSError, RuntimeError) as error:  # no network, a full disk; a wrong hash
        raise WeightsError(
            f"{kind}: {url} could not be downloaded ({error}); put {file.name} into {file.parent} "
            "or set `feedback.flow_weights: path/to/file`; `flow: dis` needs none"
        ) from error
    return file
