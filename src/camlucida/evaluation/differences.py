"""Which sources are significantly worse than the best one, where the best was chosen from the same data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from camlucida.evaluation.intervals import LEVEL, MIN_PICTURES, Values

if TYPE_CHECKING:
    from camlucida.metrics.registry import Metric

FLIPS = 2**13  # of signs; all that there are if that is fewer
TIE_TOLERANCE = (
    1e-5  # shares of what a measure can be: on many networks several methods are one formula, rounded
)
_AT_ONCE = 2**22  # numbers

ByPicture = Mapping[str, float]


def tie_tolerance(metric: Metric, values: Values) -> float:
    """The largest difference at which two numbers of a metric count as equal.

    A measure with a unit, which has no bounds, goes by the largest of its ``values``.
    """
    if np.isfinite(metric.bounds).all():
        return TIE_TOLERANCE
    return TIE_TOLERANCE * float(np.abs(values[np.isfinite(values)]).max(initial=0))


def significantly_worse(
    best: str, values: Mapping[str, ByPicture], metric: Metric, seed: int = 0, questions: int = 1
) -> set[str]:
    """The sources in ``values`` (source → picture → number) that ``best`` is significantly better than.

    Where all ways are alike, what one is better than another in a picture could as well be the other way round:
    all differences of a picture are turned over together, or none. How far the best one is ahead of a way is
    held against the largest lead of any way over any other after such turns, so that ``best`` may have been
    chosen by these very numbers. About one evaluation in 20 (divided by ``questions``, if as many are asked)
    then calls any way worse that is not. What is worse is left out and the others are judged again, for what
    is far off hides small differences. Unlike an exchange of the ways this holds when their spreads differ.

    Only pictures count of which both ways have a number, and never fewer than ``MIN_PICTURES``.
    """
    sources = sorted(values)
    table = _table([values[source] for source in sources], metric)
    pairs = list(combinations(range(len(sources)), 2))
    if not pairs:
        return set()
    first, second = np.array(pairs).T
    gaps = table[:, first] - table[:, second]
    shared = np.isfinite(gaps).sum(axis=0)
    gaps = np.nan_to_num(gaps) / np.sqrt(np.maximum(shared, 1))
    gaps[:, shared < MIN_PICTURES] = 0
    turned = np.concatenate([np.abs(signs @ gaps) for signs in _signs(len(gaps), seed)])
    sums = gaps.sum(axis=0)
    sums[np.abs(sums) <= tie_tolerance(metric, table) * np.sqrt(shared)] = 0
    leads = _leads(sources.index(best), sums, pairs)
    return {sources[source] for source in _stepwise(leads, turned, pairs, (1 - LEVEL) / questions)}


def better(one: ByPicture, other: ByPicture, metric: Metric, seed: int = 0) -> bool:
    """Whether ``one`` is significantly better than ``other``: a paired sign-flip test over pictures."""
    return "other" in significantly_worse("one", {"one": one, "other": other}, metric, seed)


def _table(columns: list[ByPicture], metric: Metric) -> Values:
    """(pictures, sources), higher is better, NaN where a source has no number."""
    pictures = sorted({picture for column in columns for picture in column})
    sign = 1 if metric.better == "higher" else -1
    rows = [[column.get(picture, np.nan) for column in columns] for picture in pictures]
    return sign * np.array(rows).reshape(len(pictures), len(columns))


def _leads(best: int, sums: Values, pairs: list[tuple[int, int]]) -> dict[int, float]:
    """The lead of ``best`` over each other source."""
    return {
        (second if first == best else first): float(total if first == best else -total)
        for (first, second), total in zip(pairs, sums, strict=True)
        if best in (first, second)
    }


def _stepwise(
    leads: Mapping[int, float], turned: Values, pairs: list[tuple[int, int]], level: float
) -> set[int]:
    """The sources whose lag behind ``best`` random signs rarely reach."""
    worse: set[int] = set()
    while True:
        left = [place for place, pair in enumerate(pairs) if not worse & set(pair)]
        if not left:
            return worse
        largest = turned[:, left].max(axis=1)
        found = {
            source
            for source, lead in leads.items()
            if source not in worse and lead > 0 and (largest >= lead * (1 - 1e-9)).mean() <= level
        }
        if not found:
            return worse
        worse |= found


def _signs(count: int, seed: int) -> Iterator[Values]:
    """Batches of signs (flips, pictures): all combinations, or random ones and the one without a flip."""
    rows = max(1, _AT_ONCE // max(count, 1))
    if 2**count <= FLIPS:
        for start in range(0, 2**count, rows):
            turns = np.arange(start, min(start + rows, 2**count))
            yield 1.0 - 2.0 * (turns[:, None] >> np.arange(count) & 1)
        return
    generator = np.random.default_rng(seed)
    yield np.ones((1, count))
    for start in range(1, FLIPS, rows):
        drawn = generator.integers(2, size=(min(rows, FLIPS - start), count), dtype=np.int8)
        yield 1.0 - 2.0 * drawn
