"""The gradient of those terms that count just now: what has no weight is not computed."""

from collections.abc import Callable, Sequence
from functools import cache

from torch import Tensor

from pipeline.engine.gradient import ImageGradient


class ActiveGradient:
    """An `ImageGradient` for every set of terms that some sample weighs, made when it is needed.

    A dream may travel from layer to layer: while the deepest has no weight, the network ends
    earlier. What comes out is the same, since a term without weight adds nothing.

    Args:
        make: builds the gradient of some of the terms, given by their indices.
        count: how many terms there are.
        each: indices of the terms that climb a channel of each sample's own.

    Attributes:
        path: of the gradient of all terms, see `ImageGradient`.
        refusal: likewise.
    """

    def __init__(
        self,
        make: Callable[[tuple[int, ...]], ImageGradient],
        count: int,
        each: Sequence[int] = (),
    ) -> None:
        self._all = tuple(range(count))
        self._channel_column = {term: count + k for k, term in enumerate(each)}
        self._made = cache(make)
        whole = self._made(self._all)
        self.path, self.refusal = whole.path, whole.refusal

    def __call__(self, image: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate, see `ImageGradient.__call__`."""
        if len(self._all) == 1 or weights.is_cuda:  # to look at a GPU's weights is to wait for it
            return self._made(self._all)(image, weights)
        weighed = weights[:, : len(self._all)].any(dim=0)
        counting = tuple(weighed.nonzero().flatten().tolist()) or self._all[:1]
        channels = (self._channel_column[k] for k in counting if k in self._channel_column)
        return self._made(counting)(image, weights[:, [*counting, *channels]])
