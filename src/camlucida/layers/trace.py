"""Run a model once and record what each of its modules took and returned, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from camlucida.capture.borrow import in_this_thread
from camlucida.capture.hooks import add_forward_hook, float_tensors_in, why_hidden
from camlucida.layers.paths import Edge, edge_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TensorRecord:
    """A floating-point tensor that went from module to module.

    ``value_id`` numbers it: equal numbers mean the same values. ``edge`` is its place in autograd's graph.
    """

    shape: Shape
    value_id: int
    edge: Edge | None


@dataclass(frozen=True)
class CallRecord:
    """One finished call of one module; ``finished_before`` is how many calls had finished when it began.

    ``hidden`` says why what it returns cannot be looked at, where that is so.
    """

    name: str
    module: nn.Module
    takes: tuple[TensorRecord, ...]
    returns: tuple[TensorRecord, ...]
    finished_before: int
    hidden: str = ""


@dataclass
class _Numbers:
    """Numbers for tensors: one object has one number, and a module that hands on equal values keeps it.

    Tensors are not kept alive, since all of them together are many times what a forward needs. Where something
    has been written to one since, it is another.
    """

    count: int = 0
    known: dict[int, tuple[Callable[[], Tensor | None], dict[int, int]]] = field(default_factory=dict)

    def of(self, tensor: Tensor) -> int:
        versions = self._versions(tensor)
        version = _version(tensor)
        if version not in versions:
            versions[version] = self.count
            self.count += 1
        return versions[version]

    def alias(self, tensor: Tensor, number: int) -> None:
        self._versions(tensor)[_version(tensor)] = number

    def _versions(self, tensor: Tensor) -> dict[int, int]:
        """The tensor's numbers by version; an id that another tensor had before is new."""
        alive, versions = self.known.get(id(tensor), (None, {}))
        if alive is None or alive() is not tensor:
            versions = {}
            self.known[id(tensor)] = (ref(tensor), versions)
        return versions


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


@contextmanager
def traced(module: nn.Module, copies: bool = False) -> Iterator[list[CallRecord]]:
    """While entered, the borrowed ``module``'s calls in this thread are recorded, as they finish.

    Grad mode stays what it is on entering, also where the model itself switches it. With ``copies`` each
    module takes and hands on copies, so that code that writes to them does not spoil a backward.
    """
    records, numbers = list[CallRecord](), _Numbers()
    open_calls: list[tuple[int, tuple[TensorRecord, ...]]] = []
    recording = torch.is_grad_enabled()

    def before(_part: nn.Module, args: Any, kwargs: Any) -> Any:
        torch.set_grad_enabled(recording)
        taken = tuple(_passed(numbers, one) for one in float_tensors_in((args, kwargs)))
        open_calls.append((len(records), taken))
        return tree_map(partial(_copied, numbers), (args, kwargs)) if copies else None

    def after(name: str) -> Callable[..., Any]:
        def record(part: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            finished_before, takes = open_calls.pop()
            why = why_hidden(output)
            returned = [] if why else float_tensors_in(output)
            for one in returned:
                _recognise(numbers, float_tensors_in((args, kwargs)), one)
            returns = tuple(_passed(numbers, one) for one in returned)
            records.append(CallRecord(name, part, takes, returns, finished_before, why))
            return tree_map(partial(_copied, numbers), output) if copies else None

        return record

    handles: list[Any] = []
    for name, part in module.named_modules():
        if name:
            first = in_this_thread(before)
            handles.append(nn.Module.register_forward_pre_hook(part, first, with_kwargs=True))
            handles.append(add_forward_hook(part, in_this_thread(after(name)), with_kwargs=True))
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()


def _copied(numbers: _Numbers, leaf: Any) -> Any:
    if not (isinstance(leaf, Tensor) and leaf.is_floating_point()):
        return leaf
    copy = leaf.clone()
    numbers.alias(copy, numbers.of(leaf))
    return copy


def _passed(numbers: _Numbers, tensor: Tensor) -> TensorRecord:
    return TensorRecord(tuple(tensor.shape), numbers.of(tensor), edge_of(tensor))


def _recognise(numbers: _Numbers, taken: list[Tensor], returned: Tensor) -> None:
    """Give what a module returns the number of what it took, where the values are equal."""
    for one in taken:
        if one is not returned and one.shape == returned.shape and torch.equal(one, returned):
            numbers.alias(returned, numbers.of(one))
            return
