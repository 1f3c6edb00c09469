"""Steps by fused kernels: those of a GPU, and those that were compiled for a CPU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.engine.ascent import CASCADE_RADIUS, normalise, radius_within, smooth
from pipeline.engine.footing import Knobs, Step
from pipeline.engine.kernels import StepKernels


class FusedFooting:
    """The parts of a step by one module of kernels, see `footing.Footing`.

    Args:
        kernels: `triton_kernels`, `cpu_kernels`, or `torch_kernels` in their place.
    """

    def __init__(self, kernels: StepKernels) -> None:
        self._kernels = kernels

    def shift(self, picture: Tensor, knobs: Knobs) -> Tensor:
        """Shift every sample circularly by its own offset."""
        assert knobs.shifts is not None  # for mypy: `walk` brought them here
        return self._kernels.shift(picture, knobs.shifts)

    def climb(self, shifted: Tensor, slope: Tensor, knobs: Knobs) -> Tensor:
        """Smooth, normalise, update, clamp, unshift."""
        assert knobs.shifts is not None  # for mypy
        assert knobs.widths is not None
        radius = radius_within(slope, CASCADE_RADIUS)
        if knobs.smoothing == "cascade" and radius > 0:
            direction, size = self._kernels.cascade(slope, knobs.widths, radius)
            if knobs.normalisation == "mean_abs":
                return self._kernels.climb(shifted, direction, knobs.steps, size, knobs.shifts)
        else:
            direction = smooth(slope, knobs.smoothing, knobs.sigmas)
        direction, size = normalise(direction, knobs.normalisation), torch.ones_like(knobs.steps)
        return self._kernels.climb(shifted, direction, knobs.steps, size[:, None], knobs.shifts)

    def walk(self, step: Step, picture: Tensor, way: Sequence[Knobs]) -> tuple[Tensor, Tensor]:
        """Take one step after the other."""
        for knobs in brought(way, picture.device):
            picture, value = step(picture, knobs)
        return picture, value


def brought(way: Sequence[Knobs], device: torch.device) -> list[Knobs]:
    """Bring the numbers of all steps to a device at once, without waiting for it."""

    def there(numbers: Tensor) -> Tensor:
        numbers = numbers.pin_memory() if device.type == "cuda" else numbers
        return numbers.to(device, non_blocking=True)

    shifts = there(torch.tensor([knobs.offsets for knobs in way])).unbind(0)
    widths = there(torch.tensor([knobs.sigmas for knobs in way])).unbind(0)
    dials, mean = there(way[0].dials), there(way[0].mean)
    return [
        knobs._replace(dials=dials, mean=mean, shifts=shifts[k], widths=widths[k])
        for k, knobs in enumerate(way)
    ]
