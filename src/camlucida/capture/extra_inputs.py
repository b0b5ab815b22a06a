"""Extra forward arguments, added to every call of the model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


@dataclass
class _ExtraInputs:
    """Extra inputs of one module, for ``pictures`` pictures in all; ``rows`` are those now in a batch."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    pictures: int = 1
    recording: bool = False
    rows: list[Sequence[int]] = field(default_factory=list)


class _Threads(threading.local):
    """The extra inputs of each thread, the innermost last."""

    def __init__(self) -> None:
        self.stack: list[_ExtraInputs] = []


_threads = _Threads()


@contextmanager
def extra_inputs(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    pictures: int = 1,
    recording: bool = False,
) -> Iterator[None]:
    """While entered, each call of the borrowed ``module`` in this thread gets these arguments too.

    ``args`` follow the inputs. A tensor whose first axis is 1 is repeated for each picture; one with as many
    rows as there are ``pictures`` gives each picture its own. With ``recording`` gradients record from the
    inputs on, for a model whose forward asks for them.
    """
    if not (args or kwargs or recording):
        yield
        return
    _threads.stack.append(_ExtraInputs(module, tuple(args), dict(kwargs), pictures, recording))
    try:
        yield
    finally:
        _threads.stack.pop()


@contextmanager
def rows_in_batch(rows: Sequence[int]) -> Iterator[None]:
    """While entered, batches hold the images with these numbers, or variants of the first of them."""
    current = _threads.stack[-1] if _threads.stack else None
    if current:
        current.rows.append(rows)
    try:
        yield
    finally:
        if current:
            current.rows.pop()


@contextmanager
def variants_of_row(place: int) -> Iterator[None]:
    """While entered, batches hold only variants of this row of the outer batch."""
    rows = _threads.stack[-1].rows if _threads.stack else []
    with rows_in_batch([rows[-1][place]] if rows else [place]):
        yield


def add_extra_inputs(module: nn.Module) -> None:
    """Hook this thread's extra inputs to the borrowed module, those of the moment at each run.

    The hooks go when the module is given back.
    """
    thread, modes = threading.get_ident(), list[bool]()

    def add(_module: nn.Module, *taken: Any) -> Any:
        current = _current(module) if threading.get_ident() == thread else None
        if current is None:
            return None
        inputs, others = taken
        more = tree_map(lambda leaf: _of_batch(leaf, current, len(inputs[0])), (current.args, current.kwargs))
        first = inputs[0]
        modes.append(torch.is_grad_enabled())
        if current.recording:
            torch.set_grad_enabled(True)
            first = first if first.requires_grad else first.detach().requires_grad_(True).clone()
        return (first, *inputs[1:], *more[0]), {**others, **more[1]}

    def take_back(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if threading.get_ident() != thread or not modes:
            return None
        recorded, current = modes.pop(), _current(module)
        if current is None or not current.recording:
            return None
        torch.set_grad_enabled(recorded)
        return None if recorded else tree_map(_detached, output)

    module.register_forward_pre_hook(add, with_kwargs=True)
    module.register_forward_hook(take_back)


def has_extra_inputs(module: nn.Module) -> bool:
    """Whether this thread adds anything to the module's inputs."""
    return _current(module) is not None


def _current(module: nn.Module) -> _ExtraInputs | None:
    """What this thread adds to the module's inputs."""
    return next((one for one in reversed(_threads.stack) if one.module is module), None)


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _of_batch(leaf: Any, current: _ExtraInputs, batch: int) -> Any:
    """The rows of an argument for the ``batch`` inputs of this call."""
    if not isinstance(leaf, Tensor) or leaf.ndim == 0:
        return leaf
    if len(leaf) == 1:
        return leaf.expand(batch, *leaf.shape[1:])
    if len(leaf) != current.pictures:
        return leaf
    rows = current.rows[-1] if current.rows else range(current.pictures)
    return leaf[list(rows)] if len(rows) == batch else leaf[rows[0]].expand(batch, *leaf.shape[1:])
