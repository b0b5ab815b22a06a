"""One input of a model and one class: the probability and logit of it, and of variants of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from camlucida.errors import ModelError, TargetError
from camlucida.metrics.variant_scores import RunCount, VariantScores
from camlucida.models.fingerprint import fingerprint
from camlucida.targets.probabilities import Activation, Rule, by_rule, is_within, rule_of

if TYPE_CHECKING:
    from camlucida.pipeline.explainer import Explainer
    from camlucida.types import MakeVariants


class ScoredInput:
    """An input (channels, height, width) and its class: ``target``, or for None the model's top one.

    ``predicted`` is the top class, ``index`` the class, ``probability`` that of it (its score where nobody can
    say what makes probabilities, and then ``is_probability`` is false), ``logits`` are all classes' logits.

    Raises:
        ModelError: the model has a single class.
        TargetError: there is no such class.
    """

    def __init__(
        self, explainer: Explainer, input: Tensor, target: int | None, count: RunCount | None = None
    ) -> None:
        self.explainer, self.input = explainer, input.detach()
        adapter = explainer.adapter
        self._variants = VariantScores(explainer.module, adapter.logits_of, self.input, count or RunCount())
        with explainer.extra_inputs():
            self.logits = self._variants.logits(lambda _: self.input.cpu().float()[None], 1)[0]
        if len(self.logits) < 2:
            raise ModelError("metrics need a model with two classes or more, this one returns a single number")
        self.predicted = int(self.logits.argmax())
        self.index = self.predicted if target is None else target
        if not 0 <= self.index < len(self.logits):
            raise TargetError(
                f"the model has classes 0 to {len(self.logits) - 1}, got {target}: give one of its own"
            )
        self._rule = self._rule_of(adapter.activation)
        self.probability = float(self._scored(self.logits[None])[0])
        self.is_probability = self._rule is not None

    @property
    def logit(self) -> float:
        """The logit of the class."""
        return float(self.logits[self.index])

    @property
    def ranking(self) -> list[int]:
        """The classes by falling logit."""
        ranking: list[int] = self.logits.argsort(descending=True, stable=True).tolist()
        return ranking

    def seed(self, base: int) -> int:
        """A seed for whatever is drawn for this input, another for each input."""
        return base + int.from_bytes(fingerprint(self.input)[:4], "big")

    def score(self, make: MakeVariants, count: int) -> Tensor:
        """The class's probability (count,) for ``count`` variants of the input."""
        with self.explainer.extra_inputs():
            return self._scored(self._variants.logits(make, count))

    def variant_logits(self, make: MakeVariants, count: int) -> Tensor:
        """The class's logit (count,) for ``count`` variants of the input."""
        with self.explainer.extra_inputs():
            return self._variants.logits(make, count)[:, self.index]

    def _rule_of(self, activation: Activation) -> Rule | None:
        """How probabilities are made, decided once by the input as it is, and kept for its variants."""
        last = None
        if activation in ("auto", "sigmoid") and is_within(self.logits):
            with self.explainer.extra_inputs():
                last = self._variants.last_activation()
        return rule_of(self.logits[None], activation, last)

    def _scored(self, outputs: Tensor) -> Tensor:
        """The class's probability, or its score where nobody can say what makes probabilities."""
        return (outputs if self._rule is None else by_rule(outputs, self._rule))[:, self.index]
