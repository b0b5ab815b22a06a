"""Copies of values that a module holds; each restores its value if that has changed."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from camlucida.capture.random_draws import draws

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


@dataclass(frozen=True)
class RandomStates:
    """The process's random states: of torch on all devices in use, of Python and of NumPy."""

    tensors: list[Tensor]
    python: Any
    numpy: Any

    def differ(self, other: RandomStates) -> bool:
        """Whether anything was drawn between the two."""
        same = len(self.tensors) == len(other.tensors) and all(map(torch.equal, self.tensors, other.tensors))
        return not same or self.others_differ(other)

    def others_differ(self, other: RandomStates) -> bool:
        """The same of Python's and NumPy's."""
        return self.python != other.python or _numbers(self.numpy) != _numbers(other.numpy)


def random_states() -> RandomStates:
    """The current random states."""
    tensors = [torch.get_rng_state(), *(state for device in _in_use() for state in device.get_rng_state_all())]
    return RandomStates(tensors, random.getstate(), np.random.get_state(legacy=False))  # noqa: NPY002


class RandomWatch:
    """The process's random states, restored if the borrowed module has drawn.

    While other threads run, a thread would see its numbers again. Then torch's states are put back only if the
    module is known to draw, and those of Python and NumPy only if they changed while it ran.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._first = random_states()
        self._last: RandomStates | None = self._first  # after the last run; unknown where no thread was about
        self._elsewhere = False

    def watch(self, here: Callable[..., Any]) -> None:
        """Hook the module; ``here`` makes a hook that acts in this thread alone."""
        self._module.register_forward_pre_hook(here(self._before))
        self._module.register_forward_hook(here(self._after), always_call=True)

    def _before(self, *_: Any) -> None:
        if threading.active_count() > 1 and self._last is not None:
            self._elsewhere |= self._last.others_differ(random_states())

    def _after(self, *_: Any) -> None:
        self._last = random_states() if threading.active_count() > 1 else None

    def put_back(self) -> None:
        """All devices' states, if they have changed."""
        now = random_states()
        if not self._first.differ(now):
            return
        alone = threading.active_count() == 1
        if alone or draws(self._module):
            _set_devices(self._first.tensors)
        elsewhere = self._elsewhere or (self._last is not None and self._last.others_differ(now))
        if alone or not elsewhere:
            random.setstate(self._first.python)
            np.random.set_state(self._first.numpy)  # noqa: NPY002 - the user's own


def _set_devices(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    rest = states[1:]
    for device in _in_use():
        count = device.device_count()
        if len(rest) >= count:  # else it was not in use before
            device.set_rng_state_all(rest[:count])
        rest = rest[count:]


def _numbers(state: Any) -> tuple[bytes, Any]:
    inner = state["state"]
    return inner["key"].tobytes(), (inner["pos"], state["has_gauss"], state["gauss"])


def _in_use() -> list[Any]:
    """Torch's modules of the kinds of device that somebody has used in this process."""
    modules = [sys.modules.get(f"torch.{name}") for name in ("cuda", "xpu")]
    return [one for one in modules if one is not None and one.is_available() and one.is_initialized()]
