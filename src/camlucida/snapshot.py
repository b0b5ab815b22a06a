"""What stands in a module's attributes, remembered and put back.

Written as flat loops over plain lists: a network has thousands of small dicts, most of them empty, and all of
them are looked at on every explanation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import eq, is_
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import torch
from torch import Tensor, nn

_HOLDERS = (dict, list, set, tuple, deque, Tensor)
_PLAIN = frozenset((int, float, bool, str, NoneType, nn.Parameter, FunctionType, BuiltinFunctionType))


@dataclass(frozen=True)
class Snapshot:
    """Containers and tensors with what stood in them; ``inference`` says whether inference mode made any."""

    empty: list[dict[Any, Any]] = field(default_factory=list)
    filled: list[tuple[dict[Any, Any], dict[Any, Any]]] = field(default_factory=list)
    collections: list[tuple[Any, list[Any]]] = field(default_factory=list)
    tensors: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    inference: list[Tensor] = field(default_factory=list)

    @property
    def containers(self) -> list[Any]:
        """The dicts and lists, in which things can be replaced."""
        lists = (collection for collection, _ in self.collections if isinstance(collection, list))
        return [*(dictionary for dictionary, _ in self.filled), *lists]

    def put_back(self) -> None:
        """Everything as it stood, in place, and touching only what changed."""
        for was_empty in self.empty:
            if was_empty:
                was_empty.clear()
        for dictionary, before in self.filled:
            _restore_dict(dictionary, before)
        for collection, inside in self.collections:
            _restore_collection(collection, inside)
        for tensor, values in self.tensors:
            _restore_tensor(tensor, values)


def remember(roots: Iterable[dict[str, Any]]) -> Snapshot:
    """What stands in ``roots`` and in all containers and tensors that they hold.

    Parameters are left out: their values are too large to copy.
    """
    snapshot = Snapshot()
    seen: dict[int, Any] = {}
    waiting: list[Any] = list(roots)
    while waiting:
        value = waiting.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            inside = _take(value, snapshot)
            waiting += [held for held in inside if type(held) not in _PLAIN and isinstance(held, _HOLDERS)]
    return snapshot


def _take(value: Any, snapshot: Snapshot) -> Iterable[Any]:
    """Note what stands in ``value``, and give what it holds."""
    if isinstance(value, dict):
        if value:
            snapshot.filled.append((value, dict(value)))
            return value.values()
        snapshot.empty.append(value)
    elif isinstance(value, tuple):
        return value
    elif isinstance(value, Tensor):
        if value.is_inference():  # only inference mode writes to it
            snapshot.inference.append(value)
        elif not (isinstance(value, nn.Parameter) or value.is_meta):
            snapshot.tensors.append((value, value.detach().clone()))
    else:
        inside = list(value)
        snapshot.collections.append((value, inside))
        return inside
    return ()


def _restore_tensor(tensor: Tensor, before: Tensor) -> None:
    """By value, since writing through ``.data`` leaves no trace in the version, and without leaving one."""
    if not torch.equal(tensor, before):
        tensor.data.copy_(before)


def _restore_dict(value: dict[Any, Any], before: dict[Any, Any]) -> None:
    """Only where it changed, so that another thread never finds it empty."""
    if (
        len(value) == len(before)
        and all(map(is_, value.values(), before.values()))
        and all(map(eq, value, before))
    ):
        return
    for key in [key for key in value if key not in before]:
        del value[key]
    value.update(before)
    if list(value) != list(before):  # an entry was removed and came back at the end
        value.clear()
        value.update(before)


def _restore_collection(value: Any, before: list[Any]) -> None:
    if len(value) == len(before) and all(map(is_, value, before)):
        return
    value.clear()
    (value.update if isinstance(value, set) else value.extend)(before)
