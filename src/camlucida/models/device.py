"""The device and dtype of a model."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.errors import OptionError, unknown_name


def move(module: nn.Module, by_name: bool, device: Any, dtype: Any) -> None:
    """Move a model that was loaded by name; the user's module stays as it is.

    Raises:
        OptionError: there is no such device or dtype, or the module is the user's.
    """
    if not by_name:
        if device != "auto" or dtype is not None:
            raise OptionError(
                "device and dtype are for models given by name: move your module yourself, module.to(…)"
            )
        return
    module.to(device=_device(device), dtype=_dtype(dtype))


def _device(device: Any) -> torch.device:
    if device == "auto":
        best = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else best)
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        wanted = torch.device("meta")
    missing = {
        "cpu": False,
        "cuda": not torch.cuda.is_available(),
        "mps": not torch.backends.mps.is_available(),
    }
    if wanted.type not in missing:
        raise OptionError(f"device is auto, cpu, cuda or mps, got {device!r}")
    if missing[wanted.type]:
        raise OptionError(f"this machine has no {wanted.type} device, use auto or cpu")
    return wanted


def _dtype(dtype: Any) -> torch.dtype | None:
    known = {
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
        "float32": torch.float32,
        "float64": torch.float64,
    }
    name = str(dtype).removeprefix("torch.")
    if dtype is not None and name not in known:
        raise OptionError(unknown_name("dtype", name, list(known), f"it is one of {', '.join(known)}"))
    return known.get(name)


def device_and_dtype(module: nn.Module) -> Tensor:
    """A tensor on the device and in the dtype that the module's inputs have: its first floating-point weight.

    Weights without values (offloaded ones) and integers (quantised ones) say nothing of that.
    """
    weights = chain(module.parameters(), module.buffers())
    return next((one for one in weights if one.is_floating_point() and not one.is_meta), torch.empty(0))
