"""The user's module, lent and given back: the one context manager through which anything here runs a model.

While lent, the module is in evaluation mode and its parameters record no gradients; compiled calls and
gradient checkpoints, which hide layers from hooks or run them twice, are put aside. When it comes back,
also after an error, everything is as it was: modes, hooks, flags, ``.grad``, buffers, forwards that were
set on instances, and the tensors and containers in plain attributes (some models cache attention biases
there in evaluation mode). Parameters are not copied: a model that writes to them while it runs is reported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import checkpoint

from camlucida.errors import ModelError

Undo = Callable[[], None]

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_locks_guard = threading.Lock()


def bare(module: nn.Module) -> nn.Module:
    """The module inside ``torch.compile`` and DataParallel wrappers, which hide it from hooks."""
    while True:
        parallel = isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        inner = module.module if parallel else getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


@contextmanager
def lent(module: nn.Module) -> Iterator[nn.Module]:
    """The module, ready to be run and hooked by one borrower at a time; afterwards as it was.

    Inside, nothing records gradients unless the borrower switches that on.

    Raises:
        ModelError: the model wrote to its own parameters while it ran.
    """
    with _lock(module), torch.inference_mode(False), torch.no_grad(), _straight():
        modules, parameters = list(module.modules()), list(module.parameters())
        remembered = [_remember_flags(parameters)]
        seen: set[int] = set()
        for part in modules:
            _remember(part.__dict__, seen, remembered)
        versions = _versions(parameters)
        try:
            _prepare(modules, parameters)
            yield module
            if versions != _versions(parameters):
                raise ModelError(
                    f"{type(module).__name__} writes to its own parameters when it runs and so cannot be given "
                    "back as it was: pass a copy of it (copy.deepcopy)"
                )
        finally:
            for undo in remembered:
                undo()


@contextmanager
def _straight() -> Iterator[None]:
    """``torch.utils.checkpoint.checkpoint`` runs its function straight, in this thread.

    Models import that function by name, so what it calls is replaced, for as long as anybody here needs it.
    """
    me = threading.get_ident()
    with _locks_guard:
        if not _straight_threads:
            for name, (_, replacement) in _CHECKPOINTS.items():
                setattr(checkpoint, name, replacement)
        _straight_threads.append(me)
    try:
        yield
    finally:
        with _locks_guard:
            _straight_threads.remove(me)
            if not _straight_threads:
                for name, (original, _) in _CHECKPOINTS.items():
                    setattr(checkpoint, name, original)


class _StraightFunction:
    """In place of the reentrant kind."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        if threading.get_ident() in _straight_threads:
            return function(*args)
        return _CHECKPOINTS["CheckpointFunction"][0].apply(function, preserve, *args)


def _straight_generator(original: Callable[..., Any]) -> Callable[..., Any]:
    """In place of the other kind: a generator around the function's call, here of nothing."""

    def generator(*args: Any, **kwargs: Any) -> Iterator[None]:
        if threading.get_ident() in _straight_threads:
            yield
        else:
            yield from original(*args, **kwargs)

    return generator


_straight_threads: list[int] = []
_CHECKPOINTS: dict[str, tuple[Any, Any]] = {
    "CheckpointFunction": (checkpoint.CheckpointFunction, _StraightFunction),
    **{
        name: (value, _straight_generator(value))
        for name, value in vars(checkpoint).items()
        if name.startswith("_checkpoint_without_reentrant_generator")  # the name varies with torch's version
    },
}


def _lock(module: nn.Module) -> threading.RLock:
    with _locks_guard:
        return _locks.setdefault(module, threading.RLock())


def _prepare(modules: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.requires_grad and not parameter.is_inference():
            parameter.requires_grad_(False)
    for part in modules:
        attributes = part.__dict__  # nn.Module.__setattr__ is slow, and none of this needs it
        attributes["training"] = False
        if attributes.get("_compiled_call_impl") is not None:
            attributes["_compiled_call_impl"] = None
        for tensors in (part._parameters, part._buffers):
            _clone_inference(tensors)


def _clone_inference(tensors: dict[str, Any]) -> None:
    """A tensor made under inference mode cannot take part in a graph, its clone can."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.is_inference():
            clone = tensor.clone()
            tensors[name] = (
                nn.Parameter(clone, requires_grad=False) if isinstance(tensor, nn.Parameter) else clone
            )


def _versions(parameters: Sequence[Tensor]) -> list[int]:
    return [0 if parameter.is_inference() else parameter._version for parameter in parameters]


def _remember_flags(parameters: Sequence[nn.Parameter]) -> Undo:
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in parameters]

    def undo() -> None:
        for parameter, requires_grad, gradient in before:
            if parameter.requires_grad is not requires_grad:
                parameter.requires_grad_(requires_grad)
            if parameter.grad is not gradient:
                parameter.grad = gradient

    return undo


def _remember(value: Any, seen: set[int], remembered: list[Undo]) -> None:
    """Append what puts back, in place, a container or tensor and all that it holds."""
    if id(value) in seen:
        return
    if isinstance(value, Tensor):
        # Parameters are watched by version instead; only inference mode writes to an inference tensor.
        if not isinstance(value, nn.Parameter) and not value.is_inference():
            seen.add(id(value))
            remembered.append(partial(_restore_tensor, value, value._version, value.detach().clone()))
        return
    seen.add(id(value))
    inside: Sequence[Any] = ()
    if isinstance(value, dict):
        inside = list(value.values())
        remembered.append(partial(_restore_dict, value, dict(value)))
    elif isinstance(value, (list, set)):
        inside = list(value)
        remembered.append(partial(_restore_collection, value, inside))
    elif isinstance(value, tuple):
        inside = value
    for inner in inside:
        if isinstance(inner, _HOLDERS):
            _remember(inner, seen, remembered)


_HOLDERS = (Tensor, dict, list, set, tuple)


def _restore_tensor(tensor: Tensor, version: int, before: Tensor) -> None:
    if tensor._version != version:
        tensor.detach().copy_(before)


def _restore_dict(value: dict[Any, Any], before: dict[Any, Any]) -> None:
    """Only where it changed, so that another thread never finds it empty."""
    if list(map(id, value.values())) == list(map(id, before.values())) and list(value) == list(before):
        return
    for key in [key for key in value if key not in before]:
        del value[key]
    value.update(before)
    if list(value) != list(before):  # an entry was removed and came back at the end
        value.clear()
        value.update(before)


def _restore_collection(value: list[Any] | set[Any], before: list[Any]) -> None:
    if list(map(id, value)) == list(map(id, before)):
        return
    value.clear()
    (value.extend if isinstance(value, list) else value.update)(before)
