"""Whether a model returns probabilities, or what turns its outputs into them."""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from camlucida.errors import OptionError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Array = np.ndarray[Any, Any]

# "auto" infers it; "none" says that the outputs are scores or an embedding without probabilities.
Activation = Literal["auto", "softmax", "sigmoid", "none"]
Rule = Literal["as they are", "softmax", "sigmoid"]  # how outputs become probabilities
ACTIVATIONS: tuple[Activation, ...] = ("auto", "softmax", "sigmoid", "none")

_LAST = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}  # by autograd's names
# Operations that pass values on: the search for the activation continues behind them.
_HANDED = (
    "View",
    "UnsafeView",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Slice",
    "Alias",
    "Clone",
    "ToCopy",
)
_SUM = 1e-2  # how far a sum of probabilities in half precision may be from 1


def checked_activation(name: Any) -> Activation:
    """``name``, if it is one of ACTIVATIONS.

    Raises:
        OptionError: it is not.
    """
    if name not in ACTIVATIONS:
        raise OptionError(
            unknown_name("activation", str(name), list(ACTIVATIONS), f"it is {', '.join(ACTIVATIONS)}")
        )
    known: Activation = name
    return known


def last_activation(outputs: Tensor) -> str | None:
    """The activation in which the autograd graph of ``outputs`` ends, or None."""
    node: Any = outputs.grad_fn
    while node is not None:
        name = type(node).__name__.partition("Backward")[0].lstrip("_")
        if name in _LAST:
            return _LAST[name]
        if name not in _HANDED or not node.next_functions:
            return None
        node = node.next_functions[0][0]
    return None


def rule_of(outputs: Tensor | Array, activation: Activation = "auto", last: str | None = None) -> Rule | None:
    """How outputs (batch, classes) become probabilities, or None if that is unknown.

    Numbers in [0, 1] that sum to 1 are probabilities already, and so are those that a sigmoid returned
    (``last``, see ``last_activation``). Other numbers in [0, 1] may be anything, so they get no probability.
    """
    values: Any = outputs if hasattr(outputs, "__array_interface__") else on_host(outputs)
    if activation == "none" or values.ndim != 2:
        return None
    within = is_within(values)
    if activation == "sigmoid":
        return "as they are" if within and last == "sigmoid" else "sigmoid"
    sums = within and values.shape[1] > 1 and bool((abs(values.sum(axis=1) - 1) <= _SUM).all())
    if sums or (activation == "auto" and last == "sigmoid"):
        return "as they are"
    if activation == "auto" and (values.shape[1] == 1 or within):
        return None
    return "softmax"


def is_within(outputs: Tensor | Array) -> bool:
    """Whether all numbers lie in [0, 1], so that they may be probabilities."""
    values: Any = outputs if hasattr(outputs, "__array_interface__") else on_host(outputs)
    return bool(((values >= 0) & (values <= 1)).all())


def on_host(outputs: Tensor) -> Array:
    """Outputs (batch, classes) as an array, copied from a device once for all targets."""
    import torch

    found: Array | None = _copies().get(outputs)
    if found is not None:
        return found
    plain = outputs.detach()
    array: Array = (plain if plain.dtype is torch.float64 else plain.float()).cpu().numpy()
    if outputs.device.type != "cpu":
        _copies()[outputs] = array
    return array


@cache
def _copies() -> MutableMapping[Tensor, Array]:
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


def by_rule(outputs: Tensor, rule: Rule) -> Tensor:
    """The probability of each class (batch, classes), from outputs by ``rule``."""
    if rule == "as they are":
        return outputs
    return outputs.softmax(dim=1) if rule == "softmax" else outputs.sigmoid()


def log_by_rule(outputs: Tensor, rule: Rule) -> Tensor:
    """The logarithm of ``by_rule``, exact where the probability would round to 0."""
    if rule == "softmax":
        return outputs.log_softmax(dim=1)
    if rule == "sigmoid":
        return -(-outputs).logaddexp(outputs.new_zeros(()))
    return outputs.clamp(min=1e-30).log()


def probabilities(outputs: Tensor, activation: Activation = "auto", last: str | None = None) -> Tensor | None:
    """The probability of each class (batch, classes), or None if it is unknown (``rule_of``)."""
    rule = rule_of(outputs, activation, last)
    return None if rule is None else by_rule(outputs.detach().float(), rule)
