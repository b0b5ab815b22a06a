"""Targets that methods derive from the one they are given."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from camlucida.errors import OptionError, TargetError, unknown_name
from camlucida.targets.base import ClassScore
from camlucida.targets.probabilities import Activation, Rule, last_activation, log_by_rule, on_host, rule_of

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.targets.base import Bound, Target


@dataclass(frozen=True)
class Finer:
    """What distinguishes the class of ``target`` from the classes most like it (Finer-CAM).

    The logit of the class minus ``alpha`` times the mean logit of the ``references`` other classes whose logits
    are nearest to it; the lower index goes first where two are equally near.

    alpha: weight of the similar classes that is subtracted, 0 for none
    references: how many similar classes to compare with
    """

    target: Target
    _: KW_ONLY
    alpha: float = 0.6
    references: int = 3

    def bind(self, outputs: Tensor, row: int) -> Margin:
        bound = self.target.bind(outputs, row)
        if not isinstance(bound, ClassScore):
            raise TargetError(
                f"finercam compares the logits of classes, got {type(bound).__name__}: "
                "give a class, or another method"
            )
        if self.references < 1 or outputs.shape[1] < 2:
            raise TargetError(
                f"finercam compares with at least one other class, got {self.references} of "
                f"{outputs.shape[1] - 1}: set references to 1 or more"
            )
        scores = on_host(outputs)[row]
        order = abs(scores - scores[bound.index]).argsort(kind="stable").tolist()
        nearest = [index for index in order if index != bound.index]
        return Margin(bound.index, tuple(nearest[: self.references]), self.alpha)


@dataclass(frozen=True)
class Margin:
    """The logit of class ``index`` minus ``alpha`` times the mean logit of the classes ``others``."""

    index: int
    others: tuple[int, ...]
    alpha: float

    def __call__(self, outputs: Tensor) -> Tensor:
        return outputs[:, self.index] - self.alpha * outputs[:, list(self.others)].mean(dim=1)


@dataclass(frozen=True)
class Residual:
    """A class's logit plus the logarithm of its probability (ReST), where ``target`` is the logit of a class.

    Any other target stays as it is. ``activation`` turns the model's outputs into probabilities; if it cannot
    be inferred, softmax is used as in the paper.

    utility: rest adds the logarithm of the probability to the logit of a class, target uses the target as it is
    """

    target: Target
    activation: Activation = "auto"
    _: KW_ONLY
    utility: str = "rest"

    def bind(self, outputs: Tensor, row: int) -> Bound:
        if self.utility not in ("rest", "target"):
            raise OptionError(unknown_name("utility", self.utility, ["rest", "target"], "it is rest or target"))
        bound = self.target.bind(outputs, row)
        if self.utility == "rest" and isinstance(bound, ClassScore):
            rule = (
                rule_of(on_host(outputs)[row : row + 1], self.activation, last_activation(outputs)) or "softmax"
            )
            return ResidualScore(bound.index, rule)
        return bound


@dataclass(frozen=True)
class ResidualScore:
    """The output of class ``index`` plus the logarithm of its probability by ``rule``."""

    index: int
    rule: Rule = "softmax"

    def __call__(self, outputs: Tensor) -> Tensor:
        return outputs[:, self.index] + log_by_rule(outputs, self.rule)[:, self.index]
