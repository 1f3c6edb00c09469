"""A device that behaves as Apple's GPU, made of the CPU: what that one refuses, it refuses.

Every tensor on it is a CPU's of a class of its own. It has no float64, no pinned memory and no
bicubic `grid_sample`; it takes no tensor that lies on the CPU, and no copy that nobody waits for.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

MPS = torch.device("mps")
_FETCHED = {"cpu", "numpy", "tolist", "item", "__float__", "__bool__", "__int__"}


class OnMps(torch.Tensor):
    """A tensor on the device."""


class Apple(TorchFunctionMode):
    """While it is entered, `mps` is there; `names` are the functions that ran on it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        there = any(isinstance(x, OnMps) for x in tensors)
        if func is torch.device or name == "_parse_to":  # they only name one
            return func(*args, **kwargs)
        if name == "_has_compatible_shallow_copy_type":  # a module that moves gets new parameters
            return not there
        if func == torch.Tensor.device.__get__:
            return MPS if isinstance(args[0], OnMps) else torch.device("cpu")
        if func == torch.Tensor.is_cuda.__get__:
            return False
        if name in ("__get__", "requires_grad_", "grad"):  # of the very tensors that were given
            with torch._C.DisableTorchFunctionSubclass():
                result = func(*args, **kwargs)
            return args[0] if name == "requires_grad_" else self._there(result) if there else result
        to = there
        if name == "to":
            to = self._goal(args, kwargs, there)
        elif kwargs.get("device") is not None:
            to = torch.device(kwargs["device"]).type == "mps"
        elif name in _FETCHED:
            to = False
        if there or to:
            self._check(name, args, kwargs, tensors, there)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*tree_map(_here, args), **tree_map(_here, kwargs))
        return self._there(result) if to else result

    def _check(self, name: str, args, kwargs, tensors, there: bool) -> None:
        self.names.add(name)
        if name == "grid_sample" and kwargs.get("mode") == "bicubic":
            raise RuntimeError("MPS: Unsupported Bicubic interpolation")
        if name == "pin_memory" or kwargs.get("non_blocking"):
            raise RuntimeError("MPS reads what a copy was made of after it is gone")
        strangers = [x for x in tensors if not isinstance(x, OnMps) and x.ndim and x.numel()]
        if there and strangers and name not in ("copy_", "to"):
            raise RuntimeError(f"{name}: a tensor on the CPU beside one on mps")

    def _goal(self, args, kwargs, there: bool) -> bool:
        """Where `to` brings a tensor."""
        given = [*args[1:], *kwargs.values()]
        if any(isinstance(x, torch.Tensor) for x in given):
            return any(isinstance(x, OnMps) for x in given)
        for device in given:
            if isinstance(device, torch.device | str):
                return torch.device(device).type == "mps"
        return there

    def _there(self, result: Any) -> Any:
        def wrapped(x: Any) -> Any:
            if not isinstance(x, torch.Tensor):
                return x
            if x.dtype == torch.float64:
                raise TypeError("MPS has no float64")
            return x.as_subclass(OnMps)

        with torch._C.DisableTorchFunctionSubclass():
            return tree_map(wrapped, result)


def _here(x: Any) -> Any:
    """What stands for a value on the CPU."""
    if isinstance(x, OnMps):
        return x.as_subclass(torch.Tensor)
    if isinstance(x, torch.device) and x.type == "mps":
        return torch.device("cpu")
    return "cpu" if x == "mps" else x


def pretend() -> Iterator[Apple]:
    """As a fixture: enter it."""
    with Apple() as apple:
        yield apple
