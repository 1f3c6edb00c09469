"""What a step of gradient ascent rests on: the parts of it that a device does in its own way.

`ascent.py` says what a step is. Whatever torch knows takes it as written (`ascent.Plain`); a CPU,
where kernels were compiled for it, by these (`fused_steps.FusedFooting`); a GPU has kernels of its
own and records its steps (`gpu_steps.GpuFooting`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from pipeline.engine.ascent import Normalisation, Smoothing


class Knobs(NamedTuple):
    """What one step of a batch goes by. Lists have one entry per sample.

    Attributes:
        kind: steps of one kind differ in the numbers of their tensors only, so that one of them
            can be recorded and stand for all; None for a step that is like no other.
        smoothing: of the gradient.
        normalisation: of the gradient.
        offsets: of the shift, (down, right).
        sigmas: of the smoothing, pixels.
        turns: see `transforms`.
        blurs: sigma of the blur that ends the step, pixels; None for no blur.
        dials: float32 [3 + terms, N]: step, decay, variation and the weights; then the channels of
            terms that climb another one in every sample.
        mean: float32 [1, 3, 1, 1], the picture that decay pulls towards.
        reach: float32 [N, 1, H, W], share of the step that a pixel takes; None for all of it.
        shifts: int64 [N, 2], the offsets where a device wants them as a tensor.
        widths: float32 [N], the sigmas, likewise.
    """

    kind: Hashable
    smoothing: Smoothing
    normalisation: Normalisation
    offsets: Sequence[tuple[int, int]]
    sigmas: Sequence[float]
    turns: Sequence[complex]
    blurs: Sequence[float] | None
    dials: Tensor
    mean: Tensor
    reach: Tensor | None
    shifts: Tensor | None = None
    widths: Tensor | None = None

    @property
    def steps(self) -> Tensor:
        """How far to go along a direction of size 1, [N]."""
        return self.dials[0]

    @property
    def weights(self) -> Tensor:
        """Of the objective's terms, [N, terms], and what follows them, see `ImageGradient`."""
        return self.dials[3:].T

    def tensors(self) -> dict[str, Tensor]:
        """Those of the attributes that lie on a device."""
        return {k: value for k, value in self._asdict().items() if isinstance(value, Tensor)}


Step = Callable[[Tensor, Knobs], tuple[Tensor, Tensor]]


class Footing(Protocol):
    """How a device takes steps."""

    def shift(self, picture: Tensor, knobs: Knobs) -> Tensor:
        """Shift every sample circularly by its own offset."""

    def climb(self, shifted: Tensor, slope: Tensor, knobs: Knobs) -> Tensor:
        """Smooth, normalise, update, clamp, unshift."""

    def walk(self, step: Step, picture: Tensor, way: Sequence[Knobs]) -> tuple[Tensor, Tensor]:
        """Take one step after the other.

        Args:
            step: (picture, knobs) -> (picture, value).
            picture: where to begin.
            way: the knobs of each step, on the CPU.

        Returns:
            The last picture, and the value at the last step.
        """
