"""DreamNet and its teacher as training sees them: activations, dream directions, and losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.engine.blocks import ConvReLU, DivisiveNorm, root
from pipeline.engine.dreamnet import DreamNet
from pipeline.engine.networks import build, truncate

# The student's layers and the teacher's that they learn, shallow to deep.
LAYERS = {
    "conv2": "conv2",
    "mixed3a": "inception_3a",
    "mixed3b": "inception_3b",
    "mixed4a": "inception_4a",
    "mixed4b": "inception_4b",
    "mixed4c": "inception_4c",
}
NAMES = tuple(LAYERS)
ACTIVATION_WEIGHTS = (0.3, 0.5, 1.0, 1.0, 1.0, 2.0)


class Teacher:
    """BVLC GoogLeNet, frozen.

    Args:
        state: its weights.
        device: where it runs.
        dtype: its precision; bf16 keeps 99 % of the gradient's direction.
    """

    def __init__(
        self, state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        network = build("bvlc_googlenet", state)
        nodes = list(LAYERS.values())
        self._cuts = [
            truncate(network, nodes[: i + 1]).to(device, dtype, memory_format=torch.channels_last)
            for i in range(len(nodes))
        ]
        self._mean = torch.tensor(network.mean, device=device)[:, None, None]
        self._dtype = dtype

    def __call__(self, pictures: Tensor, deepest: int) -> tuple[list[Tensor], Tensor]:
        """Compute activations and the dream direction.

        Args:
            pictures: float32 [N, 3, H, W] in [0, 1].
            deepest: index into `LAYERS`.

        Returns:
            The activations of the layers up to the deepest, and the gradient of the deepest one's
            half sum of squares with respect to the pictures, float32.
        """
        x = (pictures - self._mean).to(self._dtype, memory_format=torch.channels_last)
        x.requires_grad_()
        with torch.enable_grad():
            activations = self._cuts[deepest](x)
        (gradient,) = torch.autograd.grad(activations[-1], x, activations[-1].detach())
        return [a.detach() for a in activations], gradient.float()


class _InputGradient(torch.autograd.Function):
    """A convolution's gradient with respect to its input, itself differentiable."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(gy, weight)
        ctx.stride = stride
        return _gradients(gy, x, weight, stride, (True, False))[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        gy, weight = ctx.saved_tensors
        ggx = grads[0].contiguous(memory_format=torch.channels_last)
        padding = weight.shape[2] // 2
        dgy = F.conv2d(ggx, weight.to(ggx.dtype), None, ctx.stride, padding)
        dw = _gradients(gy, ggx, weight, ctx.stride, (False, True))[1]
        return dgy, None, dw.to(weight.dtype), None


class _Convolution(torch.autograd.Function):
    """F.conv2d, padded to keep the size, whose second derivative is two ordinary convolutions.

    torch's own second derivative is a convolution with a kernel as large as the picture.
    """

    weights_too = True  # False while only the picture's gradient is wanted

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        w, b = weight.to(x.dtype), bias.to(x.dtype)
        return F.conv2d(x, w, b, stride, weight.shape[2] // 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        gy = grads[0].contiguous(memory_format=torch.channels_last)
        if not _Convolution.weights_too:
            return _InputGradient.apply(gy, x, weight, ctx.stride), None, None, None
        # Nobody asks a loss for its gradient with respect to the pictures.
        gx = None if x.shape[1] == 3 else _InputGradient.apply(gy, x, weight, ctx.stride)
        with torch.no_grad():
            gw = _gradients(gy, x, weight, ctx.stride, (False, True))[1].to(weight.dtype)
            gb = gy.float().sum((0, 2, 3))
        return gx, gw, gb, None


def _gradients(
    gy: Tensor, x: Tensor, weight: Tensor, stride: int, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    padding = weight.shape[2] // 2
    gx, gw, _ = torch.ops.aten.convolution_backward(
        gy,
        x,
        weight.to(gy.dtype),
        None,
        [stride, stride],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        1,
        [*wanted, False],
    )
    return gx, gw


class TwiceDifferentiable(nn.Conv2d):
    """nn.Conv2d with the same parameters under the same names, through `_Convolution`."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        y: Tensor = _Convolution.apply(input, self.weight, self.bias, self.stride[0])
        return y


class TwiceDifferentiableNorm(DivisiveNorm):
    """DivisiveNorm with the same parameter under the same name, through `_Convolution`."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        one = torch.ones_like(self.gamma[0])
        total = _Convolution.apply(x * x, self.gamma[:, :, None, None], one, 1)
        return x / root(total, self.beta)


def trainable(net: DreamNet) -> DreamNet:
    """Make the network efficient to differentiate twice; changed in place."""
    net.norm1.__class__ = TwiceDifferentiableNorm
    for block in [m for m in net.modules() if isinstance(m, ConvReLU)]:
        block.conv.__class__ = TwiceDifferentiable
    return net


def activations(net: DreamNet, x: Tensor, deepest: int) -> list[Tensor]:
    """Compute the activations of the layers up to index `deepest` of `LAYERS`.

    Args:
        net: the student.
        x: (pictures - .5) * 4, [N, 3, H, W].
        deepest: index into `LAYERS`.
    """
    found = []
    for name, child in net.named_children():
        x = child(x)
        if name in LAYERS:
            found.append(x)
        if name == NAMES[deepest]:
            break
    return found


def student_view(
    net: DreamNet, pictures: Tensor, deepest: int, dtype: torch.dtype
) -> tuple[list[Tensor], Tensor]:
    """Compute what `Teacher` computes, differentiable with respect to the student's weights."""
    x = ((pictures - 0.5) * 4).to(dtype, memory_format=torch.channels_last).requires_grad_()
    found = activations(net, x, deepest)
    _Convolution.weights_too = False
    (gradient,) = torch.autograd.grad(found[-1], x, found[-1], create_graph=True)
    _Convolution.weights_too = True
    return found, gradient.float()


@torch.no_grad()
def fit_adapters(
    seen: Iterable[tuple[list[Tensor], list[Tensor]]], *, ridge: float = 1e-3
) -> tuple[list[nn.Conv2d], list[Tensor]]:
    """Solve for the 1x1 convolutions from student's to teacher's activations.

    Args:
        seen: per batch the student's and the teacher's activations at all `LAYERS`.
        ridge: regularisation, relative to the mean variance.

    Returns:
        The adapters, and per layer the scale [C] that the teacher's channels are measured by: their
        standard deviation plus .05 of the layer's.
    """
    sums: list[list[Tensor]] = [[] for _ in NAMES]
    for students, teachers in seen:
        for k, (s, t) in enumerate(zip(students, teachers, strict=True)):
            x = F.pad(s.float().permute(0, 2, 3, 1).flatten(0, 2), (0, 1), value=1.0).double()
            y = t.float().permute(0, 2, 3, 1).flatten(0, 2).double()
            new = [x.T @ x, x.T @ y, y.sum(0), y.square().sum(0), torch.tensor(float(len(y)))]
            sums[k] = [a + b for a, b in zip(sums[k], new, strict=True)] if sums[k] else new
    adapters, scales = [], []
    for xx, xy, total, squares, n in sums:
        xx.diagonal().add_(ridge * xx.diagonal().mean())
        solution = torch.linalg.solve(xx, xy).float()
        conv = nn.Conv2d(solution.shape[0] - 1, solution.shape[1], 1, device=solution.device)
        conv.weight.copy_(solution[:-1].T[:, :, None, None])
        assert conv.bias is not None
        conv.bias.copy_(solution[-1])
        adapters.append(conv)
        variance = (squares / n - (total / n).square()).clamp_min(0).float()
        scales.append(variance.sqrt() + 0.05 * variance.mean().sqrt())
    return adapters, scales


def smooth(gradient: Tensor, sigma: float) -> Tensor:
    """Smooth as a dream does (`cascade`): the mean of three Gaussians, 9 x 9, reflected border."""
    x = torch.arange(-4, 5, device=gradient.device, dtype=torch.float32)
    lines = [torch.exp(-0.5 * (x / (sigma * f)) ** 2) for f in (0.5, 1.0, 2.0)]
    kernel = sum(torch.outer(g, g) / g.sum() ** 2 for g in lines) / 3
    padded = F.pad(gradient, (4, 4, 4, 4), mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, 9, 9), groups=3)


def direction_loss(student: Tensor, teacher: Tensor, *, coarse: float) -> tuple[Tensor, Tensor]:
    """1 - cosine per picture, of the directions as they are and at a quarter of the size.

    Returns:
        The loss and the cosine at full size, both means over the batch.
    """
    fine = F.cosine_similarity(student.flatten(1), teacher.flatten(1)).mean()
    small = [F.avg_pool2d(g, 4).flatten(1) for g in (student, teacher)]
    return (1 - fine) + coarse * (1 - F.cosine_similarity(*small).mean()), fine


def activation_loss(
    adapted: list[Tensor], teacher: list[Tensor], scales: list[Tensor]
) -> tuple[Tensor, list[float]]:
    """Squared error per layer in units of the teacher's deviation on photos.

    Dreams excite the teacher far beyond photos, so a batch counts at most as much as one of photos.
    """
    total, errors = torch.zeros((), device=teacher[0].device), []
    for s, t, scale, weight in zip(adapted, teacher, scales, ACTIVATION_WEIGHTS, strict=False):
        unit = scale[:, None, None]
        t = t.float() / unit
        error = (s.float() / unit - t).square().mean() / t.var(1).mean().detach().clamp_min(1.0)
        total = total + weight * error
        errors.append(error.item())
    return total, errors
