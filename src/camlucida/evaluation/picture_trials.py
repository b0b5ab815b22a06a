"""One picture on which maps are tried: what all of its trials share is computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from camlucida.errors import ModelError, TargetError
from camlucida.evaluation.fingerprint import fingerprint
from camlucida.evaluation.scorer import Count, Scorer
from camlucida.heatmaps.combine import resample
from camlucida.images.frame import EVEN, Cells, size_of
from camlucida.metrics.controls import FLOORS
from camlucida.metrics.trial import Trial
from camlucida.targets.probabilities import Activation, Rule, by_rule, is_within, rule_of

if TYPE_CHECKING:
    from camlucida.pipeline.explainer import Explainer
    from camlucida.types import Make

_COARSE = 14  # cells a side, of a floor's map


@dataclass(frozen=True)
class Way:
    """A method at a layer, None for the model's default; or one of the floors."""

    method: str
    layer: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.layer}" if self.layer else self.method

    @property
    def is_floor(self) -> bool:
        return self.method in FLOORS


@dataclass(frozen=True)
class Bench:
    """What all pictures share: a model, ways to make maps, copies of it drawn anew, and what was counted."""

    explainer: Explainer
    ways: Sequence[Way]
    copies: Callable[[], Sequence[Explainer]]
    count: Count
    seed: int = 0
    options: Mapping[str, Mapping[str, Any]] | None = None


class Shown:
    """An input (channels, height, width) and its class: ``target``, or for None the model's top one."""

    def __init__(self, bench: Bench, picture: Tensor, target: int | None, mask: Tensor | None) -> None:
        self._bench, self.picture, self._mask = bench, picture.detach(), mask
        adapter = bench.explainer.adapter
        self._scorer = Scorer(bench.explainer.module, adapter.logits_of, self.picture, bench.count)
        with bench.explainer.run_with_all():
            self._plain = self._scorer.logits(lambda _: self.picture.cpu().float()[None], 1)[0]
        if len(self._plain) < 2:
            raise ModelError("measures need a model with two classes or more, this one returns a single number")
        self.predicted = int(self._plain.argmax())
        self.index = self.predicted if target is None else target
        if not 0 <= self.index < len(self._plain):
            raise TargetError(
                f"the model has classes 0 to {len(self._plain) - 1}, got {target}: give one of its own"
            )
        self._rule = self._rule_of(adapter.activation)
        self.probability = float(self._scored(self._plain[None])[0])
        self.is_probability = self._rule is not None
        own = int.from_bytes(fingerprint(self.picture)[:4], "big")
        self._seed = bench.seed + own  # each picture has draws of its own
        self._maps: dict[Way, Tensor] = {}
        self._cells: dict[Way, Cells] = {}
        self._cascades: list[dict[Way, Tensor]] = []

    def _rule_of(self, activation: Activation) -> Rule | None:
        """How probabilities are made, told once from the picture as it is, and kept for its variants."""
        last = None
        if activation in ("auto", "sigmoid") and is_within(self._plain):
            with self._bench.explainer.run_with_all():
                last = self._scorer.last_activation()
        return rule_of(self._plain[None], activation, last)

    def _scored(self, outputs: Tensor) -> Tensor:
        """The class's probability, or its score where nobody can say what makes probabilities of it."""
        return (outputs if self._rule is None else by_rule(outputs, self._rule))[:, self.index]

    def trial(self, way: Way) -> Trial:
        """All that a measure can ask for of one way."""
        if not self._maps:
            self._maps = self.maps(self._bench.ways, self.picture[None])
        coarse = self._maps[way][0]
        return Trial(
            heatmap=self._whole(way, coarse[None])[0],
            coarse=adaptive_avg_pool2d(coarse[None], _COARSE)[0] if way.is_floor else coarse,
            picture=self.picture.cpu().float(),
            probability=self.probability,
            logit=float(self._plain[self.index]),
            score=self._score,
            logits=self._logits,
            mask=self._mask,
            index=self.index,
            classes=len(self._plain),
            again=lambda pictures: self._whole(way, self.maps([way], pictures)[way]),
            of_class=lambda index: self._whole(way, self.maps([way], self.picture[None], index)[way])[0],
            cascade=partial(self._cascade, way),
            seed=self._seed,
            ranking=self._plain.argsort(descending=True, stable=True).tolist(),
        )

    def maps(
        self,
        ways: Sequence[Way],
        pictures: Tensor,
        index: int | None = None,
        explainer: Explainer | None = None,
    ) -> dict[Way, Tensor]:
        """For each way the maps (n, height, width) of inputs (n, channels, height, width), on the CPU.

        Methods of one layer share the capture.
        """
        found = {
            way: torch.stack([FLOORS[way.method](one.cpu().float(), self._seed) for one in pictures])
            for way in ways
            if way.is_floor
        }
        explainer = explainer or self._bench.explainer
        for layer in dict.fromkeys(way.layer for way in ways if not way.is_floor):
            chosen = [way for way in ways if way.layer == layer and not way.is_floor]
            methods = [way.method for way in chosen]
            explanations = explainer.explain(
                pictures.to(self.picture),
                methods,
                [self.index if index is None else index],
                [layer],
                {name: one for name, one in (self._bench.options or {}).items() if name in methods},
            )
            for place, way in enumerate(chosen):
                maps = [one.heatmap.cpu().float() for one in explanations[place :: len(chosen)]]
                found[way] = torch.stack(maps)
                self._cells[way] = explanations[place].frame.cells
        return found

    def _cascade(self, way: Way) -> list[Tensor]:
        """The maps of a way for each copy of the model; those of all ways are made together."""
        if not self._cascades:
            ways = self._bench.ways
            self._cascades = [
                self.maps(ways, self.picture[None], explainer=copy) for copy in self._bench.copies()
            ]
        return [self._whole(way, maps[way])[0] for maps in self._cascades]

    def _whole(self, way: Way, maps: Tensor) -> Tensor:
        """A way's maps (n, height, width) at the input's size."""
        size = size_of(self.picture)
        box = self._cells.get(way, EVEN).box
        return resample(maps, size, box, EVEN.box)

    def _score(self, make: Make, count: int) -> Tensor:
        with self._bench.explainer.run_with_all():
            return self._scored(self._scorer.logits(make, count))

    def _logits(self, make: Make, count: int) -> Tensor:
        with self._bench.explainer.run_with_all():
            return self._scorer.logits(make, count)[:, self.index]
