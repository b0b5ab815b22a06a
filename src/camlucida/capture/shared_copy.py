"""A copy of a module that shares its weights: for models that other threads train or serve meanwhile."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from camlucida.capture.model_errors import refuse_lazy
from camlucida.errors import ModelError


def shared_copy(module: nn.Module) -> nn.Module:
    """A copy with parameters in the same memory and buffers of its own, in evaluation mode and frozen.

    Raises:
        ModelError: the module cannot be copied, or has lazy layers that have never run.
    """
    refuse_lazy(module)
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.data, requires_grad=False) for parameter in module.parameters()
    }
    try:
        copied = copy.deepcopy(module, memo)
    except Exception as error:  # the module's own code
        raise ModelError(
            f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}): leave copy=True out, "
            "and let no other thread use the model meanwhile"
        ) from error
    return copied.eval()


def refresh(copied: nn.Module, module: nn.Module) -> None:
    """What has changed in the module since: weights that lie elsewhere now, and the values of buffers."""
    for own, theirs in zip(copied.parameters(), module.parameters(), strict=True):
        own.data = theirs.data
    theirs_by_name = dict(module.named_buffers())
    for name, buffer in copied.named_buffers():
        _follow(buffer, theirs_by_name.get(name))


def _follow(buffer: Tensor, theirs: Tensor | None) -> None:
    if theirs is not None:
        buffer.data = theirs.detach().clone()
