"""The user's module, lent and given back: the one context manager through which anything here runs a model.

While lent, the module is in evaluation mode and its parameters record no gradients; compiled code, gradient
checkpoints and the user's hooks on gradients are put aside. When it comes back, also after an error,
everything is as it was: modes, hooks, flags, ``.grad``, buffers, forwards that were set on instances, and the
tensors and containers in plain attributes (some models cache attention biases there in evaluation mode).
Parameters are not copied: a model that writes to them while it runs is reported.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camlucida.errors import ModelError
from camlucida.snapshot import remember
from camlucida.straight import straight

Undo = Callable[[], None]

# Flags of timm and transformers under which a model calls its parts in another way.
_CHECKPOINT_FLAGS = ("grad_checkpointing", "gradient_checkpointing")
_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")

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
    with lock(module), torch.inference_mode(False), torch.no_grad(), straight():
        modules, parameters = list(module.modules()), list(module.parameters())
        snapshot = remember([part.__dict__ for part in modules])
        put_back_flags = _remember_flags(parameters)
        versions = _versions(parameters)
        try:
            _prepare(modules, parameters)
            if snapshot.inference or any(parameter.is_inference() for parameter in parameters):
                _clone_inference(snapshot.containers)
            yield module
            if versions != _versions(parameters):
                raise ModelError(
                    f"{type(module).__name__} writes to its own parameters when it runs and so cannot be given "
                    "back as it was: pass a copy of it (copy.deepcopy)"
                )
        finally:
            snapshot.put_back()
            put_back_flags()


def lock(module: nn.Module) -> threading.RLock:
    """Whoever holds it is the only one to borrow the module."""
    with _locks_guard:
        return _locks.setdefault(module, threading.RLock())


def _prepare(modules: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.requires_grad and not parameter.is_inference():
            parameter.requires_grad_(False)
    for part in modules:
        if isinstance(part, torch.jit.ScriptModule) and part.training:
            raise ModelError("this model has a TorchScript part in training mode: call model.eval() first")
        attributes = part.__dict__  # nn.Module.__setattr__ is slow, and none of this needs it
        attributes["training"] = False
        for flag in _CHECKPOINT_FLAGS:
            if attributes.get(flag):
                attributes[flag] = False
        for hooks in _BACKWARD_HOOKS:
            if attributes.get(hooks):
                attributes[hooks] = OrderedDict()


def _clone_inference(containers: Sequence[Any]) -> None:
    """A tensor made under inference mode cannot take part in a graph, its clone can."""
    for container in containers:
        keyed = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in list(keyed):
            if isinstance(value, Tensor) and value.is_inference():
                clone = value.clone()
                parameter = isinstance(value, nn.Parameter)
                container[key] = nn.Parameter(clone, requires_grad=False) if parameter else clone


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
