"""Run a model once and record what each of its modules returned, in order."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from camlucida.custody import lent


@dataclass(frozen=True)
class Record:
    """One call of one module: the shapes of the floating-point tensors it took and returned.

    ``same`` numbers the returned tensor: modules that hand the same one on share the number. ``batch`` is
    the number of pictures that the model was run on.
    """

    name: str
    module: nn.Module
    takes: tuple[tuple[int, ...], ...]
    returns: tuple[tuple[int, ...], ...]
    same: int
    batch: int


def trace(module: nn.Module, inputs: Tensor) -> list[Record]:
    """What each module took and returned for ``inputs``, in the order in which they finished."""
    thread = threading.get_ident()
    records: list[Record] = []
    alive: dict[int, Tensor] = {}  # kept, so that a number is not given twice

    def hook(name: str) -> Any:
        def record(part: nn.Module, args: Any, output: Any) -> None:
            if threading.get_ident() != thread:
                return
            returned = _tensors(output)
            same = id(returned[0]) if len(returned) == 1 else -1
            if len(returned) == 1:
                alive[same] = returned[0]
            records.append(Record(name, part, _shapes(_tensors(args)), _shapes(returned), same, len(inputs)))

        return record

    with lent(module), torch.no_grad():
        handles = [part.register_forward_hook(hook(name)) for name, part in module.named_modules() if name]
        try:
            module(inputs.clone())  # some models normalise their input in place
        finally:
            for handle in handles:
                handle.remove()
    return records


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _shapes(tensors: list[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tensor.shape) for tensor in tensors)
