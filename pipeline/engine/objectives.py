"""What a dream climbs: one number per picture, and its gradient at the layer it is read from.

An objective is written in closed form, value and gradient, because a dream never needs a loss to be
summed up and differentiated: the gradient of the mean square *is* the activation, up to a factor.
The gradient comes apart as `scale * direction`: the direction seeds the backward pass as it is, in
whatever precision the network runs in, and the factor (1e-6 for a large layer) is applied to the
float32 result, where it cannot underflow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor

Match = Literal["best", "mean"]

# Dot products with a guide's features that exist at a time: 16 MB of them.
_PRODUCTS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Term:
    """One layer's share of what is climbed.

    Attributes:
        node: the network's node whose activation is read.
        objective: a key of `OBJECTIVES`, or "guide".
        channels: only these channels count; "each": of every sample one channel of its own; None
            for all.
    """

    node: str
    objective: str = "mean_square"
    channels: tuple[int, ...] | Literal["each"] | None = None

    def __post_init__(self) -> None:
        if self.objective not in (*OBJECTIVES, "guide"):
            raise ValueError(f"{self.objective = }; accepted: {', '.join(OBJECTIVES)}, guide")
        if self.objective == "guide" and self.channels == "each":
            raise ValueError("a guide is followed by channels that all samples share, not by each")


@dataclass(frozen=True)
class Climb:
    """An objective at one activation, per sample.

    Attributes:
        value: float32 [N].
        direction: like the activation; `scale * direction` is the gradient of `value` by it.
        scale: float32 [N].
    """

    value: Tensor
    direction: Tensor
    scale: Tensor


def mean_square(activation: Tensor) -> Climb:
    """Mean of squares: the squared distance to zero, as the first DeepDream climbed it."""
    count = activation[0].numel()
    value = _sum_of_squares(activation) / count
    return Climb(value, activation, torch.full_like(value, 2 / count))


def norm(activation: Tensor) -> Climb:
    """The L2 norm of the flattened activation."""
    value = _sum_of_squares(activation).sqrt()
    # What is silent has no direction, so any factor will do, but for a huge one: beside it, other
    # terms would vanish in 16 bits.
    return Climb(value, activation, torch.where(value > 0, 1 / value, 1.0))


def mean(activation: Tensor) -> Climb:
    """The mean, as feature visualisation climbs a channel (Olah et al. 2017)."""
    count = activation[0].numel()
    value = _flat(activation).mean(dim=1)
    return Climb(value, torch.ones_like(activation), torch.full_like(value, 1 / count))


def neuron(activation: Tensor) -> Climb:
    """The mean over channels at the centre: of one channel, a single neuron (Olah et al. 2017)."""
    centre: list[slice | int] = [slice(None), slice(None)]
    centre += [side // 2 for side in activation.shape[2:]]
    there = activation[tuple(centre)]
    direction = torch.zeros_like(activation)
    direction[tuple(centre)] = 1
    value = there.float().mean(dim=1)
    return Climb(value, direction, torch.full_like(value, 1 / there.shape[1]))


def guided(activation: Tensor, features: Tensor) -> Climb:
    """How well every position matches the guide's feature that it matches best.

    The mean, over positions and channels, of the largest dot product with a feature; its gradient
    at a position is that feature (google/deepdream, "controlling dreams"). Of all products only a
    block exists at a time.

    Args:
        activation: as in `climb`.
        features: float32 [F, C], from `vocabulary`.
    """
    places = activation.movedim(1, -1)  # a view, where channels lie last
    count, channels = activation[0].numel(), activation.shape[1]
    block = max(1, _PRODUCTS_AT_ONCE // len(features))
    values, directions = [], []
    for sample in places.reshape(len(activation), -1, channels).unbind(0):
        best = [(part.float() @ features.T).max(dim=1) for part in torch.split(sample, block)]
        values.append(sum((b.values.sum() for b in best), start=features.new_zeros(())) / count)
        directions.append(features[torch.cat([b.indices for b in best])].to(activation.dtype))
    direction = torch.stack(directions).view(places.shape).movedim(-1, 1)
    value = torch.stack(values)
    return Climb(value, direction, torch.full_like(value, 1 / count))


def vocabulary(activation: Tensor, match: Match) -> Tensor:
    """Collect the features that a guide's activation offers.

    Args:
        activation: of the guide, [1, C, H, W] or [1, C].
        match: "best" for the feature of every position; "mean" for only their mean.

    Returns:
        float32 [F, C].
    """
    features = activation.float().movedim(1, -1).reshape(-1, activation.shape[1])
    return features.mean(dim=0, keepdim=True) if match == "mean" else features


OBJECTIVES: dict[str, Callable[[Tensor], Climb]] = {
    "mean_square": mean_square,
    "norm": norm,
    "mean": mean,
    "neuron": neuron,
}


def climb(
    term: Term,
    activation: Tensor,
    features: Tensor | None = None,
    channel: Tensor | None = None,
) -> Climb:
    """Evaluate a term at its layer's activation.

    Args:
        term: what to climb.
        activation: [N, C, H, W], or [N, C] behind a global pooling, in the network's precision.
        features: the guide's at that layer, float32 [F, C], for the objective "guide".
        channel: of each sample, [N], for a term whose channels are "each".

    Returns:
        Value, direction (zero outside the term's channels) and scale.

    Raises:
        ValueError: a channel the layer does not have.
    """
    if term.channels is None:
        return _evaluate(term, activation, features)
    if term.channels == "each":
        if channel is None:
            raise ValueError(f"{term.node}: every sample needs a channel of its own")
        return _climb_each(OBJECTIVES[term.objective], activation, channel)
    channels = activation.shape[1]
    if bad := [c for c in term.channels if not 0 <= c < channels]:
        raise ValueError(f"{term.node} has channels 0..{channels - 1}; got {bad}")
    chosen = _index(term.channels, activation.device)
    part = _evaluate(term, activation[:, chosen], None if features is None else features[:, chosen])
    direction = torch.zeros_like(activation)
    direction[:, chosen] = part.direction
    return Climb(part.value, direction, part.scale)


@cache
def _index(channels: tuple[int, ...], device: torch.device) -> Tensor:
    """Moved to a GPU once: a step that copies from the host cannot be recorded."""
    return torch.tensor(channels, device=device)


def _climb_each(objective: Callable[[Tensor], Climb], activation: Tensor, channel: Tensor) -> Climb:
    """Climb another channel in every sample: the backward pass is seeded there and nowhere else.

    A channel that is silent everywhere has no gradient behind its ReLU. Until it wakes, the mean of
    all channels is climbed (Lucid lets the gradient through the ReLU for some steps instead).
    """
    index = channel.long().view(-1, *[1] * (activation.ndim - 1))
    index = index.expand(-1, 1, *activation.shape[2:])
    part = objective(activation.gather(1, index))
    own = torch.zeros_like(activation).scatter_(1, index, part.direction)
    silent = (part.value == 0).view(-1, *[1] * (activation.ndim - 1))
    share = 1 / activation.shape[1]
    return replace(part, direction=torch.where(silent, share, own).to(activation.dtype))


def seeds(climbs: Sequence[Climb], weights: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Weigh several terms into one backward pass.

    Args:
        climbs: one per term.
        weights: float32 [N, terms].

    Returns:
        The tensor to seed each layer's backward pass with, the float32 [N] factor that the image
        gradient still has to be multiplied by, and the weighted value, float32 [N].
    """
    scales = torch.stack([c.scale for c in climbs], dim=1) * weights
    values = (torch.stack([c.value for c in climbs], dim=1) * weights).sum(dim=1)
    if len(climbs) == 1:
        return [climbs[0].direction], scales[:, 0], values
    # The largest term seeds with its bare direction: no seed leaves the range of 16-bit floats.
    factor = scales.abs().amax(dim=1).clamp_min(1e-30)
    shares = (scales / factor[:, None]).to(climbs[0].direction.dtype)
    weighted = [
        c.direction * shares[:, k].view(-1, *[1] * (c.direction.ndim - 1))
        for k, c in enumerate(climbs)
    ]
    return weighted, factor, values


def _evaluate(term: Term, activation: Tensor, features: Tensor | None) -> Climb:
    if term.objective != "guide":
        return OBJECTIVES[term.objective](activation)
    if features is None:
        raise ValueError(f"{term.node} is to follow a guide, and there is none")
    return guided(activation, features)


def _sum_of_squares(activation: Tensor) -> Tensor:
    return _flat(activation).square().sum(dim=1)


def _flat(activation: Tensor) -> Tensor:
    """In float32 as [N, all], in the order in which it lies: no other is worth a copy."""
    return activation.movedim(1, -1).flatten(1).float()
