"""What is explained: a number made from the logits, fixed once from the plain forward.

A target *binds* to one picture's logits before any noise, view or mask, and what it binds to is a
callable ``logits (batch, classes) -> (batch,)`` whose gradient and value the methods use.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, SupportsIndex

from camlucida.errors import TargetError, one_of
from camlucida.wnids import class_of, is_wnid

if TYPE_CHECKING:
    from torch import Tensor

_LISTED = 12  # candidates shown when a name fits several classes


class Target(Protocol):
    """Anything with ``bind``; the ready ones are below."""

    def bind(self, outputs: Tensor, picture: int) -> Bound: ...


class Bound(Protocol):
    """A target fixed for one picture; ``index`` is the class it speaks of, None if of no single one."""

    @property
    def index(self) -> int | None: ...

    def __call__(self, outputs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ClassScore:
    """The logit of class ``index``."""

    index: int

    def bind(self, outputs: Tensor, picture: int) -> ClassScore:
        _check(self.index, outputs)
        return self

    def __call__(self, outputs: Tensor) -> Tensor:
        return outputs[:, self.index]


@dataclass(frozen=True)
class TopClass:
    """The logit of whichever class scores highest on the plain picture."""

    def bind(self, outputs: Tensor, picture: int) -> ClassScore:
        index = int(outputs[picture].argmax())
        _check(index, outputs)
        return ClassScore(index)


@dataclass(frozen=True)
class ClassProbability:
    """The softmax probability of class ``index``; its gradient vanishes where the model is certain."""

    index: int

    def bind(self, outputs: Tensor, picture: int) -> ClassProbability:
        _check(self.index, outputs)
        return self

    def __call__(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(dim=1)[:, self.index]


@dataclass(frozen=True)
class Contrast:
    """Why class ``index`` and not class ``other``: the difference of their logits."""

    index: int
    other: int

    def bind(self, outputs: Tensor, picture: int) -> Contrast:
        _check(self.index, outputs)
        _check(self.other, outputs)
        return self

    def __call__(self, outputs: Tensor) -> Tensor:
        return outputs[:, self.index] - outputs[:, self.other]


@dataclass(frozen=True)
class Custom:
    """A function of the user's own, ``logits (batch, classes) -> (batch,)``."""

    function: Callable[[Tensor], Tensor]
    index: None = None

    def bind(self, outputs: Tensor, picture: int) -> Custom:
        return self

    def __call__(self, outputs: Tensor) -> Tensor:
        score = self.function(outputs)
        shape = getattr(score, "shape", None)
        if shape != outputs.shape[:1]:
            raise TargetError(
                f"a target turns logits {tuple(outputs.shape)} into one number a picture, shape "
                f"{tuple(outputs.shape[:1])}, but this one gave "
                f"{type(score).__name__ if shape is None else tuple(shape)}: "
                "return for example `logits[:, 3]`"
            )
        return score


@dataclass(frozen=True)
class PerPicture:
    """A target of its own for each picture, in the order of the pictures."""

    targets: Sequence[Any]

    def of(self, count: int) -> Sequence[Any]:
        """The targets, if there is one for each of ``count`` pictures."""
        if len(self.targets) != count:
            raise TargetError(
                f"PerPicture needs a target for each picture, got {len(self.targets)} for {count} pictures"
            )
        return self.targets


def resolve(target: Any, labels: Sequence[str] | None) -> Target:
    """The target meant by None (top class), an index, a class name or part of one, a Target or a callable.

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
        text = target.strip()
        return ClassScore(int(text) if text.isdecimal() else find_class(text, labels))
    if hasattr(target, "bind"):
        bindable: Target = target
        return bindable
    if callable(target):
        return Custom(target)
    raise TargetError(
        f"a target is a class index, a class name, a Target or a callable, got {type(target).__name__}"
    )


def for_pictures(target: Any, labels: Sequence[str] | None, count: int) -> list[Target]:
    """The target of each of ``count`` pictures: one for all, or each its own."""
    if isinstance(target, PerPicture):
        return [resolve(one, labels) for one in target.of(count)]
    return [resolve(target, labels)] * count


def find_class(name: str, labels: Sequence[str] | None) -> int:
    """The index of the class called ``name``: a whole name wins over a part of one."""
    if not labels:
        raise TargetError(f"this model has no class names to look {name!r} up in: give the class by its index")
    if is_wnid(name):
        return class_of(name, labels)
    wanted = name.lower()
    whole = [i for i, label in enumerate(labels) if wanted in _names(label)]
    found = whole or [i for i, label in enumerate(labels) if wanted and wanted in label.lower()]
    if len(found) == 1:
        return found[0]
    if not found:
        known = [part for label in labels for part in _names(label)]
        raise TargetError(one_of("class", name, known, "give a part of its name, or its index"))
    listed = ", ".join(f"{i} {labels[i]}" for i in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise TargetError(f"class {name!r} fits {len(found)} classes, name one or give its index: {listed}{more}")


def _names(label: str) -> list[str]:
    """ImageNet labels are synonyms with commas between: each is a name, and so is the whole."""
    return [label.lower(), *(part.strip().lower() for part in label.split(","))]


def _check(index: int, outputs: Tensor) -> None:
    if outputs.ndim != 2:
        raise TargetError(
            f"this model returns {tuple(outputs.shape)}, which is more than a score a class: give a target "
            "that makes one number a picture of it, such as `lambda outputs: outputs[:, 3].mean(dim=(1, 2))`"
        )
    classes = outputs.shape[1]
    if not 0 <= index < classes:
        raise TargetError(f"class index {index} does not exist, this model has classes 0 to {classes - 1}")
