"""What many pictures say together: means with their intervals, and which differences are not chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camlucida.evaluation.differences import better, tie_tolerance, worse_ways
from camlucida.evaluation.evaluator import Row
from camlucida.evaluation.intervals import MIN_PICTURES, Interval, interval_of_mean
from camlucida.metrics.controls import FLOORS
from camlucida.metrics.registry import Metric, mean

NOT_BETTER = "≈floor"  # behind a number that is not better than each floor by more than chance


@dataclass(frozen=True)
class Cell:
    """A measure of one way over all pictures: the number, its interval, and of how many pictures.

    ``low`` and ``high`` are None for fewer than ``MIN_PICTURES``. ``beats_floors`` says whether it is better
    than each floor by more than chance; None where there is none, too few pictures to tell, or a measure by
    which floors are good. ``missing`` counts pictures without a number, such as of a blank map.
    """

    value: float
    low: float | None
    high: float | None
    count: int
    beats_floors: bool | None = None
    missing: int = 0

    def __str__(self) -> str:
        """The number with its interval, and a mark where it is no better than a floor."""
        if not np.isfinite(self.value):
            return "–"
        known = self.low is not None and self.high is not None
        interval = f" [{self.low:.3f}, {self.high:.3f}]" if known else ""
        without = f" ({self.missing} without)" if self.missing else ""
        mark = f" {NOT_BETTER}" if self.beats_floors is False else ""
        return f"{self.value:.3f}{interval}{without}{mark}"


@dataclass(frozen=True)
class Standing:
    """Where a way stands by one measure: its cell, and whether the best one is better by more than chance."""

    way: str
    cell: Cell
    as_good: bool


def values_of(rows: Sequence[Row], way: str, metric: Metric) -> dict[str, float]:
    """By picture, where there is a number; the mean where there are several, as of mosaics that look for it.

    In the order of their paths, whatever that of the rows.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.way == way and np.isfinite(row.values.get(metric.name, np.nan)):
            found.setdefault(row.path, []).append(row.values[metric.name])
    return {path: mean(sorted(found[path])) for path in sorted(found)}


def cells(rows: Sequence[Row], measures: Sequence[Metric], seed: int = 0) -> dict[tuple[str, str], Cell]:
    """By way and measure."""
    ways = list(dict.fromkeys(row.way for row in rows))
    pictures = len({row.path for row in rows})
    floors = [way for way in ways if way in FLOORS]
    found = {}
    for metric in measures:
        values = {way: values_of(rows, way, metric) for way in ways}
        for way in ways:
            beats = None
            if metric.tells_floors and floors and way not in FLOORS and len(values[way]) >= MIN_PICTURES:
                beats = all(better(values[way], values[floor], metric, seed) for floor in floors)
            found[way, metric.name] = _cell(list(values[way].values()), metric, seed, beats, pictures)
    return found


def ranking(rows: Sequence[Row], metric: Metric, seed: int = 0) -> list[Standing]:
    """Ways by one measure, the best first; floors are left out, and so are ways without a number."""
    table = cells(rows, [metric], seed)
    ways = [way for way, _ in table if way not in FLOORS and np.isfinite(table[way, metric.name].value)]
    if not ways:
        return []
    sign = -1 if metric.better == "higher" else 1
    ways.sort(key=lambda way: (sign * table[way, metric.name].value, way))
    worse = worse_ways(ways[0], {way: values_of(rows, way, metric) for way in ways}, metric, seed)
    return [Standing(way, table[way, metric.name], way not in worse) for way in ways]


def ranks(table: Sequence[Standing], metric: Metric) -> dict[str, float]:
    """By way, the best being 1; of ways with the same number each has the mean of their places.

    On many networks several methods are one formula, and only rounding tells their numbers apart.
    """
    values = np.array([one.cell.value for one in table])
    tolerance = tie_tolerance(metric, values)
    places = np.arange(1, len(values) + 1)
    return {one.way: float(places[np.abs(values - one.cell.value) <= tolerance].mean()) for one in table}


def _cell(values: Sequence[float], metric: Metric, seed: int, beats: bool | None, pictures: int) -> Cell:
    missing = pictures - len(values)
    if not values:
        return Cell(float("nan"), None, None, 0, beats, missing)
    interval = _interval(values, metric, seed)
    low, high = interval or (None, None)
    return Cell(metric.compute(list(values)), low, high, len(values), beats, missing)


def _interval(values: Sequence[float], metric: Metric, seed: int) -> Interval | None:
    """Known of means alone."""
    return interval_of_mean(np.array(values), metric.bounds, seed) if metric.compute is mean else None
