"""Pictures through the judge, one after the other, whatever happens to one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Union

from camlucida.errors import LayerError, OptionError, reason_of
from camlucida.evaluation.differences import worse_ways
from camlucida.evaluation.evaluator import Judge, Row, key_of
from camlucida.evaluation.picture_trials import Way
from camlucida.evaluation.statistics import Cell, Standing, cells, ranking, ranks, values_of
from camlucida.methods.registry import entry
from camlucida.metrics.controls import FLOORS
from camlucida.metrics.registry import Metric, metric_called
from camlucida.tables import aligned

if TYPE_CHECKING:
    from camlucida.evaluation.dataset import Item
    from camlucida.evaluation.evaluator import Given
    from camlucida.evaluation.row_store import Records

METHODS = ("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "eigencam", "eigengradcam")
MEASURES = ("deletion", "insertion", "road_combined")
GRID_MEASURES = ("energy_inside",)
ARROW = {"higher": "↑", "lower": "↓"}

Subject = Union["Item", "Given"]
Track = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Evaluation:
    """What came of a run: rows, pictures that failed with their reasons, and variants of pictures run."""

    rows: list[Row]
    measures: list[Metric]
    seed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    run: int = 0

    def __str__(self) -> str:
        """The table that ``camlucida evaluate`` prints."""
        return aligned(self.table())

    @property
    def ways(self) -> list[str]:
        return list(dict.fromkeys(row.way for row in self.rows))

    @property
    def pictures(self) -> int:
        return len({row.path for row in self.rows})

    def cells(self) -> dict[tuple[str, str], Cell]:
        """By way and measure; see ``summary.cells``."""
        return cells(self.rows, self.measures, self.seed)

    def table(self) -> list[list[str]]:
        """A head and a line for each way: numbers with intervals, and the seconds that a map takes."""
        numbers = self.cells()
        lines = [["method", *(f"{one.name} {ARROW[one.better]}" for one in self.measures), "seconds"]]
        for way in self.ways:
            shown = [str(numbers[way, one.name]) for one in self.measures]
            lines.append([way, *shown, f"{self.seconds(way):.3f}"])
        return lines

    def ranking(self, metric: str) -> list[Standing]:
        """Ways, the best first; see ``summary.ranking``."""
        return ranking(self.rows, metric_called(metric), self.seed)

    def seconds(self, way: str) -> float:
        """What the map of one picture took, by itself; the median where runs came together."""
        return median(row.seconds for row in self.rows if row.way == way)


def ways_of(methods: Sequence[str], layers: Sequence[str | None] = (None,), floors: bool = True) -> list[Way]:
    """Methods × layers, and the floors behind them.

    Raises:
        OptionError: there is no such method.
    """
    named = [entry(name).name for name in methods]
    ways = [Way(method, layer) for layer in layers for method in named]
    return [*ways, *(Way(name) for name in FLOORS if floors)]


def evaluate(
    judge: Judge, items: Sequence[Subject], records: Records | None = None, track: Track = lambda items: items
) -> Evaluation:
    """Every picture, what ``records`` knows left out; one that fails is noted and the others go on.

    Raises:
        CamlucidaError: a method does not fit the model or the layer, or a measure cannot be taken.
        OutputError: rows cannot be written.
    """
    keys = {key_of(item): item for item in items}
    rows = {key: _known(judge, key, records) for key in keys}
    failed: dict[str, str] = {}
    begun, refused = False, None
    for key in track([key for key in keys if len(_complete(judge, rows[key])) < len(judge.ways)]):
        try:
            found = _measured(judge, keys[key], rows[key])
        except Exception as error:
            failed[str(keys[key].path)] = reason_of(error)
            if isinstance(error, (LayerError, OptionError)) and not begun:
                refused = error
                if judge.refusal:
                    raise judge.refusal from error
            continue
        begun = True
        if records:
            records.add(found)
        rows[key] |= {row.way: row for row in found}
    if refused and not begun and len(set(failed.values())) == 1:
        raise refused  # it was the same for each
    every = [
        own[str(way)]
        for own in rows.values()
        if len(_complete(judge, own)) == len(judge.ways)
        for way in judge.ways
    ]
    measures = [measure for measure, _ in judge.measures]
    return Evaluation(every, measures, judge.seed, failed, judge.count.asked, judge.count.run)


def _known(judge: Judge, key: str, records: Records | None) -> dict[str, Row]:
    """By way, what was measured of a picture before."""
    found = {str(way): records.find(key, str(way)) for way in judge.ways} if records else {}
    return {way: row for way, row in found.items() if row}


def _complete(judge: Judge, known: Mapping[str, Row]) -> list[str]:
    """The ways of which every measure is known."""
    names = {measure.name for measure, _ in judge.measures}
    return [way for way, row in known.items() if names <= row.values.keys()]


def _measured(judge: Judge, item: Subject, known: Mapping[str, Row]) -> list[Row]:
    """The rows that are missing, or lack measures, with what was known of them."""
    wanted = {}
    for way in judge.ways:
        have = known[str(way)].values if str(way) in known else {}
        measures = [(measure, settings) for measure, settings in judge.measures if measure.name not in have]
        if measures:
            wanted[way] = measures
    whole = []
    for row in judge.rows(item, wanted):
        values = {**(known[row.way].values if row.way in known else {}), **row.values}
        whole.append(replace(row, values={measure.name: values[measure.name] for measure, _ in judge.measures}))
    return whole


@dataclass(frozen=True)
class Advice:
    """A way, its mean rank by several measures, and whether the best one is better by any of them."""

    way: str
    rank: float
    as_good: bool
    standings: dict[str, Standing]


def advice(evaluation: Evaluation) -> list[Advice]:
    """Ways by their mean rank over all measures, the best first; floors are left out.

    A way is as good as the best where by no measure the best is better by more than chance; of several
    measures each is a chance to be wrong (Bonferroni).
    """
    tables = {one.name: evaluation.ranking(one.name) for one in evaluation.measures}
    places = {one.name: ranks(tables[one.name], one) for one in evaluation.measures}
    complete = [way for way in evaluation.ways if all(way in known for known in places.values())]
    complete.sort(key=lambda way: (sum(known[way] for known in places.values()), way))
    worse = _worse_than_first(complete, evaluation)
    found = []
    for way in complete:
        own = {name: next(one for one in table if one.way == way) for name, table in tables.items()}
        rank = sum(known[way] for known in places.values()) / max(len(places), 1)
        found.append(Advice(way, rank, way not in worse, own))
    return found


def _worse_than_first(ways: Sequence[str], evaluation: Evaluation) -> set[str]:
    """Those than which the first of ``ways`` is better by any measure."""
    found: set[str] = set()
    for one in evaluation.measures:
        values = {way: values_of(evaluation.rows, way, one) for way in ways}
        if ways:
            found |= worse_ways(ways[0], values, one, evaluation.seed, len(evaluation.measures))
    return found


def advice_table(evaluation: Evaluation) -> list[list[str]]:
    """A head and a line for each method and layer, the best first, and for each floor."""
    names, numbers = [one.name for one in evaluation.measures], evaluation.cells()

    def line(said: str, way: str, rank: str) -> list[str]:
        cells = [str(numbers[way, name]) for name in names]
        return [said, way, rank, *cells, f"{evaluation.seconds(way):.3f}"]

    lines = [["", "method and layer", "mean rank", *names, "seconds"]]
    for place, one in enumerate(advice(evaluation), 1):
        said = "best" if place == 1 else "no significant difference" if one.as_good else ""
        lines.append(line(said, one.way, f"{one.rank:.1f}"))
    return lines + [line("floor", way, "") for way in evaluation.ways if way in FLOORS]


def measures_of(
    names: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None = None
) -> list[tuple[Metric, Mapping[str, Any]]]:
    """Measures by name with their settings.

    Raises:
        OptionError: there is no such measure or option.
    """
    found = [metric_called(name) for name in names]
    return [(one, one.settings((options or {}).get(one.name))) for one in found]
