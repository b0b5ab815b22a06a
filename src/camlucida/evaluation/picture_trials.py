"""The trials of one image; what they share is computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from camlucida.heatmaps.combine import resample
from camlucida.images.frame import EVEN, Cells, size_of
from camlucida.metrics.controls import CONTROLS
from camlucida.metrics.scored_input import ScoredInput
from camlucida.metrics.trial import Trial
from camlucida.metrics.variant_scores import RunCount

if TYPE_CHECKING:
    from camlucida.pipeline.explainer import Explainer

_CONTROL_GRID = 14  # cells a side, of a control's map


@dataclass(frozen=True)
class MapSource:
    """A method at a layer (None: the model's default), or one of the controls."""

    method: str
    layer: str | None = None
    control: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.layer}" if self.layer else self.method


@dataclass(frozen=True)
class SharedState:
    """State shared by all images: the model, sources of maps, randomised copies, and counts."""

    explainer: Explainer
    sources: Sequence[MapSource]
    copies: Callable[[], Sequence[Explainer]]
    count: RunCount
    seed: int = 0
    options: Mapping[str, Mapping[str, Any]] | None = None


class PictureTrials:
    """The trials of one input (channels, height, width): of its class ``target``, or for None the top one."""

    def __init__(self, shared: SharedState, input: Tensor, target: int | None, mask: Tensor | None) -> None:
        self._shared, self._mask = shared, mask
        self.scored = ScoredInput(shared.explainer, input, target, shared.count)
        self.input = self.scored.input
        self._seed = self.scored.seed(shared.seed)  # each input has draws of its own
        self._maps: dict[MapSource, Tensor] = {}
        self._cells: dict[MapSource, Cells] = {}
        self._by_copy: list[dict[MapSource, Tensor]] = []

    def trial(self, source: MapSource) -> Trial:
        """Everything that a metric can need of one source."""
        if not self._maps:
            self._maps = self.maps(self._shared.sources, self.input[None])
        raw, scored = self._maps[source][0], self.scored
        return Trial(
            heatmap=self._whole(source, raw[None])[0],
            raw_heatmap=adaptive_avg_pool2d(raw[None], _CONTROL_GRID)[0] if source.control else raw,
            input=self.input.cpu().float(),
            probability=scored.probability,
            logit=scored.logit,
            score=scored.score,
            logits=scored.variant_logits,
            mask=self._mask,
            index=scored.index,
            classes=len(scored.logits),
            explain_inputs=lambda inputs: self._whole(source, self.maps([source], inputs)[source]),
            explain_class=lambda index: self._whole(
                source, self.maps([source], self.input[None], index)[source]
            )[0],
            randomised_maps=partial(self._randomised_maps, source),
            seed=self._seed,
            ranking=scored.ranking,
        )

    def maps(
        self,
        sources: Sequence[MapSource],
        inputs: Tensor,
        index: int | None = None,
        explainer: Explainer | None = None,
    ) -> dict[MapSource, Tensor]:
        """For each source the maps (n, height, width) of inputs (n, channels, height, width), on the CPU.

        Methods of one layer share the capture.
        """
        found = {
            source: torch.stack([CONTROLS[source.method](one.cpu().float(), self._seed) for one in inputs])
            for source in sources
            if source.control
        }
        explainer = explainer or self._shared.explainer
        for layer in dict.fromkeys(source.layer for source in sources if not source.control):
            chosen = [source for source in sources if source.layer == layer and not source.control]
            methods = [source.method for source in chosen]
            explanations = explainer.explain(
                inputs.to(self.input),
                methods,
                [self.scored.index if index is None else index],
                [layer],
                {name: one for name, one in (self._shared.options or {}).items() if name in methods},
            )
            for place, source in enumerate(chosen):
                maps = [one.heatmap.cpu().float() for one in explanations[place :: len(chosen)]]
                found[source] = torch.stack(maps)
                self._cells[source] = explanations[place].frame.cells
        return found

    def _randomised_maps(self, source: MapSource) -> list[Tensor]:
        """The maps of a source for each randomised copy; those of all sources are made together."""
        if not self._by_copy:
            sources = self._shared.sources
            self._by_copy = [
                self.maps(sources, self.input[None], explainer=copy) for copy in self._shared.copies()
            ]
        return [self._whole(source, maps[source])[0] for maps in self._by_copy]

    def _whole(self, source: MapSource, maps: Tensor) -> Tensor:
        """A source's maps (n, height, width) at the input's size."""
        size = size_of(self.input)
        box = self._cells.get(source, EVEN).box
        return resample(maps, size, box, EVEN.box)
