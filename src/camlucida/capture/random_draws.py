"""Whether a model draws random numbers, as opposed to other threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

# What was seen of modules that were run while watched.
_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


class DrawWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, ``drew`` becomes true with the first operation of this thread that draws with torch."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._module = module
        self.drew = False

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()) and not _without_dropout(func, args):
            self.drew = True
        return func(*args, **(kwargs or {}))

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        _known[self._module] = self.drew


def _without_dropout(func: Any, args: Any) -> bool:
    """Attention's kernels could drop weights, and do not in evaluation."""
    attention = "scaled_dot_product" in str(func)
    return attention and not any(isinstance(one, float) and one > 0 for one in args)


def draws(module: nn.Module) -> bool:
    """Whether the module was seen to draw with torch; False where it was never watched."""
    return _known.get(module, False)
