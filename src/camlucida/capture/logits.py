"""The logits in what a classifier returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from camlucida.errors import ModelError, spoken

if TYPE_CHECKING:
    from torch import Tensor


def logits_of(output: Any) -> Tensor:
    """The logits (batch, classes) in what a classifier returns.

    That is a tensor, or in a tuple, list, dict, ModelOutput or other record what is called ``logits``, else its
    only floating tensor of two axes. One number a picture, (batch,) or () for one alone, counts as one class.

    Raises:
        ModelError: there are none, or several that may be meant.
    """
    import torch

    if isinstance(output, torch.Tensor):
        return _two_axes(output, "")
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, torch.Tensor):
        return _two_axes(named, " as its logits")
    tensors = {id(tensor): (path, tensor) for path, tensor in _tensors(output, "", _NESTED)}.values()
    for axes in (2, 1):
        fitting = [(path, one) for path, one in tensors if one.ndim == axes and one.is_floating_point()]
        if len(fitting) == 1:
            return _two_axes(fitting[0][1], "")
        if fitting:
            offered = " and ".join(f"{path} {tuple(one.shape)}" for path, one in fitting)
            raise ModelError(
                f"a classifier returns logits (batch, classes), and here {offered} may be meant: {_own_way()}"
            )
    raise _no_logits(type(output).__name__ if not tensors else _listed(tensors))


def logits_by(function: Callable[[Any], Any]) -> Callable[[Any], Tensor]:
    """The user's own ``logits_of``, with its result checked."""
    return partial(_chosen, function)  # which can be pickled


def _chosen(function: Callable[[Any], Any], output: Any) -> Tensor:
    import torch

    logits = function(output)
    if not isinstance(logits, torch.Tensor):
        raise ModelError(f"logits_of returns a tensor (batch, classes), got {type(logits).__name__}")
    return _two_axes(logits, " by logits_of")


def _own_way() -> str:
    """Advice on how to say where the logits are."""
    wrapped = "wrap it in a module whose forward returns them"
    return spoken(
        f"{wrapped} (`--model file.py:factory`)",
        f"{wrapped}, or say where they are by Explainer(model, logits_of=lambda output: …)",
    )


def check_rows(logits: Tensor, pictures: int) -> None:
    """Refuse logits of another number of pictures than the model was given: then the first axis is another.

    Raises:
        ModelError: their numbers differ.
    """
    if len(logits) != pictures:
        raise ModelError(
            f"a classifier returns logits (batch, classes), this model returns {len(logits)} rows for "
            f"a batch of {pictures}: keep the axis of the batch, or "
            f"{_own_way()}"
        )


_NESTED = 3  # how deep logits are looked for in what a model returns


def _tensors(output: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested containers and records, with the way to it as one would write it."""
    import torch

    if isinstance(output, torch.Tensor):
        yield f"output{path}", output
    elif depth:
        for step, one in _steps_into(output):
            yield from _tensors(one, path + step, depth - 1)


def _steps_into(output: Any) -> list[tuple[str, Any]]:
    if isinstance(output, Mapping):
        return [(f"[{key!r}]", one) for key, one in output.items()]
    if isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", None)  # a namedtuple's
        return [(f".{names[i]}" if names else f"[{i}]", one) for i, one in enumerate(output)]
    return [(f".{name}", one) for name, one in getattr(output, "__dict__", {}).items()]


def _two_axes(logits: Tensor, what: str) -> Tensor:
    """Logits as (batch, classes): (batch,) and () are one class, axes of length 1 behind the classes go."""
    if not logits.is_floating_point():
        raise _no_logits(f"{str(logits.dtype).removeprefix('torch.')} {tuple(logits.shape)}{what}")
    if logits.ndim < 2:
        return logits.reshape(-1, 1)
    if any(length != 1 for length in logits.shape[2:]):
        raise _no_logits(f"a tensor {tuple(logits.shape)}{what}")
    return logits.flatten(1) if logits.ndim > 2 else logits


def _listed(tensors: Iterable[tuple[str, Tensor]]) -> str:
    return ", ".join(f"{path} {tuple(one.shape)}" for path, one in tensors)


def _no_logits(came: str) -> ModelError:
    return ModelError(f"a classifier returns logits (batch, classes), this model returns {came}: {_own_way()}")
