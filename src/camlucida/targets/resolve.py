"""Make targets of an index, a name or a callable."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

from camlucida.errors import TargetError
from camlucida.targets.base import (
    Bound,
    ClassProbability,
    ClassScore,
    Contrast,
    Custom,
    PerPicture,
    Target,
    TopClass,
)
from camlucida.targets.class_names import index_of, short_name
from camlucida.targets.probabilities import Activation


def resolve(target: Any, labels: Sequence[str] | None, activation: Activation = "auto") -> Target:
    """The target that None (the top class), an index, a name or part of one, a Target or a callable stands for.

    The text "A - B" is the contrast of two classes, unless a class has that name; ``index_of`` reads other
    texts. ``activation`` turns the model's outputs into probabilities.

    Raises:
        TargetError: no class, or more than one, has such a name.
    """
    if target is None:
        return TopClass()
    if isinstance(target, bool):
        raise TargetError("a target is a class index, a class name, a Target or a callable, got a bool")
    if isinstance(target, SupportsIndex) and not getattr(target, "shape", ()):
        return ClassScore(operator.index(target))
    if isinstance(target, str):
        return _of_text(target, labels)
    if isinstance(target, (ClassScore, Contrast, ClassProbability)):
        return _with_indices(target, labels, activation)
    if hasattr(target, "bind"):
        bindable: Target = target
        return bindable
    if callable(target):
        return Custom(target)
    if getattr(target, "shape", ()) or isinstance(target, (list, tuple)):
        raise TargetError(
            f"a target is one class, got {type(target).__name__} of several: PerPicture([…]) gives each "
            "picture a target of its own, and a list of targets explains each of them"
        )
    raise TargetError(
        f"a target is a class index, a class name, a Target or a callable, got {type(target).__name__}"
    )


def _of_text(text: str, labels: Sequence[str] | None) -> ClassScore | Contrast:
    """One class, or "A - B"; a class whose own name contains " - " goes first."""
    first, line, second = text.partition(" - ")
    if line and not any(text.strip().lower() in label.lower() for label in labels or ()):
        return Contrast(index_of(first, labels), index_of(second, labels))
    return ClassScore(index_of(text, labels))


def _with_indices(
    target: ClassScore | Contrast | ClassProbability, labels: Sequence[str] | None, activation: Activation
) -> Target:
    """The target with indices in place of names, and the model's activation unless it has its own."""
    found: dict[str, Any] = {"index": _index(target.index, labels)}
    if isinstance(target, Contrast):
        found["other"] = _index(target.other, labels)
    if isinstance(target, ClassProbability) and target.activation == "auto":
        found["activation"] = activation
    return replace(target, **found)


def _index(given: Any, labels: Sequence[str] | None) -> int:
    if isinstance(given, str):
        return index_of(given, labels)
    if isinstance(given, SupportsIndex) and not isinstance(given, bool) and not getattr(given, "shape", ()):
        return operator.index(given)
    raise TargetError(f"a class is given by its index or its name, got {type(given).__name__}")


def target_by_number(
    target: Any, labels: Sequence[str] | None, count: int | None, activation: Activation = "auto"
) -> Callable[[int], Target]:
    """The target of one image by its number: the same for all, or its own of ``count``, if that is known."""
    if not isinstance(target, PerPicture):
        one = resolve(target, labels, activation)
        return lambda _: one
    each = [resolve(one, labels, activation) for one in (target.targets if count is None else target.of(count))]

    def own(number: int) -> Target:
        if number >= len(each):
            PerPicture(each).of(number + 1)  # which raises the error
        return each[number]

    return own


def caption_of(bound: Bound, labels: Sequence[str] | None) -> str:
    """A short caption of a target: its class, both of its classes, or the name of the user's function."""
    if isinstance(bound, Contrast):
        return f"{short_name(bound.index, labels)} − {short_name(bound.other, labels)}"
    if isinstance(bound, ClassProbability):
        return f"probability of {short_name(bound.index, labels)}"
    if bound.index is not None:
        return short_name(bound.index, labels)
    return str(getattr(getattr(bound, "function", None), "__name__", "score")).replace("<lambda>", "score")
