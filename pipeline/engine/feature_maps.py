"""What the channels of a layer see in a picture."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.engine.networks import Network, truncate

# Pixels by which a picture is continued on every side, a multiple of every stride.
_MARGIN = 64


class FeatureMap(NamedTuple):
    """One channel's answer to a picture.

    Attributes:
        channel: its number.
        map: activation, float32 [H, W] of the layer's size.
        peak: its largest value.
        mean: its mean.
    """

    channel: int
    map: Tensor
    peak: float
    mean: float


@torch.no_grad()
def strongest_maps(network: Network, node: str, picture: Tensor, count: int) -> list[FeatureMap]:
    """Find the channels that a picture excites most.

    The picture is reflected at its borders and the maps are cut back to it, or else channels that
    see where the network's zero padding begins would come first. (Not so a picture smaller than
    what would be reflected.)

    Args:
        network: from `networks.build`; it stays on its device.
        node: the layer, as `networks.truncate` takes it.
        picture: float32 [3, H, W], RGB in [0, 1].
        count: how many channels.

    Returns:
        Maps in order of their means, largest first; fewer than `count` where the layer has fewer
        channels that answer at all.

    Raises:
        ConfigError: a node that the network does not have.
        WeightsError: the weights end before the node.
        ValueError: a layer behind global pooling, which has no maps.
    """
    module = truncate(network, [node])
    device = next(module.parameters()).device
    margin = _MARGIN if min(picture.shape[1:]) > _MARGIN else 0
    seen = (picture - torch.tensor(network.mean).view(3, 1, 1))[None]
    seen = F.pad(seen, (margin, margin, margin, margin), mode="reflect")
    (activation,) = module(seen.to(device))
    if activation.ndim != 4:
        raise ValueError(f"{node} sees the whole picture at once: it has no maps")
    stride = round(seen.shape[2] / activation.shape[2])
    edge = margin // stride
    maps = activation[0, :, edge : activation.shape[2] - edge, edge : activation.shape[3] - edge]
    maps = maps.float().cpu()
    means, peaks = maps.mean(dim=(1, 2)), maps.amax(dim=(1, 2))
    order = means.argsort(descending=True, stable=True)[:count].tolist()
    return [FeatureMap(c, maps[c], float(peaks[c]), float(means[c])) for c in order if peaks[c] > 0]
