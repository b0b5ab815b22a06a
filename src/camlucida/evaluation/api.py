"""``camlucida.evaluate`` and ``camlucida.recommend``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from camlucida.errors import OptionError
from camlucida.evaluation.dataset import Item, items_in
from camlucida.evaluation.evaluator import Evaluator
from camlucida.evaluation.mosaic_game import grids, mosaic_photos
from camlucida.evaluation.row_store import Records, what_rows_are_of
from camlucida.evaluation.run import (
    METHODS,
    METRICS,
    MOSAIC_METRICS,
    Advice,
    Evaluation,
    Track,
    advice,
    advice_table,
    map_sources,
    metrics_of,
)
from camlucida.evaluation.run import evaluate as run
from camlucida.layers.stages import stages
from camlucida.methods.registry import get_method
from camlucida.metrics.mosaic import check_size
from camlucida.metrics.registry import get_metric
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.pipeline.arguments import several
from camlucida.pipeline.diagnosis import noise_for
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.settings import Options, Settings
from camlucida.registry import folded
from camlucida.tables import format_table

if TYPE_CHECKING:
    from torch import nn

STAGES = 3  # how many of the coarsest grids recommend tries


@dataclass(frozen=True)
class Plan:
    """What an evaluation measures: names of methods, layers and metrics, and their options.

    ``grid`` measures on ``grids`` mosaics of grid × grid of the pictures. ``out`` is a folder in which rows are
    kept, so that a later run goes on.
    """

    methods: Sequence[str] = METHODS
    layers: Sequence[str | None] = (None,)
    metrics: Sequence[str] | None = None
    options: Options = field(default_factory=dict)
    grid: int = 0
    grids: int = 100
    seed: int = 0
    out: Path | None = None


@dataclass(frozen=True)
class Progress:
    """Hooks for progress: ``look`` and ``measure`` wrap what is iterated, ``note`` takes messages."""

    look: Track = lambda items: items
    measure: Callable[[Evaluator], Track] = lambda _: lambda items: items
    note: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Recommendation:
    """Methods and layers by their mean rank, the best first; ``evaluation`` has the numbers."""

    evaluation: Evaluation
    ranked: list[Advice]

    def __str__(self) -> str:
        """The table that ``camlucida recommend`` prints."""
        return format_table(advice_table(self.evaluation))

    def __repr__(self) -> str:
        best = self.ranked[0].source if self.ranked else "nothing"
        return f"<Recommendation of {best}, from {self.evaluation.pictures} pictures>"


def evaluate(
    source: str | Path,
    model: str | nn.Module | Explainer = DEFAULT_MODEL,
    methods: str | Sequence[str] = METHODS,
    metrics: str | Sequence[str] | None = None,
    masks: str | Path | None = None,
    *,
    layers: str | Sequence[str | None] | None = (None,),
    options: Options | None = None,
    grid: int = 0,
    grids: int = 100,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Unpack[Settings],
) -> Evaluation:
    """Measure how far the maps of ``model`` can be trusted, next to controls that know nothing of it.

    Args:
        source: a folder with a folder of pictures for each class, a folder of pictures (then the model's own
            top class is explained), or a .csv table of path, label and box (left top right bottom, in pixels).
        model: as for ``Explainer``, or an Explainer.
        methods: names that ``camlucida methods`` lists.
        metrics: names that ``camlucida metrics`` lists; deletion, insertion and road_combined by default, on
            mosaics energy_inside.
        masks: a folder with a picture of the same name for each, white where the object is.
        layers: names of layers, None for the default.
        options: {method or metric: {option: value}}.
        grid: measure on mosaics of grid × grid of the pictures, in which it is known where the class is.
        grids: how many such mosaics.
        seed: for whatever is drawn by chance.
        out: a folder in which rows are kept; what is known there is not measured again.
        settings: those of ``Explainer``.

    Returns:
        An Evaluation; print it for a table. Pictures that could not be measured are in its ``failed``.

    Raises:
        CamlucidaError: something given does not exist or does not fit, or a metric needs to know where the
            object is and nothing says so.
    """
    explainer = model if isinstance(model, Explainer) else Explainer(model, **settings)
    items = items_in(Path(source), explainer.adapter.labels, Path(masks) if masks else None)
    plan = Plan(
        several(methods),
        several(layers),
        several(metrics) if metrics else None,
        options or {},
        grid,
        grids,
        seed,
        Path(out) if out else None,
    )
    return measured(explainer, items, plan)


def recommend(
    source: str | Path,
    model: str | nn.Module | Explainer = DEFAULT_MODEL,
    methods: str | Sequence[str] = METHODS,
    metrics: str | Sequence[str] | None = None,
    masks: str | Path | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    options: Options | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Unpack[Settings],
) -> Recommendation:
    """Recommend a method and layer for a model, measured on your pictures; arguments as for ``evaluate``.

    ``layers`` are by default the last ones of the three coarsest grids.
    """
    explainer = model if isinstance(model, Explainer) else Explainer(model, **settings)
    chosen = several(layers) if layers else coarsest_layers(explainer)
    found = evaluate(
        source, explainer, methods, metrics, masks, layers=chosen, options=options, seed=seed, out=out
    )
    return Recommendation(found, advice(found))


def coarsest_layers(explainer: Explainer) -> list[str]:
    """The last layers of the three coarsest grids."""
    with explainer.extra_inputs():
        return stages(explainer.inspector, noise_for(explainer))[:STAGES]


def measured(
    explainer: Explainer, items: Sequence[Item], plan: Plan, progress: Progress | None = None
) -> Evaluation:
    """Evaluate pictures by a plan.

    Raises:
        CamlucidaError: something in the plan does not exist or does not fit the model or the pictures.
    """
    progress = progress or Progress()
    methods = [get_method(name).name for name in plan.methods]
    metrics = [get_metric(name).name for name in plan.metrics or (MOSAIC_METRICS if plan.grid else METRICS)]
    options = _by_name(plan.options, [*methods, *metrics])
    of_methods = {name: dict(options[name]) for name in methods}
    sources, chosen = map_sources(methods, plan.layers), metrics_of(metrics, options)
    evaluator = Evaluator(explainer, sources, chosen, plan.seed, of_methods)
    of = what_rows_are_of(explainer, plan.seed)
    asked = of | {
        "ways": [str(source) for source in sources],
        "measures": {metric.name: settings for metric, settings in chosen},
        "options": of_methods,
    }
    subjects: Sequence[Any] = items
    failed: Mapping[str, str] = {}
    if plan.grid:
        subjects, failed, photos = _mosaics(explainer, items, plan, progress)
        asked["grid"] = {"rows": plan.grid, "count": plan.grids, "pictures": photos}
    else:
        evaluator.check(items)
    records = Records(plan.out, of, chosen, of_methods) if plan.out else None
    if records and records.damaged:
        progress.note(f"{records.damaged} damaged lines of {records.path} are left out")
    found = run(evaluator, subjects, records, progress.measure(evaluator))
    found.failed.update(failed)
    found.request.update(asked)
    return found


def _mosaics(
    explainer: Explainer, items: Sequence[Item], plan: Plan, progress: Progress
) -> tuple[Sequence[Any], Mapping[str, str], list[str]]:
    """The mosaics, the pictures that failed with their reasons, and the paths of those that are in them."""
    check_size(plan.grid, plan.grids)
    photos = mosaic_photos(explainer, items, plan.grids * plan.grid**2, plan.seed, progress.look)
    if photos.mistaken:
        progress.note(f"{len(photos.mistaken)} pictures left out, which the model takes for another class")
    try:
        return grids(photos, plan.grid, plan.grids, plan.seed), photos.failed, photos.paths
    except Exception:
        for path, reason in photos.failed.items():
            progress.note(reason if path in reason else f"{path}: {reason}")
        raise


def _by_name(given: Options, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Options by the methods' and metrics' own names, each checked to be asked for.

    Raises:
        OptionError: options are given for what is not measured.
    """
    found: dict[str, Mapping[str, Any]] = {name: {} for name in names}
    for given_name, options in given.items():
        name = next((one for one in names if folded(one) == folded(given_name)), None)
        if name is None:
            raise OptionError(
                f"options are given for {given_name!r}, but methods and metrics are {', '.join(names)}: give "
                "options for these"
            )
        found[name] = options
    return found
