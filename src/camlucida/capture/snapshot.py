"""Snapshot and restore a module's attributes.

Remembered are all containers, tensors, arrays, random generators and plain objects that can be reached from
the module's attributes through containers and through at most two objects in a row. Not remembered is what
only a closure, a global, a class or an extension type holds, nor a NumPy array of a mebibyte and more.

Written as flat loops over plain lists: a network has thousands of small dicts, most of them empty, and all of
them are looked at on every explanation.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camlucida.capture.copies import (
    GENERATORS,
    TensorCopies,
    copy_array,
    copy_bytes,
    copy_generator,
    copy_tensors,
)

_PLAIN = frozenset(
    (
        *(int, float, complex, bool, str, bytes, NoneType, torch.dtype, torch.device, torch.Size),
        *(nn.Parameter, FunctionType, BuiltinFunctionType, MethodType, ModuleType, type),
    )
)
_SIMPLE = ("types", "__main__", "functools", "collections")  # whose objects hold nothing but attributes
_DICTS = (dict, OrderedDict)
_DEEP = 2  # objects in a row
_MOST = 100_000  # things looked at beyond the module's own dicts: a model may hold half of a program


@dataclass(frozen=True)
class Snapshot:
    """Containers and tensors with their contents; ``inference`` has tensors that inference mode made."""

    empty: list[dict[Any, Any]] = field(default_factory=list)
    filled: list[tuple[dict[Any, Any], dict[Any, Any]]] = field(default_factory=list)
    collections: list[tuple[Any, list[Any]]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    copies: list[TensorCopies] = field(default_factory=list)  # of all tensors, once all are found
    others: list[Callable[[], None]] = field(default_factory=list)
    inference: list[Tensor] = field(default_factory=list)

    @property
    def containers(self) -> list[Any]:
        """The dicts and lists, in which things can be replaced."""
        lists = (collection for collection, _ in self.collections if isinstance(collection, list))
        return [*(dictionary for dictionary, _ in self.filled), *lists]

    def put_back(self) -> list[Exception]:
        """Restore everything in place, touching only what changed; the errors, item by item."""
        errors: list[Exception] = []
        for was_empty in self.empty:
            if was_empty:
                _tried(errors, _restore_dict, was_empty, {})
        for dictionary, before in self.filled:
            if not _unchanged(dictionary, before):
                _tried(errors, _restore_dict, dictionary, before)
        for collection, inside in self.collections:
            _tried(errors, _restore_collection, collection, inside)
        for copies in self.copies:
            unchanged = copies.unchanged()
            for copy in copies.copies:
                _tried(errors, copy.put_back, id(copy) in unchanged)
        for put_back in self.others:
            _tried(errors, put_back)
        return errors


def _tried(errors: list[Exception], put_back: Callable[..., None], *arguments: Any) -> None:
    try:
        put_back(*arguments)
    except Exception as error:  # noqa: BLE001 - objects of the user's, and the other items are put back all the same
        errors.append(error)


def remember(roots: Iterable[dict[str, Any]], known: Iterable[Any] = ()) -> Snapshot:
    """What stands in ``roots`` and in all that they hold; ``known`` are objects whose dicts are roots.

    Parameters are left out: their values are too large to copy.
    """
    snapshot = Snapshot()
    seen: dict[int, Any] = {id(one): one for one in known}
    waiting: list[tuple[Any, int]] = []
    for root in roots:
        snapshot.filled.append((root, dict(root)))
        for held in root.values():
            if type(held) in _DICTS:  # a dozen in each module, so without a call for each
                if not held:
                    snapshot.empty.append(held)
                    continue
                snapshot.filled.append((held, dict(held)))
                seen[id(held)] = held
                inside = [one for one in held.values() if type(one) not in _PLAIN and id(one) not in seen]
                waiting += [(one, 0) for one in inside]
            elif type(held) not in _PLAIN:
                waiting.append((held, 0))
    most = _MOST + len(seen)
    while waiting and len(seen) < most:
        value, depth = waiting.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            within, deeper = _take(value, snapshot, depth)
            waiting += [(held, deeper) for held in within if type(held) not in _PLAIN]
    snapshot.copies.append(copy_tensors(snapshot.tensors))
    return snapshot


def _take(value: Any, snapshot: Snapshot, depth: int) -> tuple[Iterable[Any], int]:
    """Note what stands in ``value``; what it holds, and how many objects in a row lead there."""
    if isinstance(value, dict):
        if value:
            snapshot.filled.append((value, dict(value)))
            return value.values(), depth
        snapshot.empty.append(value)
    elif isinstance(value, tuple):
        return value, depth
    elif isinstance(value, Tensor):
        if value.is_inference():  # only inference mode writes to it
            snapshot.inference.append(value)
        elif not isinstance(value, nn.Parameter):
            snapshot.tensors.append(value)
    elif isinstance(value, (list, set, deque)):
        inside = list(value)
        snapshot.collections.append((value, inside))
        return inside, depth
    elif (put_back := _copied(value)) is not None:
        snapshot.others.append(put_back)
    elif depth < _DEEP and (attributes := _attributes(value)) is not None:
        return (attributes, *_slots(value, snapshot)), depth + 1
    return (), depth


def _copied(value: Any) -> Callable[[], None] | None:
    if isinstance(value, np.ndarray):
        return copy_array(value)
    if isinstance(value, bytearray):
        return copy_bytes(value)
    return copy_generator(value) if isinstance(value, GENERATORS) else None


def _attributes(value: Any) -> dict[str, Any] | None:
    """The attributes of an object that a model may own; None of classes and of the standard library's objects.

    Locks, files, threads and queues among those belong to others too. Nothing of the object's own is run.
    """
    library = type(value).__module__
    foreign = library.partition(".")[0] in sys.stdlib_module_names and library not in _SIMPLE
    if isinstance(value, type) or foreign:
        return None
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {} if hasattr(type(value), "__slots__") else None
    return attributes if isinstance(attributes, dict) else None


def _slots(value: Any, snapshot: Snapshot) -> list[Any]:
    """What stands in the object's slots, noted."""
    slots = [vars(kind).get("__slots__", ()) for kind in type(value).__mro__]
    listed = [name for names in slots for name in ([names] if isinstance(names, str) else names)]
    names = [name for name in listed if not name.startswith("__")]
    before = {name: getattr(value, name) for name in names if hasattr(value, name)}

    def put_back() -> None:
        for name, held in before.items():
            if getattr(value, name, None) is not held:
                object.__setattr__(value, name, held)

    if before:
        snapshot.others.append(put_back)
    return list(before.values())


def _unchanged(value: dict[Any, Any], before: dict[Any, Any]) -> bool:
    """By identity: keys and values may be things whose == is no bool."""
    return (
        len(value) == len(before)
        and all(map(is_, value.values(), before.values()))
        and all(map(is_, value, before))
    )


def _restore_dict(value: dict[Any, Any], before: dict[Any, Any]) -> None:
    """Key by key, and only those that changed, so that another thread finds the others where they are."""
    kind = OrderedDict if isinstance(value, OrderedDict) else dict  # whatever a class of the user's refuses
    for key in [key for key in value if key not in before]:
        kind.__delitem__(value, key)
    for key, held in before.items():
        if key not in value or value[key] is not held:
            kind.__setitem__(value, key, held)
    if not all(map(is_, value, before)):  # an entry was removed and came back at the end
        for key, held in before.items():
            kind.__delitem__(value, key)
            kind.__setitem__(value, key, held)


def _restore_collection(value: Any, before: list[Any]) -> None:
    if len(value) == len(before) and all(map(is_, value, before)):
        return
    if isinstance(value, list):
        value[:] = before
        return
    value.clear()
    (value.update if isinstance(value, set) else value.extend)(before)
