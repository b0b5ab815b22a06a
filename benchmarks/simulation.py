"""Do intervals cover what they say, and how often is a difference called more than chance that is none?

python benchmarks/simulation.py [--runs 2000]

(Not called ``statistics``: scripts beside it would get it in place of Python's own module.)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import interval_candidates
import measure
from camlucida.evaluation.differences import better, significantly_worse
from camlucida.evaluation.evaluator import Row
from camlucida.evaluation.intervals import Interval, Values, interval_of_mean
from camlucida.evaluation.run import Evaluation, advice
from camlucida.metrics.registry import Metric, get_metric

HERE = Path(__file__).parent
ANY = (-float("inf"), float("inf"))
Draw = Callable[[np.random.Generator, Any], Values]
LAWS: dict[str, tuple[Draw, float, Interval]] = {  # how values are drawn, their mean, a measure's bounds
    "normal": (lambda g, size: g.normal(size=size), 0.0, ANY),
    "beta(.5, 2)": (lambda g, size: g.beta(0.5, 2, size), 0.2, (0, 1)),
    "lognormal": (lambda g, size: g.lognormal(0, 1, size), float(np.exp(0.5)), ANY),
    "0/1, p = .8": (lambda g, size: (g.random(size) < 0.8) * 1.0, 0.8, (0, 1)),
    "0/1, p = .95": (lambda g, size: (g.random(size) < 0.95) * 1.0, 0.95, (0, 1)),
    "zeros and beta": (lambda g, size: g.beta(1, 2, size) * (g.random(size) < 0.4), 0.4 / 3, (0, 1)),
}
COUNTS = (6, 10, 20, 50)
WAYS = (2, 7, 20)
AHEAD = 1.2  # by how many deviations of its noise one way is better, where power is asked for


TRIED: dict[str, Callable[[Values, Interval, int], Interval | None]] = {
    "camlucida": interval_of_mean,
    "percentile": interval_candidates.percentile,
    "Student's t": interval_candidates.student,
    "BCa": interval_candidates.bca,
    "bootstrap-t": interval_candidates.bootstrap_t,
    "Wilson": interval_candidates.wilson,
}


def intervals(runs: int, seed: int = 0) -> dict[str, Any]:
    """By law and count of pictures: how many intervals hold the true mean, and their median width."""
    found: dict[str, Any] = {}
    for law, (draw, truth, bounds) in LAWS.items():
        for count in COUNTS:
            generator = np.random.default_rng(seed)
            drawn = draw(generator, (runs, count))
            names = [name for name in TRIED if name != "Wilson" or law.startswith("0/1")]
            found.setdefault(law, {})[str(count)] = {
                name: _coverage([TRIED[name](one, bounds, i) for i, one in enumerate(drawn)], truth)
                for name in names
            }
    return found


def _coverage(given: list[Interval | None], truth: float) -> dict[str, float]:
    """Where there is no interval it covers nothing."""
    ends = np.array([one or (np.nan, np.nan) for one in given])
    held = (ends[:, 0] - 1e-12 <= truth) & (truth <= ends[:, 1] + 1e-12)
    return {"coverage": float(held.mean()), "width": float(np.nanmedian(ends[:, 1] - ends[:, 0]))}


Case = Callable[[np.random.Generator, int, int], Values]  # pictures, ways → (pictures, ways)


def alike(generator: np.random.Generator, pictures: int, sources: int) -> Values:
    """Each way as good as any other, each picture easier or harder for all."""
    return generator.normal(size=(pictures, 1)) + generator.normal(size=(pictures, sources))


def skewed(generator: np.random.Generator, pictures: int, sources: int) -> Values:
    return generator.normal(size=(pictures, 1)) + generator.lognormal(0, 1, (pictures, sources))


def uneven(generator: np.random.Generator, pictures: int, sources: int) -> Values:
    """A quarter of the ways, two at least, scatter a hundred times as far as the others."""
    spread = np.where(np.arange(sources) < max(2, sources // 4), 1, 0.01)
    return generator.normal(size=(pictures, 1)) + spread * generator.normal(size=(pictures, sources))


def half_bad(generator: np.random.Generator, pictures: int, sources: int) -> Values:
    """Half of them far worse: differences are false among the others alone."""
    return alike(generator, pictures, sources) - 4 * (np.arange(sources) >= (sources + 1) // 2)


def one_ahead(generator: np.random.Generator, pictures: int, sources: int) -> Values:
    return alike(generator, pictures, sources) + AHEAD * (np.arange(sources) == 0)


def one_ahead_some_bad(generator: np.random.Generator, pictures: int, sources: int) -> Values:
    return one_ahead(generator, pictures, sources) - 4 * (np.arange(sources) >= sources - sources // 3)


def together(values: Values, metric: Metric, seed: int) -> set[int]:
    """What camlucida does."""
    columns = {f"{source:02}": _column(values, source) for source in range(values.shape[1])}
    best = f"{int(values.mean(axis=0).argmax()):02}"
    return {int(source) for source in significantly_worse(best, columns, metric, seed)}


def one_by_one(values: Values, metric: Metric, seed: int) -> set[int]:
    """The best against each other, as if it had been named beforehand."""
    best = int(values.mean(axis=0).argmax())
    return {
        source
        for source in range(values.shape[1])
        if better(_column(values, best), _column(values, source), metric, seed)
    }


def exchanged(values: Values, _: Metric, seed: int) -> set[int]:
    """Ways exchanged within each picture, the range of their means."""
    shape, generator = (400, *values.shape), np.random.default_rng(seed)
    means = generator.permuted(np.broadcast_to(values, shape), axis=2).mean(axis=1)
    apart = values.mean(axis=0).max() - values.mean(axis=0)
    return set(np.flatnonzero(apart > np.quantile(np.ptp(means, axis=1), 0.95)).tolist())


def _column(values: Values, source: int) -> dict[str, float]:
    return {f"{picture:04}": float(value) for picture, value in enumerate(values[:, source])}


COMPARED = {"camlucida": together, "one by one": one_by_one, "exchanged": exchanged}
# With how many of the ways, the first, count: those that are alike, or those behind the one ahead.
NULL: dict[str, tuple[Case, Callable[[int], int]]] = {
    "alike": (alike, lambda sources: sources),
    "skewed": (skewed, lambda sources: sources),
    "uneven spread": (uneven, lambda sources: sources),
    "half far worse": (half_bad, lambda sources: (sources + 1) // 2),
}
POWER: dict[str, tuple[Case, Callable[[int], int]]] = {
    "one ahead": (one_ahead, lambda sources: sources),
    "one ahead, a third far worse": (one_ahead_some_bad, lambda sources: sources - sources // 3),
}


def differences(runs: int, seed: int = 0) -> dict[str, Any]:
    """By case, pictures and ways: evaluations with a false difference, and the share of true ones seen."""
    found: dict[str, Any] = {"false": {}, "seen": {}}
    for pictures, sources in product((8, 20), WAYS):
        place = f"{pictures} pictures, {sources} ways"
        for name, (case, ended) in NULL.items():
            told = _told(case, pictures, sources, runs, seed)
            not_significantly_worse = set(range(ended(sources)))
            found["false"].setdefault(name, {})[place] = {
                how: float(np.mean([bool(worse & not_significantly_worse) for worse in each]))
                for how, each in told.items()
            }
        for name, (case, ended) in POWER.items():
            told = _told(case, pictures, sources, runs, seed)
            others = set(range(1, ended(sources)))
            found["seen"].setdefault(name, {})[place] = {
                how: float(np.mean([len(worse & others) / len(others) for worse in each]))
                for how, each in told.items()
            }
    return found | {"false, advice by three measures": _advice(max(1, runs // 4), seed)}


def _told(case: Case, pictures: int, sources: int, runs: int, seed: int) -> dict[str, list[set[int]]]:
    """By rule and run, which ways are called worse than the best."""
    metric = get_metric("insertion")
    drawn = [case(np.random.default_rng((seed, run)), pictures, sources) for run in range(runs)]
    return {
        how: [rule(values, metric, run) for run, values in enumerate(drawn)] for how, rule in COMPARED.items()
    }


def _advice(runs: int, seed: int) -> dict[str, float]:
    """The share of recommendations with a false difference, of 20 pictures."""
    measures = [get_metric(name) for name in ("insertion", "road_combined", "energy_inside")]
    found = {}
    for sources in WAYS:
        wrong = 0
        for run in range(runs):
            generator = np.random.default_rng((seed, run, sources))
            values = {one.name: alike(generator, 20, sources) for one in measures}
            rows = [
                Row(f"{i:02}", f"way {k}", 0, 0.5, {name: float(v[i, k]) for name, v in values.items()}, 0.0)
                for i in range(20)
                for k in range(sources)
            ]
            wrong += any(not one.not_significantly_worse for one in advice(Evaluation(rows, measures)))
        found[f"{sources} ways"] = wrong / runs
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--runs", type=int, default=2000, help="of each interval; a quarter of them of each difference (2000)"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "statistics.json")
    options = parser.parse_args()
    report: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    report |= {"machine": measure.machine(1), "runs": options.runs, "seed": 0}
    for name, part in (("intervals", intervals(options.runs)), ("differences", differences(options.runs // 4))):
        report[name] = part
        Console().print_json(json.dumps(part))
    options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
