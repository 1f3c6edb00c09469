"""A network's first convolution on a CPU, with its ReLU and pooling, by compiled kernels.

`cpu_stem.c` says what they do better. Without them, and where the first layer is one that they
cannot do, it is done as every other convolution.
"""

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.engine import cpu_kernels
from pipeline.engine.convolutions import Kernel, Pair, PictureConv2d, pair
from pipeline.engine.cpu_kernels import MOST_CHANNELS, address, lying, pooling
from pipeline.engine.torch_kernels import NOWHERE, Window

_COLOURS = 3
_WIDEST_STRIDE = 2


class _Shapes(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("n", "height", "width", "rows", "columns", "channels")),
        *((name, ctypes.c_int * 2) for name in ("size", "stride", "padding")),
    ]


def fits(layer: nn.Conv2d) -> bool:
    """Whether there are kernels here for a convolution (without groups or dilation)."""
    library = cpu_kernels.library()
    return (
        library is not None
        and layer.in_channels == _COLOURS
        and layer.out_channels % library.stem_width() == 0
        and layer.out_channels <= MOST_CHANNELS
        and pair(layer.stride)[1] <= _WIDEST_STRIDE
        and pair(layer.kernel_size)[0] < NOWHERE
    )


class Stem:
    """A convolution of a picture, the ReLU behind it, and the pooling behind that if there is one.

    Args:
        layer: one that `fits`.
        padding: of the layer.
        stride: of the layer.
        window: of the pooling.
    """

    def __init__(
        self, layer: nn.Conv2d, padding: Pair, stride: Pair, window: Window | None
    ) -> None:
        library = cpu_kernels.loaded()
        self._size, self._padding, self._stride = pair(layer.kernel_size), padding, stride
        self._window, self._channels = window, layer.out_channels
        self._result = layer.result if isinstance(layer, PictureConv2d) else layer.weight.dtype
        self._half = self._result == torch.bfloat16
        weight, zeros = layer.weight.detach(), layer.weight.new_zeros(layer.out_channels)
        self._bias = zeros if layer.bias is None else layer.bias.detach().contiguous()
        self._weights = weight.permute(2, 3, 1, 0).contiguous()  # down, along, colour, channel
        # With nothing to round or to pool, oneDNN writes each value once as well, and is faster.
        alone = not self._half and not window
        self._alone = Kernel(weight, self._bias, padding, stride) if alone else None
        taps = weight.to(self._result).permute(0, 2, 3, 1).flatten(1)
        taps = F.pad(taps, (0, -taps.shape[1] % library.stem_width()))
        self._taps = taps.shape[1]
        self._pairs = self._half and bool(library.stem_pairs())
        if self._pairs:
            self._adjoint = taps.view(-1, 2, self._taps).transpose(1, 2).contiguous()
        else:
            self._adjoint = taps.float().contiguous()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Convolve, cut off below zero, pool.

        Args:
            x: float32 [N, 3, H, W].

        Returns:
            The result in the network's precision, channels_last; and, if it pools, the places of
            the maxima, see `cpu_kernels.max_pool`.
        """
        if self._alone:
            return self._alone(x, relu=True), None
        x = lying(x)
        shapes, shape = self._shapes(x.shape)
        size, places, pool = shape, None, None
        if self._window:
            size = torch.Size((*shape[:2], *self._window.pooled(*shape[2:])))
            places = torch.empty(size, dtype=torch.uint8, memory_format=torch.channels_last)
            pool = pooling(shape, self._window)
        y = torch.empty(size, dtype=self._result, memory_format=torch.channels_last)
        failed = cpu_kernels.loaded().stem(
            *map(address, (x, self._weights, self._bias, y, places)),
            ctypes.byref(shapes),
            pool,
            int(self._half),
        )
        if failed:
            raise MemoryError("no memory for some rows of an activation")
        return y, places

    def backward(self, g: Tensor, y: Tensor, places: Tensor | None, shape: torch.Size) -> Tensor:
        """Pull a gradient at the result back to the picture.

        Args:
            g: in the network's precision.
            y: from `forward`.
            places: from `forward`.
            shape: of the picture, [N, 3, H, W].

        Returns:
            float32 [N, 3, H, W], channels_last.
        """
        g, y = lying(g), lying(y)
        to = torch.empty(shape, memory_format=torch.channels_last)
        shapes, whole = self._shapes(shape)
        failed = cpu_kernels.loaded().stem_backward(
            *map(address, (g, y, places, self._adjoint, to)),
            ctypes.byref(shapes),
            pooling(whole, self._window) if self._window else None,
            self._taps,
            int(self._half),
            int(self._pairs),
        )
        if failed:
            raise MemoryError("no memory for some rows of a gradient")
        return to

    def _shapes(self, shape: torch.Size) -> tuple[_Shapes, torch.Size]:
        """Describe the convolution of a picture, for the kernels and as its result's shape."""
        n, _, height, width = shape
        rows, columns = (
            (side + 2 * self._padding[k] - self._size[k]) // self._stride[k] + 1
            for k, side in enumerate((height, width))
        )
        axes = self._size, self._stride, self._padding
        shapes = _Shapes(n, height, width, rows, columns, self._channels, *axes)
        return shapes, torch.Size((n, self._channels, rows, columns))
