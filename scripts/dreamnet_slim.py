"""Slim BVLC GoogLeNet down to dreamnet's widths, without training.

Two steps, both in closed form. *Which channels stay*: from the deepest layer up, those from which
the others can best be predicted, as far as their kept readers look at them (greedy column subset
selection on the activations' covariance). *What reads them*: from the picture down, every
convolution is fitted anew by least squares, from what the slim network sees at its input to what
the teacher computes (He et al. 2017, "Channel pruning"). So what dreamnet does not have, the second
LRN and the pooling branches, is made up for where it can be.

The scale of a block is one number for all its channels: its mean square climbs as the teacher's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.engine import bvlc_googlenet
from pipeline.engine.blocks import ConvReLU
from pipeline.engine.dreamnet import WIDTHS, DreamNet, MixedWidths

BLOCKS = ("3a", "3b", "4a", "4b", "4c")
_BEYOND = "inception_4d"  # the teacher's first layer that dreamnet has no counterpart of
_MEAN = torch.tensor((104.0, 117.0, 123.0))[:, None, None]  # BGR
_OWN = 0.3  # weight of a layer's own energy beside what its readers look at: layers are dreamed too
_SAMPLES = 200_000  # pixels of a layer that a fit sees, if there are as many
_SWEEPS = 100  # of the coordinate descent
_RIDGE = 1e-4  # relative to the mean square of the inputs


@dataclass(frozen=True)
class Kept:
    """A convolution's channels that stay, and what each is divided by."""

    channels: Tensor
    scale: Tensor


