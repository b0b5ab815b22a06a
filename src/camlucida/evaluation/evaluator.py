"""The metrics of the maps of one image."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import torch

from camlucida.errors import CamlucidaError, LayerError, OptionError, setting
from camlucida.evaluation.masks import mask_of
from camlucida.evaluation.picture_trials import MapSource, PictureTrials, SharedState
from camlucida.evaluation.randomise import randomised
from camlucida.metrics.variant_scores import RunCount
from camlucida.models.inputs import input_size, prepare
from camlucida.pipeline.explainer import Explainer

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from camlucida.evaluation.dataset import Item
    from camlucida.metrics.registry import Metric

MetricSettings = Sequence[tuple["Metric", Mapping[str, Any]]]


@dataclass(frozen=True)
class Row:
    """The metrics of one source and one picture; ``seconds`` is the time of one map of that source.

    ``path`` is the picture's, and of a mosaic that of the picture which is looked for. ``key`` tells what was
    measured from all else that bears this path. ``predicted`` is the model's top class, and ``right`` whether
    it is the one that the picture is of, if that is known. ``score`` is what the model returns for the class,
    and ``probability`` None where outputs do not become probabilities.
    """

    path: str
    source: str
    index: int
    probability: float | None
    values: Mapping[str, float]
    seconds: float
    key: str = ""
    predicted: int | None = None
    right: bool | None = None
    score: float = 0.0
    control: bool = False


@dataclass(frozen=True, eq=False)
class TensorItem:
    """An input (channels, height, width) as it is, its class, and a mask of the object, if known.

    ``path`` and ``key`` are those of its rows.
    """

    path: str
    input: Tensor
    target: int | None = None
    mask: Tensor | None = None
    key: str = ""


def key_of(item: Item | TensorItem) -> str:
    """A key that changes with the picture, class, boxes and mask."""
    if isinstance(item, TensorItem):
        return item.key or item.path
    files = [(str(path), *_state(path)) for path in (item.path, item.mask) if path]
    told = json.dumps([files, item.target, item.boxes])
    return blake2b(told.encode(), digest_size=8).hexdigest()


def _state(path: Path) -> tuple[int, int]:
    """Size and modification time of a file, zeros if there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


class Evaluator:
    """Evaluates images one by one: a model, the sources of its maps, and metrics."""

    def __init__(
        self,
        explainer: Explainer,
        sources: Sequence[MapSource],
        metrics: MetricSettings,
        seed: int = 0,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.explainer, self.sources, self.metrics, self.seed = explainer, sources, metrics, seed
        self.count = RunCount()
        self._shared = SharedState(explainer, sources, self._drawn_anew, self.count, seed, options)
        self._seconds: dict[MapSource, float] = {}
        self._copies: list[Explainer] = []
        self._like: Tensor | None = None

    def check(self, items: Sequence[Item]) -> None:
        """Refuse metrics that need a mask if a picture has neither boxes nor mask.

        Raises:
            OptionError: so it is.
        """
        names = [metric.name for metric, _ in self.metrics if "mask" in metric.needs]
        blind = next((item for item in items if not item.boxes and item.mask is None), None)
        if names and blind:
            raise OptionError(
                f"{', '.join(names)} needs to know where the object is, and nothing says so for {blind.path}: "
                f"give a table with boxes, or masks ({setting('masks', 'FOLDER')})"
            )

    def rows(
        self, item: Item | TensorItem, wanted: Mapping[MapSource, MetricSettings] | None = None
    ) -> list[Row]:
        """One row per source; only for ``wanted`` sources and their metrics, if some rows are known already.

        Raises:
            CamlucidaError: the picture cannot be read or explained, or its mask does not fit.
            OptionError: a metric needs a mask and there is none.
        """
        given = item if isinstance(item, TensorItem) else self._read(item)
        blind = [metric.name for metric, _ in self.metrics if given.mask is None and "mask" in metric.needs]
        if blind:
            raise OptionError(
                f"{', '.join(blind)} needs to know where the object is in {given.path}: give boxes or masks"
            )
        self._like = given.input
        asked = dict.fromkeys(self.sources, self.metrics) if wanted is None else wanted
        trials = PictureTrials(
            replace(self._shared, sources=list(asked)), given.input, given.target, given.mask
        )
        right = None if given.target is None else trials.scored.predicted == given.target
        rows = []
        for source, metrics in asked.items():
            trial = trials.trial(source)
            values = {metric.name: metric.run(trial, settings) for metric, settings in metrics}
            known = trials.scored.probability if trials.scored.is_probability else None
            said = (given.path, str(source), trials.scored.index, known, values)
            beside = (key_of(item), trials.scored.predicted, right, trial.logit)
            rows.append(Row(*said, self._timed(trials, source), *beside, control=source.control))
        return rows

    @cached_property
    def refusal(self) -> CamlucidaError | None:
        """Why every picture would be refused: a method that does not fit the layer, an option out of range.

        Tried on a picture of noise, with a mask in its middle; what goes wrong with that in other ways says
        nothing.
        """
        size = input_size(self.explainer.adapter)
        noise = torch.randn(*size, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        down, across = size[1] // 4, size[2] // 4
        mask = torch.zeros(size[1], size[2], dtype=torch.bool)
        mask[down : size[1] - down, across : size[2] - across] = True
        like = next(self.explainer.module.parameters(), noise)
        try:
            self.rows(TensorItem("noise", noise.to(like.device, like.dtype), None, mask))
        except (LayerError, OptionError) as error:
            return error
        except Exception:  # noqa: BLE001 - the user's own model is run
            return None
        return None

    def _read(self, item: Item) -> TensorItem:
        prepared = prepare(item.path, self.explainer.adapter, self.explainer.preprocess)
        return TensorItem(str(item.path), prepared.tensor, item.target, mask_of(item, prepared.frame))

    def _timed(self, trials: PictureTrials, source: MapSource) -> float:
        """Timed once, on the first picture, after a first map."""
        if source not in self._seconds:
            begun = time.perf_counter()
            trials.maps([source], trials.input[None])
            self._seconds[source] = time.perf_counter() - begun
        return self._seconds[source]

    def _drawn_anew(self) -> Sequence[Explainer]:
        """Randomised copies of the model, whose layers are read in the original's layouts."""
        if not self._copies:
            assert self._like is not None, "asked for by a picture"
            names = {source.layer for source in self.sources if not source.control}
            layers = {one for name in names for one in self.explainer.layer_names(name, self._like)}
            with self.explainer.extra_inputs():
                verdicts = {name: self.explainer.inspector.verdict_of(name, self._like) for name in layers}
            layouts = {name: one.layout for name, one in verdicts.items() if one}
            default = "+".join(self.explainer.layer_names(None, self._like))
            for module in randomised(self.explainer.module, seed=self.seed):
                self._copies.append(self.explainer.with_module(module, default, lambda name, *_: layouts[name]))
        return self._copies
