"""What runs a model's code elsewhere or twice is put aside, so that it runs where hooks see it, and once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import checkpoint

_guard = threading.Lock()
_threads: list[int] = []  # those that run straight now, a thread as often as it asked
_stance: list[Any] = []  # torch.compile's, and whether attention takes its fused path, before all this


@contextmanager
def straight() -> Iterator[None]:
    """In this thread checkpoints run their function, and compiled code runs as it was written.

    What ``checkpoint()`` calls is replaced, since models import that function by name, for as long as any
    thread needs it, and acts in those threads alone. In all threads, meanwhile, compiled code runs eagerly
    and ``nn.TransformerEncoder`` does not take its fused path, which bypasses its modules.
    """
    thread = threading.get_ident()
    with _guard:
        if not _threads:
            _stance.append(torch.compiler.set_stance("force_eager"))
            _stance[0].__enter__()
            _stance.append(torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
            for name, (_, replacement) in _CHECKPOINTS.items():
                setattr(checkpoint, name, replacement)
        _threads.append(thread)
    try:
        yield
    finally:
        with _guard:
            _threads.remove(thread)
            if not _threads:
                for name, (original, _) in _CHECKPOINTS.items():
                    setattr(checkpoint, name, original)
                torch.backends.mha.set_fastpath_enabled(_stance.pop())
                _stance.pop().__exit__(None, None, None)


class _StraightFunction:
    """In place of the reentrant kind."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        if threading.get_ident() in _threads:
            return function(*args)
        return _CHECKPOINTS["CheckpointFunction"][0].apply(function, preserve, *args)


def _straight_generator(original: Callable[..., Any]) -> Callable[..., Any]:
    """In place of the other kind: a generator around the function's call, here of nothing."""

    def generator(*args: Any, **kwargs: Any) -> Iterator[None]:
        if threading.get_ident() in _threads:
            yield
        else:
            yield from original(*args, **kwargs)

    return generator


_CHECKPOINTS: dict[str, tuple[Any, Any]] = {
    "CheckpointFunction": (checkpoint.CheckpointFunction, _StraightFunction),
    **{
        name: (value, _straight_generator(value))
        for name, value in vars(checkpoint).items()
        if name.startswith("_checkpoint_without_reentrant_generator")  # the name varies with torch's version
    },
}
