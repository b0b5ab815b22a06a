"""A device that no machine has: tensors that say they are on it, computed on the CPU.

Its rules are those of real ones: no float64 (as on MPS), no operation on tensors of both places (but of plain
numbers), no NumPy array without a copy to the CPU first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

backend_registration._setup_privateuseone_for_python_backend("elsewhere")
DEVICE = torch.device("elsewhere", 0)
_copy = torch.ops.aten._to_copy.default


class Elsewhere(Tensor):
    """``inside`` has the values."""

    inside: Tensor

    @staticmethod
    def __new__(cls, inside: Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inside.shape,
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=DEVICE,
            requires_grad=False,
        )
        made.inside = inside
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.inside!r})"

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert a tensor of another device to numpy: use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if func is _copy:
            device = kwargs.pop("device", None) or DEVICE
            kwargs.pop("non_blocking", None)
            made = func(args[0].inside, **kwargs)
            return made if torch.device(device).type == "cpu" else _away(made)
        mixed = [one for one in tensors if not isinstance(one, Elsewhere) and one.ndim]
        if mixed and func is not torch.ops.aten.copy_.default:
            raise RuntimeError(f"{func} on tensors of two devices")
        if "device" in kwargs and kwargs["device"] is not None:
            kwargs["device"] = torch.device("cpu")
        plain = tree_map(lambda leaf: leaf.inside if isinstance(leaf, Elsewhere) else leaf, (args, kwargs))
        output = func(*plain[0], **plain[1])
        known = {id(one.inside): one for one in tensors if isinstance(one, Elsewhere)}

        def out(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return known[id(leaf)] if id(leaf) in known else _away(leaf)

        return tree_map(out, output)


def _away(tensor: Tensor) -> Elsewhere:
    if tensor.dtype is torch.float64:
        raise TypeError("this device has no float64")
    return Elsewhere(tensor)


def _empty(size: Any, *_: Any, dtype: Any = None, **__: Any) -> Tensor:
    return _away(torch.empty(size, dtype=dtype))


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return _away(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    inside = [one.inside if isinstance(one, Elsewhere) else one for one in (source, target)]
    inside[1].copy_(inside[0])
    return target


# What kernels and code ask for on this device.
_library = torch.library.Library("aten", "IMPL")
_library.impl("empty.memory_format", _empty, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")


def moved(module: nn.Module) -> nn.Module:
    """The module with all weights on the device."""
    for part in module.modules():
        for name, one in part._parameters.items():
            if one is not None:
                part._parameters[name] = nn.Parameter(_away(one.detach()), requires_grad=one.requires_grad)
        for name, one in part._buffers.items():
            if one is not None:
                part._buffers[name] = _away(one)
    return module
