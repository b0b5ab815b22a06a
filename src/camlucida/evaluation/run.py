"""Evaluate images one by one; a failure is recorded and the run continues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Union

from camlucida.errors import LayerError, OptionError, reason_of
from camlucida.evaluation.differences import significantly_worse
from camlucida.evaluation.evaluator import Evaluator, Row, key_of
from camlucida.evaluation.picture_trials import MapSource
from camlucida.evaluation.statistics import (
    Estimate,
    RankedSource,
    controls_in,
    estimates,
    ranking,
    ranks,
    values_of,
)
from camlucida.methods.registry import get_method
from camlucida.metrics.controls import CONTROLS
from camlucida.metrics.registry import Metric, get_metric
from camlucida.tables import format_table

if TYPE_CHECKING:
    from camlucida.evaluation.dataset import Item
    from camlucida.evaluation.evaluator import TensorItem
    from camlucida.evaluation.row_store import Records

METHODS = ("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "eigencam", "eigengradcam")
METRICS = ("deletion", "insertion", "road_combined")
MOSAIC_METRICS = ("energy_inside",)
ARROW = {"higher": "↑", "lower": "↓"}

Subject = Union["Item", "TensorItem"]
Track = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of a run: rows, failed pictures with reasons, and counts of variants.

    ``asked`` variants were asked for, of which ``run`` were new. ``request`` says what was measured.
    """

    rows: list[Row]
    metrics: list[Metric]
    seed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    run: int = 0
    request: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        metrics = ", ".join(one.name for one in self.metrics)
        return f"<Evaluation of {len(self.sources)} maps by {metrics}, {self.pictures} pictures>"

    def __str__(self) -> str:
        """The table that ``camlucida evaluate`` prints."""
        return format_table(self.table())

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(row.source for row in self.rows))

    @property
    def controls(self) -> set[str]:
        """The sources that know nothing of the model."""
        return controls_in(self.rows)

    @property
    def pictures(self) -> int:
        return len({row.path for row in self.rows})

    def estimates(self) -> dict[tuple[str, str], Estimate]:
        """By source and metric; see ``statistics.estimates``."""
        return estimates(self.rows, self.metrics, self.seed)

    def table(self) -> list[list[str]]:
        """A header and one line per source: numbers with intervals, and the seconds per map."""
        numbers = self.estimates()
        lines = [["method", *(f"{one.name} {ARROW[one.better]}" for one in self.metrics), "seconds"]]
        for source in self.sources:
            shown = [str(numbers[source, one.name]) for one in self.metrics]
            lines.append([source, *shown, f"{self.seconds(source):.3f}"])
        return lines

    def ranking(self, metric: str) -> list[RankedSource]:
        """Sources, the best first; see ``statistics.ranking``."""
        return ranking(self.rows, get_metric(metric), self.seed)

    def seconds(self, source: str) -> float:
        """The seconds per map; the median over runs."""
        return median(row.seconds for row in self.rows if row.source == source)


def map_sources(
    methods: Sequence[str], layers: Sequence[str | None] = (None,), controls: bool = True
) -> list[MapSource]:
    """Methods × layers, followed by the controls.

    Raises:
        OptionError: there is no such method.
    """
    named = [get_method(name).name for name in methods]
    sources = [MapSource(method, layer) for layer in layers for method in named]
    return [*sources, *(MapSource(name, control=True) for name in CONTROLS if controls)]


def evaluate(
    evaluator: Evaluator,
    items: Sequence[Subject],
    records: Records | None = None,
    track: Track = lambda items: items,
) -> Evaluation:
    """Evaluate every picture that ``records`` does not know; a failure is recorded and the run continues.

    Raises:
        CamlucidaError: a method does not fit the model or the layer, or a measure cannot be taken.
        OutputError: rows cannot be written.
    """
    keys = {key_of(item): item for item in items}
    rows = {key: _known(evaluator, key, records) for key in keys}
    failed: dict[str, str] = {}
    begun, refused = False, None
    for key in track([key for key in keys if len(_complete(evaluator, rows[key])) < len(evaluator.sources)]):
        try:
            found = _measured(evaluator, keys[key], rows[key])
        except Exception as error:
            failed[str(keys[key].path)] = reason_of(error)
            if isinstance(error, (LayerError, OptionError)) and not begun:
                refused = error
                if evaluator.refusal:
                    raise evaluator.refusal from error
            continue
        begun = True
        if records:
            records.add(found)
        rows[key] |= {row.source: row for row in found}
    if refused and not begun and len(set(failed.values())) == 1:
        raise refused  # it was the same for each
    every = [
        own[str(source)]
        for own in rows.values()
        if len(_complete(evaluator, own)) == len(evaluator.sources)
        for source in evaluator.sources
    ]
    metrics = [metric for metric, _ in evaluator.metrics]
    return Evaluation(every, metrics, evaluator.seed, failed, evaluator.count.asked, evaluator.count.run)