class Slimmer:
    """Makes dreamnet out of its teacher.

    Args:
        state: the teacher's weights.
        pictures: float32 [N, 3, side, side] in [0, 1]: photos, noise, and dreams of the teacher.

    Attributes:
        net: the slim network.
        kept: by the teacher's convolution, which of its channels the slim network computes.
    """

    def __init__(self, state: Mapping[str, Tensor], pictures: Tensor) -> None:
        self._teacher = bvlc_googlenet.load({k: v.float() for k, v in state.items()})
        self._pictures = pictures
        self._computed = self._compute()
        self.kept: dict[str, Kept] = {}
        self.net = DreamNet()

    @torch.no_grad()
    def __call__(self) -> DreamNet:
        """Choose the channels, then fit the weights."""
        readers = self._choose_blocks()
        self.kept["conv2"] = self._choose("conv2", readers, WIDTHS.conv2)
        self.kept["conv2r"] = self._choose("conv2r", self._looks("conv2"), WIDTHS.conv2r)
        self.kept["conv1"] = self._choose_first()
        self._copy_first()
        net, x = self.net, (self._pictures - 0.5) * 4
        x = net.pool1(net.conv1(x[: self._count("conv2")]))
        self._fit_norm(x)
        x = net.norm1(x)
        x = self._fit(net.conv2r, ["conv2r"], x)
        x = net.pool2(self._fit(net.conv2, ["conv2"], x))
        for block in BLOCKS:
            name = f"inception_{block}"
            mixed = getattr(net, f"mixed{block}")
            if block == "4a":
                x = net.pool3(x)
            x = self._more(x, f"mixed{block}")
            b1, b3r, b5r = self._fit(mixed.reduce, [f"{name}.{b}" for b in _REDUCED], x).split(
                mixed.shares, 1
            )
            b3 = self._fit(mixed.b3, [f"{name}.b3"], b3r)
            b5 = self._fit(mixed.b5, [f"{name}.b5"], b5r)
            x = torch.cat((b1, b3, b5), 1)
        return net

    @torch.no_grad()
    def _compute(self) -> dict[str, Tensor]:
        """Compute every convolution of the teacher, before its ReLU, on as many pictures as needed.

        Returns:
            By name, bfloat16 [pictures, C, H, W].
        """
        found: dict[str, list[Tensor]] = {}
        fast = copy.deepcopy(self._teacher).to(torch.bfloat16, memory_format=torch.channels_last)
        for name, module in fast.named_modules():
            if isinstance(module, ConvReLU):

                def keep(_: nn.Module, __: tuple[Tensor], y: Tensor, name: str = name) -> None:
                    if sum(map(len, found.setdefault(name, []))) < self._count(name):
                        found[name].append(y.clone())

                module.conv.register_forward_hook(keep)
        for pictures in self._pictures.split(64):
            x = pictures.flip(1) * 255 - _MEAN
            read_by(fast, _BEYOND, x.to(torch.bfloat16, memory_format=torch.channels_last))
        return {name: torch.cat(parts)[: self._count(name)] for name, parts in found.items()}

    def _count(self, name: str) -> int:
        """How many pictures hold the samples for a fit of a convolution of the teacher."""
        stride = 4 if name.startswith("conv") else {"3": 8, "4": 16}[name[10]]
        return min(len(self._pictures), -(-_SAMPLES * stride**2 // self._pictures[0, 0].numel()))

    # -- which channels -------------------------------------------------------------------------

    def _choose_blocks(self) -> Tensor:
        """Choose the channels of all blocks, from the deepest up; returns what reads the first."""
        readers = torch.zeros(())
        for block in reversed(BLOCKS):
            widths: MixedWidths = getattr(WIDTHS, f"mixed{block}")
            name = f"inception_{block}"
            outputs = [self._computed[f"{name}.{b}"] for b in ("b1", "b3", "b5", "pp")]
            sizes = [o.shape[1] for o in outputs]
            covariance, mean_square = _moments(torch.cat(outputs, 1))
            own = torch.eye(len(covariance), dtype=torch.float64) / len(covariance)
            metric = own if readers.ndim == 0 else readers / readers.trace() + _OWN * own
            parts = select(covariance, metric, sizes, [widths.b1, widths.b3, widths.b5, 0])
            scale = mean_square[torch.cat(parts)].mean().sqrt()
            first = 0
            for branch, part, size in zip(("b1", "b3", "b5"), parts, sizes, strict=False):
                self.kept[f"{name}.{branch}"] = Kept(part - first, scale.expand(len(part)))
                first += size
            for reduced, reader in (("b3r", "b3"), ("b5r", "b5")):
                looks = self._looks(f"{name}.{reader}")
                count = getattr(widths, reduced)
                self.kept[f"{name}.{reduced}"] = self._choose(f"{name}.{reduced}", looks, count)
            readers = torch.stack([self._looks(f"{name}.{b}") for b in _REDUCED]).sum(0)
        return readers

    def _choose(self, name: str, looks: Tensor, count: int) -> Kept:
        covariance, mean_square = _moments(self._computed[name])
        (chosen,) = select(covariance, looks, [len(covariance)], [count])
        return Kept(chosen, mean_square[chosen].sqrt().clamp_min(1e-6))

    def _choose_first(self) -> Kept:
        """Choose by what lies behind LRN; the scale is that before it."""
        before = self._teacher.pool1(self._computed["conv1"].float().relu())
        covariance, _ = _moments(self._teacher.norm1(before))
        (chosen,) = select(covariance, self._looks("conv2r"), [64], [WIDTHS.conv1])
        return Kept(chosen, _moments(before)[1][chosen].sqrt())

    def _looks(self, name: str) -> Tensor:
        """How the kept outputs of a convolution look at its inputs: sum of w w^T, [C, C]."""
        weight = self._teacher.get_submodule(f"{name}.conv").weight.double()
        rows = weight[self.kept[name].channels].permute(0, 2, 3, 1).flatten(0, 2)
        return rows.T @ rows

    # -- which weights --------------------------------------------------------------------------

    def _copy_first(self) -> None:
        """The first convolution reads the same picture: its kept filters stay as they are."""
        kept, conv, own = self.kept["conv1"], self._teacher.conv1.conv, self.net.conv1.conv
        assert conv.bias is not None
        assert own.bias is not None
        scale = kept.scale.float()
        # 255 BGR - mean = 63.75 ((RGB - .5) * 4) + 127.5 - mean
        weight, bias = conv.weight[kept.channels].flip(1), conv.bias[kept.channels]
        bias = bias + (weight * (127.5 - _MEAN.flip(0))).sum((1, 2, 3))
        own.weight.copy_(63.75 * weight / scale[:, None, None, None])
        own.bias.copy_(bias / scale)

    def _fit_norm(self, x: Tensor) -> None:
        """Fit the weights of the normalisation to LRN's sums, which run over dropped channels too.

        Non-negative least squares, one row at a time, by coordinate descent.
        """
        kept, lrn = self.kept["conv1"].channels, self._teacher.norm1
        squares = self._teacher.pool1(self._computed["conv1"].float().relu()).square()
        near = lrn.band[kept, :, 0, 0] * lrn.scale
        target = (squares.permute(0, 2, 3, 1).flatten(0, 2) @ near.T).double()
        seen = x.square().permute(0, 2, 3, 1).flatten(0, 2).double()
        gram, cross = seen.T @ seen, seen.T @ target
        gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        gamma = torch.zeros_like(gram)
        for _ in range(_SWEEPS):
            for i in range(len(gram)):
                rest = cross[i] - gamma @ gram[i] + gamma[:, i] * gram[i, i]
                gamma[:, i] = (rest / gram[i, i]).clamp_min(0)
        self.net.norm1.gamma.copy_(gamma)

    def _fit(self, own: ConvReLU, names: Sequence[str], x: Tensor) -> Tensor:
        """Fit a convolution to the teacher's, or to several side by side; returns what it makes."""
        conv, side = own.conv, own.conv.kernel_size[0]
        gram, cross = torch.zeros(()), torch.zeros(())
        for at in torch.arange(len(x)).split(32):
            target = torch.cat([self._target(name, at) for name in names], 1)
            rows = F.unfold(x[at], side, padding=side // 2).transpose(1, 2).flatten(0, 1)
            rows = torch.cat((rows, torch.ones(len(rows), 1)), 1)
            gram = gram + (rows.T @ rows).double()
            cross = cross + (rows.T @ target.permute(0, 2, 3, 1).flatten(0, 2)).double()
        ridge = _RIDGE * gram.diagonal()[:-1].mean() * torch.eye(len(gram), dtype=torch.float64)
        ridge[-1, -1] = 0
        solution = torch.linalg.solve(gram + ridge, cross).float()
        conv.weight.copy_(solution[:-1].T.reshape(conv.weight.shape))
        assert conv.bias is not None
        conv.bias.copy_(solution[-1])
        return torch.cat([own(part) for part in x.split(32)])

    def _target(self, name: str, at: Tensor) -> Tensor:
        kept = self.kept[name]
        return (
            self._computed[name][at][:, kept.channels].float() / kept.scale[:, None, None].float()
        )

    def _more(self, x: Tensor, name: str) -> Tensor:
        """Bring what a block reads to the number of pictures that the block is fitted on."""
        count = self._count(name.replace("mixed", "inception_"))
        if len(x) == count:
            return x
        pictures = (self._pictures[:count] - 0.5) * 4
        return torch.cat([read_by(self.net, name, part) for part in pictures.split(32)])


_REDUCED = ("b1", "b3r", "b5r")


def select(
    covariance: Tensor, metric: Tensor, sizes: Sequence[int], caps: Sequence[int]
) -> list[Tensor]:
    """Choose channels, one after the other, from which the others are best predicted.

    Args:
        covariance: of the channels, float64 [C, C].
        metric: M of the error e^T M e that is to be small, [C, C].
        sizes: of the groups that the channels come in; they sum to C.
        caps: how many of each group are chosen.

    Returns:
        Per group the channels chosen, ascending, as numbers among all C.
    """
    residual = covariance.clone()
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    left = torch.tensor(caps)
    floor = 1e-9 * covariance.diagonal().mean()
    chosen = torch.zeros(len(covariance), dtype=torch.bool)
    for _ in range(sum(caps)):
        variance = residual.diagonal()
        gain = (residual * (metric @ residual)).sum(0) / variance.clamp_min(floor)
        gain[chosen | (left[group] == 0)] = -torch.inf
        best = int(gain.argmax())
        chosen[best] = True
        left[group[best]] -= 1
        column = residual[:, best].clone()
        residual -= torch.outer(column, column) / variance[best].clamp_min(floor).clone()
    return [torch.nonzero(chosen & (group == k))[:, 0] for k in range(len(sizes))]


def read_by(net: nn.Module, name: str, x: Tensor) -> Tensor:
    """Return what a child of a network reads; the children are called one after the other."""
    for child_name, child in net.named_children():
        if child_name == name:
            break
        x = child(x)
    return x


def _moments(preactivation: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance [C, C] and mean square [C] behind the ReLU, float64."""
    rows = preactivation.float().relu().permute(0, 2, 3, 1).flatten(0, 2)
    mean, square = rows.mean(0).double(), (rows.T @ rows).double() / len(rows)
    return square - torch.outer(mean, mean), square.diagonal()
