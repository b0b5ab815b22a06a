"""Run a model eagerly: no compiled code, no checkpoints, no fused fast path; hooks then see each call once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import checkpoint

from camlucida.capture.interrupts import interrupts_deferred

# Changed only under ``borrow_lock``, so that they need no lock of their own.
_tokens: set[object] = set()  # one for each time that somebody asked and has not ended
_undo: list[Callable[[], None]] = []  # what puts the process's settings back once nobody does
_here = threading.local()  # its ``tokens`` are this thread's
_FAST_PATHS = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)


@contextmanager
def eager_execution(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Run checkpointed functions directly in this thread, and compiled code eagerly.

    What ``checkpoint()`` calls is replaced, since models import that function by name, for as long as any
    thread needs it, and acts in those threads alone. Two settings are the process's: where anything has been
    compiled, compiled code runs eagerly meanwhile in all threads; and where ``parts``, the model's modules,
    have attention of ``torch.nn``, its fused path, which bypasses modules, is off. Outputs are the same.
    """
    token = object()
    try:
        try:
            _enter(token, any(isinstance(part, _FAST_PATHS) for part in parts))
            yield
        finally:
            _leave(token)
    finally:  # once more, for an interrupt of the first
        _leave(token)


def _enter(token: object, attention: bool) -> None:
    with interrupts_deferred():
        if not _undo:
            for name, (original, replacement) in _CHECKPOINTS.items():
                _undo.append(partial(setattr, checkpoint, name, original))
                setattr(checkpoint, name, replacement)
            if _anything_compiled():
                stances: list[Any] = []
                _undo.append(partial(_leave_stances, stances))
                stances.append(torch.compiler.set_stance("force_eager"))
        if attention and torch.backends.mha.get_fastpath_enabled():
            _undo.append(partial(torch.backends.mha.set_fastpath_enabled, True))
            torch.backends.mha.set_fastpath_enabled(False)
        _tokens.add(token)
        _here.tokens = {*getattr(_here, "tokens", ()), token}


def _leave_stances(stances: list[Any]) -> None:
    for stance in stances:
        stance.__exit__(None, None, None)


def _leave(token: object) -> None:
    with interrupts_deferred():
        _here.tokens = {*getattr(_here, "tokens", ())} - {token}
        _tokens.discard(token)
        while _undo and not _tokens:
            _undo[-1]()
            _undo.pop()


def _forget() -> None:
    """In a forked child no other thread continues: restore the settings."""
    _tokens.clear()
    _leave(object())


def _anything_compiled() -> bool:
    """Whether this process has compiled something, as far as torch tells."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    backends = getattr(compiler, "cached_backends", {0: compiler})  # with an entry of None for no backend
    return compiler is not None and any(one is not None for one in backends.values())


class _EagerFunction:
    """In place of the reentrant kind."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        if getattr(_here, "tokens", None):
            return function(*args)
        return _CHECKPOINTS["CheckpointFunction"][0].apply(function, preserve, *args)


def _eager_generator(original: Callable[..., Any]) -> Callable[..., Any]:
    """In place of the other kind: a generator around the function's call, here of nothing."""

    def generator(*args: Any, **kwargs: Any) -> Iterator[None]:
        if getattr(_here, "tokens", None):
            yield
        else:
            yield from original(*args, **kwargs)

    return generator


_CHECKPOINTS: dict[str, tuple[Any, Any]] = {
    "CheckpointFunction": (checkpoint.CheckpointFunction, _EagerFunction),
    **{
        name: (value, _eager_generator(value))
        for name, value in vars(checkpoint).items()
        if name.startswith("_checkpoint_without_reentrant_generator")  # the name varies with torch's version
    },
}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
