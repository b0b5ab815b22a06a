"""Means over pictures with intervals, rankings, and significance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camlucida.evaluation.differences import better, significantly_worse, tie_tolerance
from camlucida.evaluation.evaluator import Row
from camlucida.evaluation.intervals import MIN_PICTURES, Interval, interval_of_mean
from camlucida.metrics.registry import Metric, mean

NOT_SIGNIFICANT = "≈control"  # marks a number that is not significantly better than each control


@dataclass(frozen=True)
class Estimate:
    """A metric of one source over all pictures: the number, its interval, and the count of pictures.

    ``low`` and ``high`` are None for fewer than ``MIN_PICTURES``. ``beats_controls`` says whether it is
    significantly better than each control; None without controls, with too few pictures, or for a metric that
    controls can win. ``missing`` counts pictures without a number, such as of a blank map.
    """

    value: float
    low: float | None
    high: float | None
    count: int
    beats_controls: bool | None = None
    missing: int = 0

    def __str__(self) -> str:
        """The number with its interval, and a mark if it is not significantly better than the controls."""
        if not np.isfinite(self.value):
            return "–"
        known = self.low is not None and self.high is not None
        interval = f" [{self.low:.3f}, {self.high:.3f}]" if known else ""
        without = f" ({self.missing} without)" if self.missing else ""
        mark = f" {NOT_SIGNIFICANT}" if self.beats_controls is False else ""
        return f"{self.value:.3f}{interval}{without}{mark}"


@dataclass(frozen=True)
class RankedSource:
    """A source by one metric: its estimate, and whether the best one is not significantly better."""

    source: str
    estimate: Estimate
    not_significantly_worse: bool


def values_of(rows: Sequence[Row], source: str, metric: Metric) -> dict[str, float]:
    """Numbers by picture; the mean where a picture has several, as in mosaics.

    In the order of their paths, whatever that of the rows.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.source == source and np.isfinite(row.values.get(metric.name, np.nan)):
            found.setdefault(row.path, []).append(row.values[metric.name])
    return {path: mean(sorted(found[path])) for path in sorted(found)}


def controls_in(rows: Sequence[Row]) -> set[str]:
    """The sources that are controls."""
    return {row.source for row in rows if row.control}


def estimates(rows: Sequence[Row], metrics: Sequence[Metric], seed: int = 0) -> dict[tuple[str, str], Estimate]:
    """Estimates by source and metric."""
    sources = list(dict.fromkeys(row.source for row in rows))
    pictures = len({row.path for row in rows})
    controls = controls_in(rows)
    found = {}
    for metric in metrics:
        values = {source: values_of(rows, source, metric) for source in sources}
        for source in sources:
            beats = None
            if (
                metric.tells_controls
                and controls
                and source not in controls
                and len(values[source]) >= MIN_PICTURES
            ):
                beats = all(better(values[source], values[control], metric, seed) for control in controls)
            found[source, metric.name] = _estimate(list(values[source].values()), metric, seed, beats, pictures)
    return found


def ranking(rows: Sequence[Row], metric: Metric, seed: int = 0) -> list[RankedSource]:
    """Sources by one metric, the best first, without controls and sources without a number."""
    table, controls = estimates(rows, [metric], seed), controls_in(rows)
    sources = [
        source
        for source, _ in table
        if source not in controls and np.isfinite(table[source, metric.name].value)
    ]
    if not sources:
        return []
    sign = -1 if metric.better == "higher" else 1
    sources.sort(key=lambda source: (sign * table[source, metric.name].value, source))
    worse = significantly_worse(
        sources[0], {source: values_of(rows, source, metric) for source in sources}, metric, seed
    )
    return [RankedSource(source, table[source, metric.name], source not in worse) for source in sources]


def ranks(table: Sequence[RankedSource], metric: Metric) -> dict[str, float]:
    """Ranks by source, 1 the best; tied sources share the mean of their ranks.

    On many networks several methods are one formula, and only rounding tells their numbers apart.
    """
    values = np.array([one.estimate.value for one in table])
    tolerance = tie_tolerance(metric, values)
    places = np.arange(1, len(values) + 1)
    return {one.source: float(places[np.abs(values - one.estimate.value) <= tolerance].mean()) for one in table}


def _estimate(
    values: Sequence[float], metric: Metric, seed: int, beats: bool | None, pictures: int
) -> Estimate:
    missing = pictures - len(values)
    if not values:
        return Estimate(float("nan"), None, None, 0, beats, missing)
    interval = _interval(values, metric, seed)
    low, high = interval or (None, None)
    return Estimate(metric.compute(list(values)), low, high, len(values), beats, missing)


def _interval(values: Sequence[float], metric: Metric, seed: int) -> Interval | None:
    """The interval, for metrics that are means."""
    return interval_of_mean(np.array(values), metric.bounds, seed) if metric.compute is mean else None
