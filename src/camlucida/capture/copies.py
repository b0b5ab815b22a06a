"""Copies of values that a module holds; each restores its value if that has changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

# Bytes from which on a value costs more to copy than to watch.
LARGE = 1 << 20
# Large tensors that a whole borrow left unchanged: from then on their version is watched, and no copy made.
_read_only = WeakTensorKeyDictionary()
_PLAIN = (Tensor, nn.Parameter, nn.Buffer)  # no subclass with arithmetic of its own
_GROUPED = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool)


class Written(Exception):  # noqa: N818 - collected with what put_back raises, and told as ModelError
    """A large value was written to that earlier borrows left alone, so that there is no copy of it."""


@dataclass(frozen=True)
class TensorCopy:
    """A tensor as it was: ``alias`` has its storage and shape, ``values`` its numbers.

    ``values`` is None where numbers are not compared: of large tensors that are only read, and of kinds that
    cannot be compared (sparse, nested, on the meta device). Those are put back by reference, and a later
    version says that something was written.
    """

    tensor: Tensor
    alias: Tensor
    values: Tensor | None
    version: int
    flags: tuple[bool, Tensor | None]

    def put_back(self, unchanged: bool = False) -> None:
        """Storage and shape by reference, then the numbers where they differ, unless they are known not to.

        Raises:
            Written: the numbers have changed, and there is no copy.
        """
        tensor = self.tensor
        if not _same_memory(tensor, self.alias):
            tensor.data = self.alias
        requires_grad, gradient = self.flags
        if tensor.is_leaf and tensor.requires_grad is not requires_grad:
            tensor.requires_grad_(requires_grad)
        if tensor.is_leaf and tensor.grad is not gradient:
            tensor.grad = gradient
        if self.values is None:
            if tensor._version != self.version:
                raise Written(f"a tensor {tuple(tensor.shape)}")
        elif not unchanged and not torch.equal(self.alias, self.values):
            # By value, since writing through .data leaves no trace in the version, and without leaving one.
            self.alias.data.copy_(self.values)
            _read_only.pop(tensor, None)  # type: ignore[no-untyped-call]
        elif tensor.nbytes >= LARGE:
            _read_only[tensor] = tensor._version


@dataclass(frozen=True)
class TensorCopies:
    """Copies of tensors; those of ``groups`` lie side by side, so that one comparison does for each."""

    copies: list[TensorCopy]
    groups: list[tuple[list[TensorCopy], Tensor]]

    def unchanged(self) -> set[int]:
        """The ids of copies whose tensors have kept their numbers."""
        same: set[int] = set()
        for members, values in self.groups:
            with suppress(RuntimeError):  # a tensor was resized in place: each is compared by itself
                if torch.equal(torch.cat([one.alias.reshape(-1) for one in members]), values):
                    same |= {id(one) for one in members}
        return same


def copy_tensors(tensors: Sequence[Tensor]) -> TensorCopies:
    """The tensors as they are; the small ones of a device and type are copied at once."""
    groups: dict[tuple[Any, Any], list[Tensor]] = {}
    copies = []
    for tensor in tensors:
        if tensor.dtype in _GROUPED and type(tensor) in _PLAIN and _is_small(tensor):
            groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        else:
            copies.append(_copied(tensor))
    together = []
    for members in groups.values():
        values = torch.cat([one.detach().reshape(-1) for one in members])
        parts = torch.split(values, [one.numel() for one in members])
        grouped = [_copied(one, part.view(one.shape)) for one, part in zip(members, parts, strict=True)]
        together.append((grouped, values))
        copies += grouped
    return TensorCopies(copies, together)


def _is_small(tensor: Tensor) -> bool:
    return _is_comparable(tensor) and tensor.nbytes < LARGE


def _is_comparable(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_nested)


def _copied(tensor: Tensor, values: Tensor | None = None) -> TensorCopy:
    """The tensor as it is, of ``values`` where these are copied already."""
    alias = tensor.detach()
    if values is None and _is_comparable(tensor):
        read_only: Any = _read_only
        watched = tensor.nbytes >= LARGE and read_only.get(tensor) == tensor._version
        values = None if watched else alias.clone()
    flags = (tensor.requires_grad, tensor.grad if tensor.is_leaf else None)
    return TensorCopy(tensor, alias, values, tensor._version, flags)


def _same_memory(tensor: Tensor, alias: Tensor) -> bool:
    if tensor.layout is not alias.layout or tensor.dtype is not alias.dtype:
        return False
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_meta:
        return True
    if tensor.shape != alias.shape:
        return False
    return tensor.stride() == alias.stride() and tensor.data_ptr() == alias.data_ptr()


def copy_array(array: np.ndarray[Any, Any]) -> Callable[[], None] | None:
    """A function that restores a NumPy array; None if it is read-only or large."""
    if not array.flags.writeable or array.nbytes >= LARGE:
        return None
    before, kept = array.copy(), array.tobytes()

    def put_back() -> None:
        if array.tobytes() != kept:
            array[...] = before

    return put_back


def copy_bytes(array: bytearray) -> Callable[[], None] | None:
    """A function that restores a bytearray; None if it is large."""
    if len(array) >= LARGE:
        return None
    before = bytes(array)

    def put_back() -> None:
        if array != before:
            array[:] = before

    return put_back


def copy_generator(generator: Any) -> Callable[[], None]:
    """A function that restores a random generator of torch, NumPy or Python."""
    if isinstance(generator, torch.Generator):
        state = generator.get_state()
        return lambda: None if torch.equal(generator.get_state(), state) else _set(generator, state)
    if isinstance(generator, np.random.Generator):
        inside = generator.bit_generator
        before = inside.state
        return lambda: setattr(inside, "state", before)
    if isinstance(generator, np.random.RandomState):
        legacy = generator.get_state(legacy=False)
        return lambda: generator.set_state(legacy)
    plain = generator.getstate()
    return lambda: generator.setstate(plain)


def _set(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
