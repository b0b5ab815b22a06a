"""What many pictures say together: means with bootstrap intervals, and which differences are not chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camlucida.evaluation.judge import Row
from camlucida.metrics.floors import FLOORS
from camlucida.metrics.registry import Metric, mean

Values = np.ndarray[Any, Any]

DRAWS = 2000
LEVEL = 0.95
FEWEST = 6  # pictures: that as many differences have one sign happens by chance less than once in 40
FLIPS = 2**13  # of signs; all that there are if that is fewer
NOT_BETTER = "≈floor"  # behind a number that is not better than each floor by more than chance
SAME = 1e-5  # numbers no further apart are the same: on many networks several methods are one formula, rounded


@dataclass(frozen=True)
class Cell:
    """A measure of one way over all pictures: the number, its interval, and of how many pictures.

    ``beats_floors`` says whether it is better than each floor by more than chance; None where there is none, or
    too few pictures to tell. ``missing`` counts pictures without a number, such as of a blank map.
    """

    value: float
    low: float
    high: float
    count: int
    beats_floors: bool | None = None
    missing: int = 0

    def __str__(self) -> str:
        """The number with its interval, and a mark where it is no better than a floor."""
        if not np.isfinite(self.value):
            return "–"
        interval = f" [{self.low:.3f}, {self.high:.3f}]" if self.count > 1 else ""
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
    """By picture, where there is a number; the mean where there are several, as of mosaics that look for it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.way == way and np.isfinite(row.values.get(metric.name, np.nan)):
            found.setdefault(row.path, []).append(row.values[metric.name])
    return {path: mean(values) for path, values in found.items()}


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
            if floors and way not in FLOORS and len(values[way]) >= FEWEST:
                beats = all(better(values[way], values[floor], metric, seed) for floor in floors)
            found[way, metric.name] = _cell(list(values[way].values()), metric, seed, beats, pictures)
    return found


def better(
    one: Mapping[str, float], other: Mapping[str, float], metric: Metric, seed: int = 0, chances: int = 1
) -> bool:
    """Whether ``one`` is better by more than chance, on the pictures that both have a number of.

    By a sign-flip test: where both are alike, each difference could as well be the other way round. The share
    of such flips whose mean is as high is to be at most 2.5 %, divided by ``chances`` if as many questions are
    asked (Bonferroni). Fewer than ``FEWEST`` pictures never are enough.
    """
    paths = sorted(one.keys() & other.keys())
    sign = 1 if metric.better == "higher" else -1
    apart = sign * np.array([one[path] - other[path] for path in paths])
    if len(apart) == 0 or apart.mean() <= SAME:
        return False
    flipped = _flips(len(apart), seed) @ apart / len(apart)
    return bool((flipped >= apart.mean() - 1e-12).mean() <= (1 - LEVEL) / 2 / chances)


def _flips(count: int, seed: int) -> Values:
    """Signs (flips, pictures): every combination, or as many as are drawn, and those as they are."""
    if 2**count <= FLIPS:
        bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return 1.0 - 2.0 * bits
    drawn = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, count))
    drawn[0] = 1
    return drawn


def ranking(rows: Sequence[Row], metric: Metric, seed: int = 0) -> list[Standing]:
    """Ways by one measure, the best first; floors are left out, and so are ways without a number."""
    table = cells(rows, [metric], seed)
    ways = [way for way, _ in table if way not in FLOORS and np.isfinite(table[way, metric.name].value)]
    ways.sort(key=lambda way: table[way, metric.name].value, reverse=metric.better == "higher")
    if not ways:
        return []
    values = {way: values_of(rows, way, metric) for way in ways}
    return [
        Standing(way, table[way, metric.name], not better(values[ways[0]], values[way], metric, seed))
        for way in ways
    ]


def _cell(values: Sequence[float], metric: Metric, seed: int, beats: bool | None, pictures: int) -> Cell:
    missing = pictures - len(values)
    if not values:
        return Cell(float("nan"), float("nan"), float("nan"), 0, beats, missing)
    drawn = _computed(metric, np.array(values)[_draws(len(values), seed)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Cell(metric.compute(list(values)), float(low), float(high), len(values), beats, missing)


def _computed(metric: Metric, samples: Values) -> Values:
    """The measure's number for each sample (samples, pictures)."""
    if metric.compute is mean:
        means: Values = samples.mean(axis=1)
        return means
    return np.array([metric.compute(sample.tolist()) for sample in samples])


def _draws(count: int, seed: int) -> Values:
    """Which pictures make up each of the bootstrap's samples (DRAWS, count)."""
    return np.random.default_rng(seed).integers(count, size=(DRAWS, count))
