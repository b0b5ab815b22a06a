"""Outputs of the modules that finish before a layer, recorded in one run on a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from camlucida.capture.borrow import in_this_thread
from camlucida.capture.hooks import add_forward_hook, is_mapped


@dataclass
class Call:
    """One finished call of a module: what it returned for the whole batch, in copies.

    ``axes`` are those along which each tensor grows with the batch, None for one that does not. Copies are
    handed out as long as ``copied`` says so, until it is known that no replay has ``written`` to them.
    """

    module: nn.Module
    output: Any
    axes: list[int | None] = field(default_factory=list)
    copied: bool = True
    written: bool = False
    handed: list[Tensor] = field(default_factory=list)


@dataclass
class Recording:
    """The calls that finished before ``layer``, in order, in a run on ``batch`` inputs.

    ``output`` is what the layer returned, of which ``tensor`` (batch, …) is the one floating-point tensor.
    Modules are kept as large as possible: one that finished before the layer stands for all its children.
    """

    layer: nn.Module
    batch: int
    calls: list[Call] = field(default_factory=list)
    output: Any = None
    tensor: Tensor = field(default_factory=lambda: torch.empty(0))


@contextmanager
def recorded(module: nn.Module, layers: Sequence[str], batch: int) -> Iterator[list[Recording]]:
    """While entered, ``module``'s one run on ``batch`` pictures is recorded for each of the ``layers``."""
    recordings = [Recording(module.get_submodule(name), batch) for name in layers]
    handles = [handle for recording in recordings for handle in _record(module, recording)]
    try:
        yield recordings
    finally:
        for handle in handles:
            handle.remove()


def _record(module: nn.Module, recording: Recording) -> list[Any]:
    open_at: list[int] = []  # how much was done when each module now running began
    done = recording.calls

    def before(_part: nn.Module, _args: Any) -> None:
        open_at.append(len(done))

    def after(part: nn.Module, _args: Any, output: Any) -> None:
        begun = open_at.pop()
        if recording.output is not None or any(map(is_mapped, all_tensors_in(output))):
            return
        if part is recording.layer:
            recording.output = tree_map(_copy, output)
            recording.tensor = next(one for one in all_tensors_in(recording.output) if one.is_floating_point())
            return
        del done[begun:]  # its children, for which it stands
        done.append(Call(part, tree_map(_copy, output)))

    first, last = in_this_thread(before), in_this_thread(after)
    handles: list[Any] = [nn.Module.register_forward_pre_hook(part, first) for part in module.modules()]
    return handles + [add_forward_hook(part, last) for part in module.modules()]


@contextmanager
def measured(recording: Recording) -> Iterator[None]:
    """While entered, see in a run on another number of pictures which axis of each tensor counts pictures."""
    waiting = by_module(recording.calls)

    def measure(part: nn.Module, _args: Any, output: Any) -> None:
        calls = waiting[part]
        if calls:
            call = calls.pop(0)
            pairs = zip(all_tensors_in(call.output), all_tensors_in(output), strict=True)
            call.axes = [_grown(kept.shape, other.shape) for kept, other in pairs]

    handles = [add_forward_hook(part, in_this_thread(measure)) for part in waiting]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_axes(recording: Recording) -> bool:
    """Assume that the first axis of each tensor is the batch; False if that cannot be."""
    tensors = [all_tensors_in(call.output) for call in recording.calls]
    if recording.batch != 1 or any(one.ndim == 0 or len(one) != 1 for kept in tensors for one in kept):
        return False
    for call, kept in zip(recording.calls, tensors, strict=True):
        call.axes = [0] * len(kept)
    return True


def _grown(one: Sequence[int], other: Sequence[int]) -> int | None:
    return next((axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), None)


def expanded(call: Call, batch: int, row: int, count: int) -> Any:
    """What the call returned for one picture, ``count`` times over: views, or copies where somebody writes."""
    axes = iter(call.axes)

    def expand(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        axis = next(axes, None)
        if axis is None:
            grown = leaf
        else:
            each = leaf.shape[axis] // batch
            own = leaf.narrow(axis, row * each, each)
            repeats = [count if i == axis else 1 for i in range(leaf.ndim)]
            grown = own.repeat(repeats) if each > 1 else own.expand(_resized(leaf, axis, count))
        if call.copied:
            call.handed.append(grown.clone())
            return call.handed[-1]
        return grown

    return tree_map(expand, call.output)


def _resized(tensor: Tensor, axis: int, size: int) -> list[int]:
    return [*tensor.shape[:axis], size, *tensor.shape[axis + 1 :]]


def by_module(calls: list[Call]) -> dict[nn.Module, list[Call]]:
    """The calls of each module, in order."""
    found: dict[nn.Module, list[Call]] = {}
    for call in calls:
        found.setdefault(call.module, []).append(call)
    return found


def all_tensors_in(value: Any) -> list[Tensor]:
    """The tensors inside tuples, dicts and the like."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _copy(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf
