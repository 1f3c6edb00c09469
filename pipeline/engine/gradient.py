"""The gradient of a network's activations with respect to the picture.

A dream needs one thing of a network: the gradient, at the picture x, of some numbers read off its
activations. General automatic differentiation does more than that. What follows does only that; it
is the chain rule, written out once for the few operations that picture networks are made of.

**What is kept.** The network is a list of operations y = f(x). Forward, each is computed and keeps
what its adjoint needs; backward, in reverse order, each turns the gradient g = dL/dy into its
share of dL/dx, and shares that meet at a value are added. Weights are constants: nothing is kept
or computed for them. L itself is never computed either: its gradient at the activations starts the
pass (`objectives.py`); for the mean of squares that is the activation itself.

**The adjoints** (`operations.py`, `normalisations.py`, `convolutions.py`):

- Convolution, stride 1, taps w[k], padding p: y[i] = sum_k w[k] x[i + k - p]. Collecting what x[j]
  took part in, dx[j] = sum_k w[k] g[j - k + p]: again a convolution, with the taps in reverse,
  input and output channels exchanged, and padding size - 1 - p. oneDNN runs forward convolutions
  at full speed, with the weights packed once and the sum over branches done on the way out.
- Stride s: y[i] = sum_k w[k] x[s i + k - p]. Pixel j = s m + a only meets the taps k = a + p - s d,
  so each of the s phases a is a stride-1 convolution of g. For the first layer (three channels,
  where the usual kernel wastes most of its width) all phases are one convolution whose result is
  interleaved: up to three times faster. Elsewhere, the transposed convolution.
- ReLU: g where y > 0. Forward it costs nothing, being part of the convolution before it.
- Maximum pooling: g at the place of the maximum. Mean pooling, stride 1: itself.
- Concatenation: the slices. Splitting: concatenation. Addition: g twice.
- Response normalisation, y_i = x_i s_i^-b with s_i = 1 + c sum_{j near i} x_j^2 over channels:
  dy_i/dx_j = [i = j] s_i^-b - 2 b c x_i x_j s_i^(-b-1) [j near i], hence
  dx_j = g_j s_j^-b - 2 b c x_j sum_{i near j} g_i y_i / s_i.

**When it is used.** On a CPU with oneDNN and on a GPU with cuDNN and Triton (`gpu_operations.py`),
for networks made of these operations (all but mobilenet_v3_large). It calls operators that PyTorch
does not promise to keep, so it is tried against autograd when it is made, and autograd does the
work if anything is missing or disagrees; `ImageGradient.path` says which of the two it is, and
`ImageGradient.refusal` why it is autograd. Over a whole dream in bf16 on a CPU it is 1.34 to 1.93
times as fast as autograd, 1.17 to 1.43 times where the kernels in C could not be compiled; for a
VGG, little but large convolutions, 1.16 and 1.09.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn

from pipeline.engine import capabilities, cpu_kernels
from pipeline.engine.convolutions import PictureConv2d
from pipeline.engine.gpu_operations import on_gpu
from pipeline.engine.graph import ON_CPU, FlatNetwork
from pipeline.engine.kernels import kernels_for
from pipeline.engine.memory import keep_freed_memory
from pipeline.engine.networks import Network, truncate
from pipeline.engine.objectives import Match, Term, climb, seeds, vocabulary
from pipeline.engine.operations import UnsupportedError
from pipeline.errors import ConfigError

# The picture on which the two ways are compared; every layer of every network sees something in it.
_TRIAL_SIDE = 112
# The least cosine. Rounding leaves .999999, and .9999 in the deepest networks. In half precision
# the two round in different places: on a CPU, where sums and the first layer's maxima are rounded
# last, two that agree to .975 with float32's (ResNet50 with random weights) agree to .98.
_AGREEMENT = {
    "cpu": {torch.float32: 0.9999, torch.bfloat16: 0.97},
    "cuda": {torch.float32: 0.9999, torch.bfloat16: 0.9, torch.float16: 0.9},
}


class Differentiable(Protocol):
    """A network, cut after the layers that are read, and its adjoint."""

    def forward(self, picture: Tensor) -> tuple[Sequence[Tensor], Any]:
        """Compute the activations asked for, and what `backward` needs."""

    def backward(self, tape: Any, seeds: Sequence[Tensor]) -> Tensor:
        """Pull gradients at the activations back to the picture."""


class ImageGradient:
    """d objective / d image through a frozen network, cut after the deepest layer that is read.

    Args:
        network: frozen and folded, see `networks.build`.
        terms: what is climbed.
        device: where it runs.
        dtype: the precision of the network; the picture, the convolution that reads it and the
            gradient stay float32.
        guide: the picture that terms of the objective "guide" follow, float32 [1, 3, H, W].
        match: what of it: "best", the feature that fits each place best; "mean", their mean.

    Attributes:
        path: how the gradient is computed, for the record: "analytic" or "autograd", with the
            kernels that do what is not a convolution, as in "analytic+triton" or "analytic+c".
        refusal: why it is autograd; None if it is not.

    Raises:
        ConfigError: a term's node is not in the network, or its numbers exceed the precision.
        WeightsError: the network's weights end before a term's node.
    """

    def __init__(
        self,
        network: Network,
        terms: Sequence[Term],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        guide: Tensor | None = None,
        match: Match = "best",
    ) -> None:
        module = truncate(network, [term.node for term in terms]).to(device)
        module = in_precision(module, dtype).to(memory_format=torch.channels_last)
        try:
            self._network, self.path, self.refusal = _chosen(module, torch.device(device), dtype)
        except OverflowError as error:
            raise ConfigError(
                f"{network.name} cannot be dreamed with in {capabilities.name_of(dtype)}: its "
                "numbers exceed that precision; choose runtime.precision fp32"
            ) from error
        self._terms = tuple(terms)
        mean = torch.tensor(network.mean, device=device).view(1, 3, 1, 1)
        # A whole row of it, since on a CPU torch would subtract three numbers at a time.
        self._mean = cache(
            lambda width: mean.expand(1, 3, 1, width).contiguous(memory_format=torch.channels_last)
        )
        self._features: Sequence[Tensor | None] = [None] * len(self._terms)
        if guide is not None:
            with torch.no_grad():
                activations, _ = self._activations(guide.to(device, torch.float32))
            self._features = [
                vocabulary(a, match) if term.objective == "guide" else None
                for term, a in zip(self._terms, activations, strict=True)
            ]

    @torch.no_grad()
    def __call__(self, image: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the weighted terms, each sample for itself.

        Args:
            image: float32 [N, 3, H, W], RGB in [0, 1].
            weights: float32 [N, terms]; then, for every term that climbs a channel of each
                sample's own, a column with those channels.

        Returns:
            The gradient, float32 [N, 3, H, W], and the objective's value, float32 [N].
        """
        own = iter(weights[:, len(self._terms) :].unbind(1))
        weights = weights[:, : len(self._terms)]
        activations, tape = self._activations(image)
        climbs = [
            climb(term, a, features, next(own) if term.channels == "each" else None)
            for term, a, features in zip(self._terms, activations, self._features, strict=True)
        ]
        directions, factor, value = seeds(climbs, weights)
        gradient = self._network.backward(tape, directions)
        return gradient.float().mul_(factor[:, None, None, None]), value

    def _activations(self, image: Tensor) -> tuple[Sequence[Tensor], Any]:
        picture = image - self._mean(image.shape[3])
        return self._network.forward(picture.contiguous(memory_format=torch.channels_last))


