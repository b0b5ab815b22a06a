"""Metrics of maps that you have, from any source.

>>> import camlucida as cl
>>> cl.metrics.insertion(heatmap, model, "cat.jpg", target=281)  # doctest: +SKIP
0.71
>>> metric = cl.metrics.Accumulator("insertion", model)  # doctest: +SKIP
>>> for image, heatmap in pairs:  # doctest: +SKIP
...     metric.update(heatmap, image)
>>> metric.compute()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from camlucida.errors import OptionError, TargetError
from camlucida.heatmaps.combine import resample
from camlucida.images.frame import EVEN, size_of
from camlucida.metrics.registry import Metric, get_metric
from camlucida.metrics.scored_input import ScoredInput
from camlucida.metrics.trial import Trial
from camlucida.models.inputs import prepare
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.explanation import Explanation
from camlucida.targets.base import ClassScore
from camlucida.targets.resolve import resolve

if TYPE_CHECKING:
    from numpy import ndarray

    Heatmap = Tensor | ndarray[Any, Any] | Explanation
Explain = Callable[[Tensor], Tensor]


class Accumulator:
    """A metric over many maps, as in torchmetrics: ``update`` for each, ``compute`` at the end.

    Args:
        metric: a name that ``camlucida metrics`` lists.
        model: an ``nn.Module``, a name, or an Explainer.
        explain: inputs (n, channels, height, width) → maps (n, height, width) by the method on trial, for
            metrics that ask for the maps of other inputs.
        seed: for whatever the metric draws.
        options: of the metric, such as ``steps``.
    """

    def __init__(
        self,
        metric: str,
        model: str | nn.Module | Explainer,
        *,
        explain: Explain | None = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self.metric: Metric = get_metric(metric)
        self.explainer = model if isinstance(model, Explainer) else Explainer(model)
        self._settings, self._explain, self._seed = self.metric.settings(options), explain, seed
        self.values: list[float] = []

    def update(self, heatmap: Heatmap, input: Any, target: int | str | None = None, mask: Any = None) -> float:
        """Take a map of one input and class into account, and return its value, NaN where it has none.

        Args:
            heatmap: (height, width) of any size, laid over the whole input, or an Explanation.
            input: a picture, or the model's input (channels, height, width) as a float tensor.
            target: the class, by index or name; None for the model's top one.
            mask: (height, width) of the input's size, true where the object is.

        Raises:
            CamlucidaError: one of these does not fit.
        """
        prepared = prepare(input, self.explainer.adapter, self.explainer.preprocess).tensor
        scored = ScoredInput(self.explainer, prepared, self._class(target))
        trial = self._trial(heatmap, scored, None if mask is None else torch.as_tensor(mask).bool())
        self.values.append(self.metric.run(trial, self._settings))
        return self.values[-1]

    def compute(self) -> float:
        """One number of all values, NaN before the first."""
        return self.metric.compute(self.values) if self.values else float("nan")

    def merge(self, other: Accumulator) -> None:
        """Take the values of another accumulator of this metric, such as another process's.

        Raises:
            OptionError: it is of another metric or has other options.
        """
        if (other.metric.name, other._settings) != (self.metric.name, self._settings):
            raise OptionError(f"values of one metric and its options are merged, got {other!r} for {self!r}")
        self.values += other.values

    def reset(self) -> None:
        """Forget all values."""
        self.values = []

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._settings.items())
        return f"<{self.metric.name}{options} of {len(self.values)} maps of {self.explainer.title}>"

    def _class(self, target: int | str | None) -> int | None:
        if target is None:
            return None
        resolved = resolve(target, self.explainer.adapter.labels)
        if not isinstance(resolved, ClassScore):
            raise TargetError(f"a metric is of one class, by its index or name, got {target!r}: give one")
        return int(resolved.index)

    def _trial(self, heatmap: Heatmap, scored: ScoredInput, mask: Tensor | None) -> Trial:
        raw, box = _raw(heatmap)
        whole = resample(raw[None], size_of(scored.input), box, EVEN.box)[0]
        return Trial(
            heatmap=whole,
            raw_heatmap=raw,
            input=scored.input.cpu().float(),
            probability=scored.probability,
            logit=scored.logit,
            score=scored.score,
            logits=scored.variant_logits,
            mask=mask,
            index=scored.index,
            classes=len(scored.logits),
            explain_inputs=self._explained if self._explain else partial(_refuse, self.metric.name),
            explain_class=partial(_refuse, self.metric.name),
            randomised_maps=partial(_refuse, self.metric.name),
            seed=scored.seed(self._seed),
            ranking=scored.ranking,
        )

    def _explained(self, inputs: Tensor) -> Tensor:
        assert self._explain is not None
        maps = torch.as_tensor(self._explain(inputs)).detach().cpu().float()
        return resample(maps, size_of(inputs), EVEN.box, EVEN.box)


def score_map(
    metric: str,
    heatmap: Heatmap,
    model: str | nn.Module | Explainer,
    input: Any,
    target: int | str | None = None,
    *,
    mask: Any = None,
    **options: Any,
) -> float:
    """The value of a metric for one map; see ``Accumulator``."""
    return Accumulator(metric, model, **options).update(heatmap, input, target, mask)


def _raw(heatmap: Heatmap) -> tuple[Tensor, tuple[float, float, float, float]]:
    """The map (height, width), float32, on the CPU, and what of the input its cells cover."""
    if isinstance(heatmap, Explanation):
        return heatmap.heatmap, heatmap.frame.cells.box
    values = torch.as_tensor(heatmap).detach().cpu().float()
    if values.ndim != 2:
        raise OptionError(f"a map is (height, width), got {tuple(values.shape)}: give the maps one by one")
    return values, EVEN.box


def _refuse(metric: str, *_: Any) -> NoReturn:
    raise OptionError(
        f"{metric} asks the method for more maps than this one: give explain= (inputs → maps) if it asks for "
        "those of other inputs, or take camlucida.evaluate, which has the method"
    )