def _known(evaluator: Evaluator, key: str, records: Records | None) -> dict[str, Row]:
    """The known rows of a picture, by source."""
    found = {str(source): records.find(key, str(source)) for source in evaluator.sources} if records else {}
    return {source: row for source, row in found.items() if row}


def _complete(evaluator: Evaluator, known: Mapping[str, Row]) -> list[str]:
    """The sources for which every metric is known."""
    names = {metric.name for metric, _ in evaluator.metrics}
    return [source for source, row in known.items() if names <= row.values.keys()]


def _measured(evaluator: Evaluator, item: Subject, known: Mapping[str, Row]) -> list[Row]:
    """Measure missing rows and metrics, and merge them with the known ones."""
    wanted = {}
    for source in evaluator.sources:
        have = known[str(source)].values if str(source) in known else {}
        metrics = [(metric, settings) for metric, settings in evaluator.metrics if metric.name not in have]
        if metrics:
            wanted[source] = metrics
    whole = []
    for row in evaluator.rows(item, wanted):
        values = {**(known[row.source].values if row.source in known else {}), **row.values}
        whole.append(replace(row, values={metric.name: values[metric.name] for metric, _ in evaluator.metrics}))
    return whole


@dataclass(frozen=True)
class Advice:
    """A source, its mean rank over metrics, and whether it differs significantly from the best."""

    source: str
    rank: float
    not_significantly_worse: bool
    rankings: dict[str, RankedSource]


def advice(evaluation: Evaluation) -> list[Advice]:
    """Sources by mean rank over all metrics, the best first, without controls.

    A source is marked if by no metric the best one is significantly better; several metrics share the level
    (Bonferroni).
    """
    tables = {one.name: evaluation.ranking(one.name) for one in evaluation.metrics}
    places = {one.name: ranks(tables[one.name], one) for one in evaluation.metrics}
    complete = [source for source in evaluation.sources if all(source in known for known in places.values())]
    complete.sort(key=lambda source: (sum(known[source] for known in places.values()), source))
    worse = _worse_than_first(complete, evaluation)
    found = []
    for source in complete:
        own = {name: next(one for one in table if one.source == source) for name, table in tables.items()}
        rank = sum(known[source] for known in places.values()) / max(len(places), 1)
        found.append(Advice(source, rank, source not in worse, own))
    return found


def _worse_than_first(sources: Sequence[str], evaluation: Evaluation) -> set[str]:
    """The sources that the first one is significantly better than by any metric."""
    found: set[str] = set()
    for one in evaluation.metrics:
        values = {source: values_of(evaluation.rows, source, one) for source in sources}
        if sources:
            found |= significantly_worse(sources[0], values, one, evaluation.seed, len(evaluation.metrics))
    return found


def advice_table(evaluation: Evaluation) -> list[list[str]]:
    """A header, one line per method and layer, the best first, and one per control."""
    names, numbers = [one.name for one in evaluation.metrics], evaluation.estimates()

    def line(said: str, source: str, rank: str) -> list[str]:
        estimates = [str(numbers[source, name]) for name in names]
        return [said, source, rank, *estimates, f"{evaluation.seconds(source):.3f}"]

    lines = [["", "method and layer", "mean rank", *names, "seconds"]]
    for place, one in enumerate(advice(evaluation), 1):
        said = "best" if place == 1 else "no significant difference" if one.not_significantly_worse else ""
        lines.append(line(said, one.source, f"{one.rank:.1f}"))
    return lines + [
        line("control", source, "") for source in evaluation.sources if source in evaluation.controls
    ]


def metrics_of(
    names: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None = None
) -> list[tuple[Metric, Mapping[str, Any]]]:
    """Metrics by name with their options.

    Raises:
        OptionError: there is no such measure or option.
    """
    found = [get_metric(name) for name in names]
    return [(one, one.settings((options or {}).get(one.name))) for one in found]
