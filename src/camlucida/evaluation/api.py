"""``camlucida.evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from camlucida.evaluation.dataset import items_in
from camlucida.evaluation.evaluator import Evaluator
from camlucida.evaluation.run import METHODS, METRICS, Evaluation, map_sources, metrics_of
from camlucida.evaluation.run import evaluate as run
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.pipeline.arguments import several
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.settings import Settings

if TYPE_CHECKING:
    from torch import nn


def evaluate(
    source: str | Path,
    model: str | nn.Module = DEFAULT_MODEL,
    methods: str | Sequence[str] = METHODS,
    metrics: str | Sequence[str] = METRICS,
    masks: str | Path | None = None,
    **settings: Unpack[Settings],
) -> Evaluation:
    """How far the maps of ``model`` can be trusted, beside maps that know nothing of it.

    ``source`` is a folder with a folder of pictures for each class, a folder of pictures (then the model's own
    top class is explained), or a .csv table of path, label and box (left top right bottom, in pixels).
    ``masks`` is a folder with a picture of the same name for each, white where the object is. ``methods`` and
    ``metrics`` are names that ``camlucida methods`` and ``camlucida metrics`` list; ``settings`` are those of
    ``Explainer``. Print the result for a table; pictures that could not be read are in its ``failed``.

    Raises:
        CamlucidaError: something given does not exist or does not fit, or a metric needs to know where the
            object is and nothing says so.
    """
    explainer = Explainer(model, **settings)
    evaluator = Evaluator(explainer, map_sources(several(methods)), metrics_of(several(metrics)))
    items = items_in(Path(source), explainer.adapter.labels, Path(masks) if masks else None)
    evaluator.check(items)
    return run(evaluator, items)
