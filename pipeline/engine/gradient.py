"""The gradient of a network's activations with respect to the picture."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.engine.networks import Network, truncate
from pipeline.engine.objectives import Term, climb, seeds


class ImageGradient:
    """d objective / d image through a frozen network, cut after the deepest layer that is read.

    Args:
        network: frozen, folded (see `networks.build`), on the device it is to run on.
        terms: what is climbed.
        dtype: the precision of the network; the picture and its gradient stay float32.

    Attributes:
        path: how the gradient is computed, for the record: "autograd".
    """

    path = "autograd"

    def __init__(
        self, network: Network, terms: Sequence[Term], *, dtype: torch.dtype = torch.float32
    ) -> None:
        nodes = list(dict.fromkeys(term.node for term in terms))
        self._layers = truncate(network, nodes).to(dtype).to(memory_format=torch.channels_last)
        self._index = [nodes.index(term.node) for term in terms]
        self._terms = tuple(terms)
        self._dtype = dtype
        self._mean = torch.tensor(network.mean).view(1, 3, 1, 1)

    def __call__(self, image: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the weighted terms, each sample for itself.

        Args:
            image: float32 [N, 3, H, W], RGB in [0, 1].
            weights: float32 [N, terms].

        Returns:
            The gradient, float32 [N, 3, H, W], and the objective's value, float32 [N].
        """
        centred = image - self._mean.to(image.device)
        centred = centred.to(self._dtype, memory_format=torch.channels_last).requires_grad_()
        with torch.enable_grad():
            activations = self._layers(centred)
        with torch.no_grad():
            climbs = [
                climb(term, activations[k])
                for term, k in zip(self._terms, self._index, strict=True)
            ]
            directions, factor, value = seeds(climbs, weights)
        outputs = [activations[k] for k in self._index]
        (gradient,) = torch.autograd.grad(outputs, centred, directions)
        return gradient.float() * factor[:, None, None, None], value
