"""Targets: the number that a map explains, computed from the logits.

A target *binds* to the logits of one picture from the plain forward pass, before any noise, view or mask. The
bound target is a callable ``logits (batch, classes) -> (batch,)``; methods use its value and gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from camlucida.errors import CamlucidaError, TargetError, setting
from camlucida.targets.class_names import absent
from camlucida.targets.probabilities import Activation, Rule, by_rule, last_activation, on_host, rule_of

if TYPE_CHECKING:
    from torch import Tensor


class Target(Protocol):
    """Anything with ``bind``; the ready-made ones are below."""

    def bind(self, outputs: Tensor, row: int) -> Bound: ...


class Bound(Protocol):
    """A target fixed for one picture; ``index`` is its class, or None if it is not about a single class."""

    @property
    def index(self) -> int | None: ...

    def __call__(self, outputs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ClassScore:
    """The logit of class ``index``, given by its index or its name."""

    index: Any

    def bind(self, outputs: Tensor, row: int) -> ClassScore:
        _check(self.index, outputs)
        return self

    def __call__(self, outputs: Tensor) -> Tensor:
        return outputs[:, self.index]


@dataclass(frozen=True)
class TopClass:
    """The logit of the class that scores highest on the plain picture, or second highest for ``rank`` 2."""

    rank: int = 1

    def bind(self, outputs: Tensor, row: int) -> ClassScore:
        _check(0, outputs)
        if not 1 <= self.rank <= outputs.shape[1]:
            raise TargetError(f"this model has {outputs.shape[1]} classes, so there is no rank {self.rank}")
        return ClassScore(int((-on_host(outputs)[row]).argsort(kind="stable")[self.rank - 1]))


@dataclass(frozen=True)
class ClassProbability:
    """The probability of class ``index``, given by its index or its name.

    Its gradient vanishes where the model is certain. ``activation`` turns the model's outputs into
    probabilities; "auto" takes the Explainer's setting, or infers it from the outputs.
    """

    index: Any
    activation: Activation = "auto"
    rule: Rule | None = None

    def bind(self, outputs: Tensor, row: int) -> ClassProbability:
        _check(self.index, outputs)
        rule = rule_of(on_host(outputs)[row : row + 1], self.activation, last_activation(outputs))
        if rule is None:
            raise TargetError(
                "cannot tell whether this model's outputs are probabilities: say how they become probabilities "
                f"({setting('activation', 'softmax')}, or sigmoid), or explain the score (ClassScore)"
            )
        return replace(self, rule=rule)

    def __call__(self, outputs: Tensor) -> Tensor:
        return by_rule(outputs, self.rule or "softmax")[:, self.index]


@dataclass(frozen=True)
class Contrast:
    """Why class ``index`` and not class ``other``: the difference of their logits. Both by index or name."""

    index: Any
    other: Any

    def bind(self, outputs: Tensor, row: int) -> Contrast:
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

    def bind(self, outputs: Tensor, row: int) -> Custom:
        return self

    def __call__(self, outputs: Tensor) -> Tensor:
        with self._blamed(outputs):
            score = self.function(outputs)
        shape = getattr(score, "shape", None)
        if shape != outputs.shape[:1]:
            raise TargetError(
                f"a target turns logits {tuple(outputs.shape)} into one number per picture, shape "
                f"{tuple(outputs.shape[:1])}, but this one gave "
                f"{type(score).__name__ if shape is None else tuple(shape)}: "
                "return for example `logits[:, 3]`"
            )
        return score

    @contextmanager
    def _blamed(self, outputs: Tensor) -> Iterator[None]:
        """Turn an error of the user's function into one that says what it was given."""
        try:
            yield
        except CamlucidaError:
            raise
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise TargetError(
                f"a target's function gets outputs {tuple(outputs.shape)} and returns one number per picture, "
                f"but this one raised {type(error).__name__} ({error}): write for example `outputs @ reference`"
            ) from error


@dataclass(frozen=True)
class PerPicture:
    """One target per picture, in the order of the pictures."""

    targets: Sequence[Any]

    def of(self, count: int) -> Sequence[Any]:
        """The targets, of which there must be ``count``."""
        if len(self.targets) != count:
            raise TargetError(
                f"PerPicture needs a target for each picture, got {len(self.targets)} for {count} pictures"
            )
        return self.targets


def _check(index: int, outputs: Tensor) -> None:
    if outputs.ndim != 2:
        raise TargetError(
            f"this model returns {tuple(outputs.shape)}, which is more than one score per class: give a target "
            "that reduces it to one number each, such as `lambda outputs: outputs[:, 3].mean(dim=(1, 2))`"
        )
    classes = outputs.shape[1]
    if not 0 <= index < classes:
        raise TargetError(absent(index, classes))
