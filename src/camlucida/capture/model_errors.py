"""Errors that a user's model raises, reported with what camlucida ran and in the model's own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from camlucida.errors import CamlucidaError, ModelError, is_out_of_memory, spoken

# What models raise on inputs that they do not take; kinds of the user's own pass through.
ORDINARY = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
VARIANT = "a variant of the picture that this method makes, masked or with noise"
ADVICE = "choose a method that shows the model the picture as it is, such as gradcam"


def copied_hint() -> str:
    """What to do with a model that changes something of its own whenever it runs."""
    return spoken(
        "have it keep what it changes in buffers, or leave that out",
        "pass a copy of it (copy.deepcopy), or Explainer(copy=True) where another thread trains it meanwhile",
    )


@contextmanager
def own_errors(module: nn.Module, shown: str, advice: str) -> Iterator[None]:
    """While entered, what the module raises becomes a ModelError; ``shown`` says what it was run on.

    Exceptions of kinds of the user's own pass through, as an interrupt does.

    Raises:
        ModelError: the module raises one of Python's or torch's ordinary errors.
    """
    try:
        yield
    except CamlucidaError:
        raise
    except ORDINARY as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"{type(module).__name__} raises {type(error).__name__} on {shown} ({error}): {advice}"
        ) from error


def refuse_lazy(module: nn.Module) -> None:
    """Refuse a module whose layers do not know their size yet.

    Raises:
        ModelError: it has such.
    """
    if any(map(nn.parameter.is_lazy, module.parameters())):
        raise ModelError(
            f"{type(module).__name__} has lazy layers that have never run, so that nobody knows their size: "
            "run the model once on an input, then explain it"
        )
