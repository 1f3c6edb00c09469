"""The dream of a batch of pictures: octaves, coarse to fine, of gradient ascent."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.engine import capabilities, cpu_kernels
from pipeline.engine.active import ActiveGradient
from pipeline.engine.ascent import (
    CASCADE_GROWTH,
    PLAIN,
    Normalisation,
    Smoothing,
    StepSettings,
    ascend,
    normalise,
)
from pipeline.engine.footing import Footing
from pipeline.engine.fused_steps import FusedFooting
from pipeline.engine.gpu_steps import GpuFooting
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.kernels import kernels_for
from pipeline.engine.networks import Network
from pipeline.engine.objectives import Match, Term
from pipeline.engine.octaves import usable_octaves
from pipeline.engine.pyramid import Merge, merge, pyramid, resize
from pipeline.engine.tiles import Split, TiledGradient


class Dream(NamedTuple):
    """What a batch of seeds became.

    Attributes:
        pictures: float32 [N, 3, H, W] in [0, 1].
        strength: the objective at the last step of the finest octave, float32 [N].
    """

    pictures: Tensor
    strength: Tensor


class Dreamer:
    """Octaves of gradient ascent through a frozen network (Mordvintsev et al. 2015).

    Args:
        network: frozen and folded, see `networks.build`; it is left as it is.
        terms: what is climbed; a sample's weights come with its `StepSettings`.
        octaves: levels of the pyramid.
        ratio: size of a level over the next coarser one, > 1.
        merge: how an octave's dream enters the next: detail, replace or blend.
        blend: share of the seed, for `merge="blend"`.
        smoothing: of the gradient: none, gaussian, cascade, laplacian or decorrelate.
        growth: of the cascade's sigma over an octave's iterations, pixels.
        octave_blur: sigma of a Gaussian before every reduction of the seed, pixels; the sizes are
            then made from one another rather than each from the full one.
        blur_every: blur the picture after every so many steps of an octave; 0 for never.
        normalisation: of the gradient: mean_abs, std or none.
        normalise_tiles: normalise every tile's gradient for itself as well.
        smallest: shortest side the network can see anything in; smaller octaves are left out.
        guide: what terms of the objective "guide" follow, float32 [1, 3, H, W] in [0, 1].
        match: see `ImageGradient`.
        split: tiles and chunks; see `tiles.Split`.
        device: where to dream.
        dtype: precision of the network; the picture stays float32.

    Attributes:
        device: where it dreams.
        path: how the gradient is computed, see `ImageGradient`.
        refusal: why it is autograd, see there.
    """

    def __init__(
        self,
        network: Network,
        terms: Sequence[Term],
        *,
        octaves: int = 3,
        ratio: float = 1.4,
        merge: Merge = "detail",
        blend: float = 0.5,
        octave_blur: float = 0.0,
        smoothing: Smoothing = "cascade",
        growth: float = CASCADE_GROWTH,
        blur_every: int = 0,
        normalisation: Normalisation = "mean_abs",
        normalise_tiles: bool = False,
        smallest: int = 1,
        guide: Tensor | None = None,
        match: Match = "best",
        split: Split | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = where = torch.device(device)  # the gradient is not to refer to this dreamer
        gradient = ActiveGradient(
            lambda chosen: ImageGradient(
                network,
                [terms[k] for k in chosen],
                device=where,
                dtype=dtype,
                guide=guide,
                match=match,
            ),
            len(terms),
            each=[k for k, term in enumerate(terms) if term.channels == "each"],
        )
        self.path, self.refusal = gradient.path, gradient.refusal
        self._cost = capabilities.cost(dtype, where.type)
        self._gradient = TiledGradient(
            gradient,
            split=split,
            normalise_tile=partial(normalise, kind=normalisation) if normalise_tiles else None,
        )
        self._footing: Footing = PLAIN
        if self.device.type == "cuda":
            kernels = kernels_for(self.device)
            self._footing = GpuFooting(kernels, whole=self._gradient.is_whole)
        elif self.device.type == "cpu" and cpu_kernels.library():
            self._footing = FusedFooting(cpu_kernels)
        self._octaves = octaves
        self._ratio = ratio
        self._merge: Merge = merge
        self._blend = blend
        self._smoothing: Smoothing = smoothing
        self._normalisation: Normalisation = normalisation
        self._octave_blur = octave_blur
        self._growth = growth
        self._blur_every = blur_every
        self._mean = network.mean
        self._smallest = smallest

    @property
    def split(self) -> Split:
        """Tiles and chunks as they are now: smaller than asked for if memory ran out."""
        return self._gradient.split

    @property
    def slow_because(self) -> str | None:
        """Why this precision costs time, or a GPU's steps are launched one by one; None if not."""
        if isinstance(self._footing, GpuFooting) and self._footing.refusal:
            because = self._footing.refusal
            return f"steps are launched kernel by kernel, not as CUDA graphs: {because}"
        return self._cost

    @torch.no_grad()
    def __call__(
        self,
        seeds: Tensor,
        *,
        iterations: int,
        keys: Sequence[int],
        settings: Sequence[StepSettings],
        reach: Tensor | None = None,
    ) -> Dream:
        """Dream a batch.

        Every octave starts from the seed at its size plus what the coarser octaves added. (The seed
        may itself be a source plus carried detail: resizing is linear, so they need not be told
        apart.)

        Args:
            seeds: float32 [N, 3, H, W] in [0, 1].
            iterations: steps per octave; 0 gives the seeds back.
            keys: one per sample: decides its random shifts, with the octave and the iteration.
            settings: one per sample.
            reach: share of every step that each pixel takes, float32 [N, 1, H, W] in [0, 1]: a
                dream grows within it; None for all of it.

        Returns:
            Pictures and strength.

        Raises:
            ValueError: batch sizes that differ, or a picture too small for the network.
            MemoryError: not even one small tile fits.
        """
        if not len(seeds) == len(keys) == len(settings):
            raise ValueError(f"got {len(seeds)} seeds, {len(keys)} keys, {len(settings)} settings")
        seeds = seeds.to(self.device, torch.float32, memory_format=torch.channels_last)
        strength = torch.zeros(len(seeds), device=self.device)
        if iterations == 0:
            return Dream(seeds.clamp(0, 1), strength)
        size = (seeds.shape[3], seeds.shape[2])
        sizes = usable_octaves(size, self._octaves, self._ratio, self._smallest)
        if not sizes:
            raise ValueError(f"a picture of {size} is below the network's {self._smallest} pixels")
        started: Tensor | None = None
        dreamed: Tensor | None = None
        for octave, seed in enumerate(pyramid(seeds, sizes, blurred=self._octave_blur)):
            started = merge(seed, started, dreamed, how=self._merge, blend=self._blend)
            started = started.clamp(0, 1)
            dreamed, strength = ascend(
                started,
                self._gradient,
                keys=keys,
                octave=octave,
                iterations=iterations,
                settings=settings,
                smoothing=self._smoothing,
                growth=self._growth,
                normalisation=self._normalisation,
                blur_every=self._blur_every,
                mean=self._mean,
                footing=self._footing,
                reach=None if reach is None else resize(reach, sizes[octave]).clamp(0, 1),
            )
        assert dreamed is not None
        return Dream(dreamed, strength)