class Autograd:
    """PyTorch's own differentiation, for any network on any device.

    Args:
        module: from `networks.truncate`.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module

    def forward(self, picture: Tensor) -> tuple[Sequence[Tensor], Any]:
        """Compute the activations asked for, and what `backward` needs."""
        picture = picture.detach().requires_grad_()
        with torch.enable_grad():
            activations = self._module(picture)
        return [a.detach() for a in activations], (activations, picture)

    def backward(self, tape: Any, seeds: Sequence[Tensor]) -> Tensor:
        """Pull gradients at the activations back to the picture."""
        activations, picture = tape
        # Of a number whose gradients are the seeds: to be given them, torch first imports sympy.
        with torch.enable_grad():
            number = sum((a * s).sum() for a, s in zip(activations, seeds, strict=True))
        gradient: Tensor = torch.autograd.grad(number, picture)[0]
        return gradient


def in_precision(module: fx.GraphModule, dtype: torch.dtype) -> fx.GraphModule:
    """Convert a cut network to `dtype`, all but the convolution that reads the picture."""
    picture = next(node for node in module.graph.nodes if node.op == "placeholder")
    (reader,) = picture.users
    first = module.get_submodule(reader.target)
    assert isinstance(first, nn.Conv2d)  # for mypy: pictures are convolved first, in every network
    if dtype != torch.float32:
        module.set_submodule(reader.target, nn.Identity())
        module.to(dtype).set_submodule(reader.target, PictureConv2d(first, dtype))
    return module


class _RefusedError(Exception):
    """The hand-written way cannot be taken; the message says why."""


def _chosen(
    module: fx.GraphModule, device: torch.device, dtype: torch.dtype
) -> tuple[Differentiable, str, str | None]:
    """Choose the hand-written way, if there is one here that works and agrees with autograd.

    Returns:
        The way that is taken; its name; and why it is autograd, None if it is not.

    Raises:
        OverflowError: autograd's gradient of the trial picture is not finite.
    """
    autograd = Autograd(module)
    reference = cache(lambda: _in_range(_trial(autograd, device)))
    try:
        make, path = _analytic(module, device, dtype)
        found = _trial(make(), device)
    except _RefusedError as refusal:
        told = str(refusal)
    except UnsupportedError as error:
        told = f"there is no adjoint of {error}"
    except Exception as error:  # no such operator, no compiler, ...: autograd needs none of it
        told = f"{type(error).__name__}: {error}".partition("\n")[0]
    else:
        wanted = reference()
        agreement = float(wanted @ found / (wanted.norm() * found.norm()))
        least = _AGREEMENT[device.type][dtype]
        if agreement > least:
            return make(), path, None  # anew, without weights packed for the trial's size
        told = f"its cosine to autograd's is {agreement:.4f}, below {least}"
    if dtype == torch.float16:  # whose largest number is 65504
        reference()
    return autograd, "autograd", told


def _analytic(
    module: fx.GraphModule, device: torch.device, dtype: torch.dtype
) -> tuple[Callable[[], FlatNetwork], str]:
    """Return what makes the hand-written way for a device, and its name.

    Raises:
        _RefusedError: there is none on this device in this precision.
    """
    precision = capabilities.name_of(dtype)
    if dtype not in _AGREEMENT.get(device.type, {}):
        raise _RefusedError(f"there is none in {precision} on {device.type}")
    if device.type == "cpu":
        if not capabilities.has_convolution(dtype):
            raise _RefusedError(f"oneDNN has no convolution in {precision} on this CPU")
        keep_freed_memory()
        path = f"analytic+{cpu_kernels.NAME}" if cpu_kernels.library() else "analytic"
        return partial(FlatNetwork, module, ON_CPU), path
    kernels = kernels_for(device)
    return partial(FlatNetwork, module, on_gpu(kernels)), f"analytic+{kernels.NAME}"


@torch.no_grad()
def _trial(way: Differentiable, device: torch.device) -> Tensor:
    """Compute the gradient of the mean squares of all activations at a picture of noise.

    Returns:
        float64, flat.
    """
    rng = torch.Generator().manual_seed(0)
    noise = torch.rand((1, 3, _TRIAL_SIDE, _TRIAL_SIDE), generator=rng) - 0.5
    picture = noise.to(device).contiguous(memory_format=torch.channels_last)
    # A GPU's float32 convolutions round to ten bits unless told otherwise, too few to compare by.
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        activations, tape = way.forward(picture)
        return way.backward(tape, activations).cpu().double().flatten()


def _in_range(gradient: Tensor) -> Tensor:
    """Return a gradient.

    Raises:
        OverflowError: it is not finite.
    """
    if not gradient.isfinite().all():
        raise OverflowError
    return gradient
