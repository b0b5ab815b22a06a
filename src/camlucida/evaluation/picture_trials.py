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
from camlucida.metrics.controls import CONTROLS
from camlucida.metrics.trial import Trial
from camlucida.targets.probabilities import Activation, Rule, by_rule, is_within, rule_of

if TYPE_CHECKING:
    from camlucida.pipeline.explainer import Explainer
    from camlucida.types import MakeVariants

_CONTROL_GRID = 14  # cells a side, of a floor's map


@dataclass(frozen=True)
class MapSource:
    """A method at a layer, None for the model's default; or one of the floors."""

    method: str
    layer: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.layer}" if self.layer else self.method

    @property
    def is_control(self) -> bool:
        return self.method in CONTROLS


@dataclass(frozen=True)
class SharedState:
    """What all pictures share: a model, ways to make maps, copies of it drawn anew, and what was counted."""

    explainer: Explainer
    sources: Sequence[MapSource]
    copies: Callable[[], Sequence[Explainer]]
    count: Count
    seed: int = 0
    options: Mapping[str, Mapping[str, Any]] | None = None


class PictureTrials:
    """An input (channels, height, width) and its class: ``target``, or for None the model's top one."""

    def __init__(self, shared: SharedState, input: Tensor, target: int | None, mask: Tensor | None) -> None:
        self._shared, self.input, self._mask = shared, input.detach(), mask
        adapter = shared.explainer.adapter
        self._scorer = Scorer(shared.explainer.module, adapter.logits_of, self.input, shared.count)
        with shared.explainer.extra_inputs():
            self._plain = self._scorer.logits(lambda _: self.input.cpu().float()[None], 1)[0]
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
        own = int.from_bytes(fingerprint(self.input)[:4], "big")
        self._seed = shared.seed + own  # each picture has draws of its own
        self._maps: dict[MapSource, Tensor] = {}
        self._cells: dict[MapSource, Cells] = {}
        self._by_copy: list[dict[MapSource, Tensor]] = []

    def _rule_of(self, activation: Activation) -> Rule | None:
        """How probabilities are made, told once from the picture as it is, and kept for its variants."""
        last = None
        if activation in ("auto", "sigmoid") and is_within(self._plain):
            with self._shared.explainer.extra_inputs():
                last = self._scorer.last_activation()
        return rule_of(self._plain[None], activation, last)

    def _scored(self, outputs: Tensor) -> Tensor:
        """The class's probability, or its score where nobody can say what makes probabilities of it."""
        return (outputs if self._rule is None else by_rule(outputs, self._rule))[:, self.index]

    def trial(self, source: MapSource) -> Trial:
        """All that a measure can ask for of one way."""
        if not self._maps:
            self._maps = self.maps(self._shared.sources, self.input[None])
        raw_heatmap = self._maps[source][0]
        return Trial(
            heatmap=self._whole(source, raw_heatmap[None])[0],
            raw_heatmap=adaptive_avg_pool2d(raw_heatmap[None], _CONTROL_GRID)[0]
            if source.is_control
            else raw_heatmap,
            input=self.input.cpu().float(),
            probability=self.probability,
            logit=float(self._plain[self.index]),
            score=self._score,
            logits=self._logits,
            mask=self._mask,
            index=self.index,
            classes=len(self._plain),
            explain_inputs=lambda inputs: self._whole(source, self.maps([source], inputs)[source]),
            explain_class=lambda index: self._whole(
                source, self.maps([source], self.input[None], index)[source]
            )[0],
            randomised_maps=partial(self._randomised_maps, source),
            seed=self._seed,
            ranking=self._plain.argsort(descending=True, stable=True).tolist(),
        )

    def maps(
        self,
        sources: Sequence[MapSource],
        inputs: Tensor,
        index: int | None = None,
        explainer: Explainer | None = None,
    ) -> dict[MapSource, Tensor]:
        """For each way the maps (n, height, width) of inputs (n, channels, height, width), on the CPU.

        Methods of one layer share the capture.
        """
        found = {
            source: torch.stack([CONTROLS[source.method](one.cpu().float(), self._seed) for one in inputs])
            for source in sources
            if source.is_control
        }
        explainer = explainer or self._shared.explainer
        for layer in dict.fromkeys(source.layer for source in sources if not source.is_control):
            chosen = [source for source in sources if source.layer == layer and not source.is_control]
            methods = [source.method for source in chosen]
            explanations = explainer.explain(
                inputs.to(self.input),
                methods,
                [self.index if index is None else index],
                [layer],
                {name: one for name, one in (self._shared.options or {}).items() if name in methods},
            )
            for place, source in enumerate(chosen):
                maps = [one.heatmap.cpu().float() for one in explanations[place :: len(chosen)]]
                found[source] = torch.stack(maps)
                self._cells[source] = explanations[place].frame.cells
        return found

    def _randomised_maps(self, source: MapSource) -> list[Tensor]:
        """The maps of a way for each copy of the model; those of all ways are made together."""
        if not self._by_copy:
            sources = self._shared.sources
            self._by_copy = [
                self.maps(sources, self.input[None], explainer=copy) for copy in self._shared.copies()
            ]
        return [self._whole(source, maps[source])[0] for maps in self._by_copy]

    def _whole(self, source: MapSource, maps: Tensor) -> Tensor:
        """A way's maps (n, height, width) at the input's size."""
        size = size_of(self.input)
        box = self._cells.get(source, EVEN).box
        return resample(maps, size, box, EVEN.box)

    def _score(self, make: MakeVariants, count: int) -> Tensor:
        with self._shared.explainer.extra_inputs():
            return self._scored(self._scorer.logits(make, count))

    def _logits(self, make: MakeVariants, count: int) -> Tensor:
        with self._shared.explainer.extra_inputs():
            return self._scorer.logits(make, count)[:, self.index]
