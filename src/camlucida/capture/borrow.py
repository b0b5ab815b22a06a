"""Borrow the user's module and give it back: everything that runs a model goes through ``borrowed``.

While borrowed, the module is in evaluation mode and its parameters record no gradients; compiled code, gradient
checkpoints and the user's hooks on gradients are put aside. When it comes back, also after an error or Ctrl-C,
everything is as it was: modes, hooks, flags, ``.grad``, buffers, forwards that were set on instances, random
states, and what ``snapshot`` remembers of plain attributes (some models cache attention biases there in
evaluation mode). Parameters are not copied: a model that writes to them while it runs is reported.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from camlucida.capture import borrow_lock
from camlucida.capture.eager import eager_execution
from camlucida.capture.extra_inputs import add_extra_inputs, has_extra_inputs
from camlucida.capture.interrupts import interrupts_deferred
from camlucida.capture.model_errors import copied_hint, refuse_lazy
from camlucida.capture.random_states import RandomWatch
from camlucida.capture.snapshot import Snapshot, remember
from camlucida.errors import ModelError

Undo = Callable[[], None]

# Flags of timm and transformers under which a model calls its parts in another way.
_CHECKPOINT_FLAGS = ("grad_checkpointing", "gradient_checkpointing")
_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")

_loans: list[_Loan] = []  # in the order in which they began


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside ``torch.compile`` and DataParallel wrappers, which hide it from hooks."""
    while True:
        parallel = isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        inner = module.module if parallel else getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


@contextmanager
def borrowed(module: nn.Module) -> Iterator[nn.Module]:
    """Borrow the module: ready to be run and hooked inside, afterwards exactly as it was.

    Inside, nothing records gradients unless the borrower switches that on. Borrowed again in the same thread,
    it is passed on. Each step of giving back is done twice, since an interrupt may end the first one.

    Raises:
        ModelError: the model wrote to its own parameters while it ran, or something could not be put back.
    """
    with borrow_lock.exclusive():
        if any(loan.module is module for loan in _loans):  # by this thread, which has the lock
            with torch.inference_mode(False), torch.no_grad():
                yield module
            return
        loan = _Loan(module, torch.is_grad_enabled())
        try:
            try:
                with torch.inference_mode(False), torch.no_grad():
                    _loans.append(loan)
                    with eager_execution(loan.parts):
                        loan.take()
                        yield module
                        loan.check_parameters()
            finally:
                loan.give_back()
        finally:
            loan.give_back()
        loan.check_errors()


@dataclass(eq=False)
class _Loan:
    """The state of a borrowed module, and everything that restores it."""

    module: nn.Module
    grad_mode: bool
    cudnn: bool = field(default_factory=lambda: torch.backends.cudnn.enabled)
    parts: list[nn.Module] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)
    put_back_flags: Sequence[Undo] = ()
    random: RandomWatch | None = None
    snapshot: Snapshot = field(default_factory=Snapshot)
    versions: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parts, self.parameters = list(self.module.modules()), list(self.module.parameters())
        refuse_lazy(self.module)

    def take(self) -> None:
        """Remember everything, then make the module ready: in that order, so that all of it can be undone."""
        self.random = RandomWatch(self.module)
        self.put_back_flags = [_remembered_flags(parameter) for parameter in self.parameters]
        caches: list[Any] = [parametrize._cache] if parametrize._cache_enabled else []
        self.snapshot = remember([*(part.__dict__ for part in self.parts), *caches], self.parts)
        self.versions = _versions(self.parameters)
        _prepare(self.parts, self.parameters)
        if self.snapshot.inference or any(parameter.is_inference() for parameter in self.parameters):
            _clone_inference(self.snapshot.containers)
        self.random.watch(in_this_thread)
        if has_extra_inputs(self.module):
            add_extra_inputs(self.module)
        for part in self.parts:
            if isinstance(part, nn.RNNBase):
                _without_cudnn(part)

    def check_parameters(self) -> None:
        """Refuse a model that has written to its parameters.

        Raises:
            ModelError: it has.
        """
        if self.versions != _versions(self.parameters):
            raise ModelError(
                f"{type(self.module).__name__} writes to its own parameters when it runs and so cannot be "
                f"given back as it was: {copied_hint()}"
            )

    def give_back(self) -> None:
        """Flags first, then each item by itself; again, it touches only what is still not as it was."""
        with interrupts_deferred():
            torch.set_grad_enabled(self.grad_mode)
            if torch.backends.cudnn.enabled is not self.cudnn:
                torch.backends.cudnn.enabled = self.cudnn
            if self not in _loans:
                return
            errors: list[Exception] = []
            for undo in (*self.put_back_flags, *([self.random.put_back] if self.random else ())):
                try:
                    undo()
                except Exception as error:  # noqa: BLE001 - told in check_errors, once all the rest is put back
                    errors.append(error)
            errors += self.snapshot.put_back()
            self.errors = errors
            _loans.remove(self)

    def check_errors(self) -> None:
        """Report what could not be restored.

        Raises:
            ModelError: there is such a thing.
        """
        if self.errors:
            told = "; ".join(dict.fromkeys(f"{type(error).__name__}: {error}" for error in self.errors))
            raise ModelError(
                f"{type(self.module).__name__} changes something of its own when it runs that cannot be put "
                f"back ({told}), all else is as it was: {copied_hint()}"
            ) from self.errors[0]


def in_this_thread(
    hook: Callable[..., Any], elsewhere: Callable[..., Any] = lambda *_, **__: None
) -> Callable[..., Any]:
    """The hook, restricted to calls in this thread.

    Other threads may run the borrowed module too, and get ``elsewhere``: without it, as if there were no hook.
    """
    thread = threading.get_ident()

    def guarded(*args: Any, **kwargs: Any) -> Any:
        return (hook if threading.get_ident() == thread else elsewhere)(*args, **kwargs)

    return guarded


def _prepare(parts: Sequence[nn.Module], parameters: Sequence[nn.Parameter]) -> None:
    for part in parts:
        if isinstance(part, torch.jit.ScriptModule) and getattr(part, "training", False):
            raise ModelError("this model has a TorchScript part in training mode: run eval() on it first")
    for parameter in parameters:
        if parameter.requires_grad and not parameter.is_inference():
            parameter.requires_grad_(False)
    for part in parts:
        attributes = part.__dict__  # nn.Module.__setattr__ is slow, and none of this needs it
        attributes["training"] = False
        for flag in _CHECKPOINT_FLAGS:
            if attributes.get(flag):
                attributes[flag] = False
        for hooks in _BACKWARD_HOOKS:
            if attributes.get(hooks):
                attributes[hooks] = OrderedDict()


def _without_cudnn(part: nn.RNNBase) -> None:
    """Run a recurrent network without cuDNN, whose backward works in training mode alone."""

    def before(*_: Any) -> None:
        torch.backends.cudnn.enabled = False

    before_it = torch.backends.cudnn.enabled

    def after(*_: Any) -> None:
        torch.backends.cudnn.enabled = before_it

    part.register_forward_pre_hook(in_this_thread(before))
    part.register_forward_hook(in_this_thread(after))


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


def _remembered_flags(parameter: nn.Parameter) -> Undo:
    requires_grad, gradient = parameter.requires_grad, parameter.grad

    def undo() -> None:
        if parameter.requires_grad is not requires_grad:
            parameter.requires_grad_(requires_grad)
        if parameter.grad is not gradient:
            parameter.grad = gradient

    return undo


def _after_fork() -> None:
    """In a forked child no other thread continues: restore what they had borrowed, and free the lock."""
    for loan in _loans:
        loan.give_back()
    borrow_lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
