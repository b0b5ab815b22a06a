"""Digests that identify a model and its weights, so that no row of another model is reused."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def fingerprint(tensor: Tensor) -> bytes:
    """A digest of the values of a tensor."""
    raw: Any = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return blake2b(raw, digest_size=16).digest()


def of_model(module: nn.Module) -> str:
    """A digest of a module's build, parameters and buffers; about a second per gigabyte.

    Code that makes something else of the same build and numbers is not noticed.
    """
    told = blake2b(without_addresses(repr(module)).encode(), digest_size=16)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        told.update(f"\n{name} {tensor.dtype} ".encode())
        if not torch.nn.parameter.is_lazy(tensor):
            told.update(f"{tuple(tensor.shape)} ".encode() + _values(tensor))
    return told.hexdigest()


def without_addresses(text: str) -> str:
    """A ``repr`` without memory addresses."""
    return _ADDRESS.sub("", text)


def _values(tensor: Tensor) -> bytes:
    """A digest of the numbers, whatever way they are kept in; of none that are not there."""
    if tensor.device.type == "meta":
        return b""
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return fingerprint(tensor if tensor.layout == torch.strided else tensor.to_dense())
