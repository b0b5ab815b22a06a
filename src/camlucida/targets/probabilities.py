"""Whether the numbers that a model returns are probabilities, or what makes them such."""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from camlucida.errors import OptionError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Array = np.ndarray[Any, Any]

# "auto" sees for itself; "none" says that there are no probabilities, but scores or an embedding.
Activation = Literal["auto", "softmax", "sigmoid", "none"]
Rule = Literal["as they are", "softmax", "sigmoid"]  # how probabilities are made of outputs
ACTIVATIONS: tuple[Activation, ...] = ("auto", "softmax", "sigmoid", "none")

_LAST = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}  # by autograd's names
# Operations that hand values on, after which the activation is looked for further down.
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
_SUM = 1e-2  # what half precision may leave between 1 and a sum of probabilities


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
    """The activation that autograd's graph of ``outputs`` ends in; None where there is none or no graph."""
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
    """How probabilities are made of such outputs (batch, classes); None where nobody can say.

    Numbers that lie in [0, 1] and sum to 1 are probabilities already, and so is what a sigmoid returned
    (``last``, see ``last_activation``). Others in [0, 1] may be anything: a made-up probability is none.
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
    """Outputs (batch, classes) as an array; those on a device are copied once for all targets."""
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
    """The probability of each class, (batch, classes), that ``rule`` makes of outputs."""
    if rule == "as they are":
        return outputs
    return outputs.softmax(dim=1) if rule == "softmax" else outputs.sigmoid()


def log_by_rule(outputs: Tensor, rule: Rule) -> Tensor:
    """The logarithm of that, exact where the probability itself would round to 0."""
    if rule == "softmax":
        return outputs.log_softmax(dim=1)
    if rule == "sigmoid":
        return -(-outputs).logaddexp(outputs.new_zeros(()))
    return outputs.clamp(min=1e-30).log()


def probabilities(outputs: Tensor, activation: Activation = "auto", last: str | None = None) -> Tensor | None:
    """Of each class, (batch, classes), from what the model returns; None where nobody can say (``rule_of``)."""
    rule = rule_of(outputs, activation, last)
    return None if rule is None else by_rule(outputs.detach().float(), rule)
