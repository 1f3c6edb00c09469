"""The gradient of pictures too large, or batches too many, for the memory at hand.

Tiles of one picture are equal in size and start at multiples of `ALIGN`, so that every one of
them lies on the network's own grid: away from the seams, farther than the layer sees, a tiled
gradient is the whole picture's gradient. Tiles overlap and fade into each other, because a network
sees worst where its padding begins. The random shift of every step moves the seams, so that none
survives in a dream.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.engine.ascent import GradientFunction

ALIGN = 32  # the deepest stride of the networks here
OVERLAP = 64  # pixels: cosine to the untiled gradient .89 -> .94 at GoogLeNet's 4c, tiles of 352
SMALLEST_TILE = 192
# A CPU never says that memory is short, it swaps: about 1.5 GB of activations at a time.
_CPU_PIXELS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Split:
    """How the work is divided; part of what a render records.

    Attributes:
        tile: largest side of a tile, pixels; None for whole pictures.
        chunk: how many tiles (or pictures) go through the network at once; None for all.
    """

    tile: int | None = None
    chunk: int | None = None


class TiledGradient:
    """A gradient function that works in tiles and chunks, and in smaller ones if memory runs out.

    Args:
        gradient: (pictures, weights) -> (gradient, value), per sample.
        split: to start with.
        normalise_tile: applied to every tile's gradient before it is put in place, if given.

    Attributes:
        split: as it is now; halved when memory ran out, never enlarged again.
    """

    def __init__(
        self,
        gradient: GradientFunction,
        *,
        split: Split | None = None,
        normalise_tile: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._gradient = gradient
        self._normalise_tile = normalise_tile
        self.split = split or Split()

    def __call__(self, picture: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Compute gradient and value, see `ImageGradient.__call__`.

        Raises:
            MemoryError: one tile of the smallest size is still too large.
        """
        while True:
            try:
                return self._compute(picture, weights)
            except RuntimeError as error:
                if not _is_shortage(error):
                    raise
                self.split = _halved(self.split, picture.shape, error)
            (torch.mps if picture.device.type == "mps" else torch.cuda).empty_cache()

    def is_whole(self, shape: torch.Size) -> bool:
        """Whether pictures of such a shape, [N, 3, H, W], go through the network at once."""
        count, _, height, width = shape
        tiled = self.split.tile is not None and max(height, width) > self.split.tile
        return not tiled and (self.split.chunk or count) >= count

    def _compute(self, picture: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        count, _, height, width = picture.shape
        rows = tile_starts(height, self.split.tile)
        columns = tile_starts(width, self.split.tile)
        if len(rows.starts) == len(columns.starts) == 1:
            gradient, value = self._in_chunks(picture, weights)
            if self._normalise_tile:
                gradient = self._normalise_tile(gradient)
            return gradient, value
        places = [(y, x) for y in rows.starts for x in columns.starts]
        tiles = torch.cat(
            [picture[:, :, y : y + rows.length, x : x + columns.length] for y, x in places]
        )
        gradients, values = self._in_chunks(tiles, weights.repeat(len(places), 1))
        if self._normalise_tile:
            gradients = self._normalise_tile(gradients)
        total = torch.zeros_like(picture)
        cover = picture.new_zeros(1, 1, height, width)
        for (y, x), gradient in zip(places, torch.split(gradients, count), strict=True):
            fade = torch.outer(rows.fade(y, height), columns.fade(x, width)).to(picture.device)
            window = (slice(y, y + rows.length), slice(x, x + columns.length))
            total[:, :, *window] += gradient * fade
            cover[:, :, *window] += fade
        # A mean over a tile weighs a pixel more than the same mean over the whole picture.
        share = rows.length * columns.length / (height * width)
        return total / cover * share, values.view(len(places), count).mean(0)

    def _in_chunks(self, pictures: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        chunk = self.split.chunk or len(pictures)
        if pictures.device.type == "cpu":
            area = pictures.shape[2] * pictures.shape[3]
            chunk = min(chunk, max(1, _CPU_PIXELS_AT_ONCE // area))
        if chunk >= len(pictures):
            return self._gradient(pictures, weights)
        parts = [
            self._gradient(p, w)
            for p, w in zip(torch.split(pictures, chunk), torch.split(weights, chunk), strict=True)
        ]
        return torch.cat([g for g, _ in parts]), torch.cat([v for _, v in parts])


@dataclass(frozen=True)
class Starts:
    """Where tiles begin along one side, and how long each is, pixels."""

    starts: tuple[int, ...]
    length: int

    def fade(self, start: int, side: int) -> Tensor:
        """How much a tile counts along its length: less and less towards a neighbour, float32."""
        at = torch.arange(self.length) + 0.5
        left = at if start > 0 else torch.full_like(at, OVERLAP)
        right = self.length - at if start + self.length < side else torch.full_like(at, OVERLAP)
        return torch.minimum(left, right).clamp_max(OVERLAP) / OVERLAP


def tile_starts(side: int, tile: int | None) -> Starts:
    """Cover a side with equal tiles that lie on the network's grid and overlap.

    Args:
        side: pixels.
        tile: largest length of a tile, pixels, at least SMALLEST_TILE; None: one tile.

    Returns:
        Starts, multiples of ALIGN; neighbours share OVERLAP pixels or more.

    Raises:
        ValueError: the tile is too small.
    """
    if tile is None or side <= tile:
        return Starts((0,), side)
    if tile < SMALLEST_TILE:
        raise ValueError(f"a tile is at least {SMALLEST_TILE} pixels; got {tile}")
    # In units of ALIGN; what is left over belongs to every tile, so that the last one ends well.
    whole, rest = divmod(side, ALIGN)
    overlap = OVERLAP // ALIGN
    count, length = 1, whole
    while length * ALIGN + rest > tile:
        count += 1
        length = math.ceil((whole + (count - 1) * overlap) / count)
    starts = tuple(i * (whole - length) // (count - 1) * ALIGN for i in range(count))
    return Starts(starts, length * ALIGN + rest)


def _is_shortage(error: RuntimeError) -> bool:
    """Whether memory ran out, which Apple's GPU says in words only."""
    short = "MPS backend out of memory", "Invalid buffer size"
    return isinstance(error, torch.OutOfMemoryError) or str(error).startswith(short)


def _halved(split: Split, shape: torch.Size, error: Exception) -> Split:
    """Halve what goes through the network at once: first how many, then how large."""
    count, _, height, width = shape
    rows, columns = tile_starts(height, split.tile), tile_starts(width, split.tile)
    tiles = count * len(rows.starts) * len(columns.starts)
    at_once = min(split.chunk or tiles, tiles)
    if at_once > 1:
        return replace(split, chunk=at_once // 2)
    largest = max(rows.length, columns.length)
    if largest // 2 < SMALLEST_TILE:
        raise MemoryError(
            f"out of memory with one tile of {columns.length}x{rows.length} pixels; free some, "
            "or use a shallower layer, a smaller network, precision: bf16 or device: cpu"
        ) from error
    return Split(tile=largest // 2, chunk=1)
