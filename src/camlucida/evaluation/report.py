"""An evaluation as a table, files and a picture."""

from __future__ import annotations

import csv
import json
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.files import WRITER, WRITTEN_BY, check_writable, written_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from camlucida.evaluation.run import Evaluation
    from camlucida.evaluation.statistics import Estimate


_NAMES = ("evaluation.json", "evaluation.csv", "ranking.png")
_ESCAPED = "backslashreplace"  # bytes of a file's name that are no UTF-8; JSON reads them as what they were


def check(folder: Path, never: Sequence[Path] = (), overwrite: bool = False) -> None:
    """Refuse, before anything is measured, to replace files that are not results.

    Raises:
        OutputError: see ``files.check_writable``.
    """
    for name in (*_NAMES, "rows.jsonl"):
        check_writable(folder / name, never, overwrite or name == "rows.jsonl")  # Records looks at its own file


def write(
    evaluation: Evaluation,
    folder: Path,
    asked: Mapping[str, Any],
    never: Sequence[Path] = (),
    overwrite: bool = False,
) -> list[Path]:
    """``evaluation.json``, ``evaluation.csv`` and ``ranking.png``.

    Raises:
        OutputError: one cannot be written, or would replace a file that it must not; see ``check``.
    """
    paths = [folder / name for name in _NAMES]
    numbers = evaluation.estimates()
    with written_whole(paths[0], never, overwrite) as path:
        text = json.dumps(_report(evaluation, numbers, asked), indent=1, ensure_ascii=False) + "\n"
        path.write_bytes(text.encode("utf-8", _ESCAPED))
    with (
        written_whole(paths[1], never, overwrite) as path,
        path.open("w", newline="", encoding="utf-8", errors=_ESCAPED) as file,
    ):
        rows = csv.writer(file)
        names = [one.name for one in evaluation.metrics]
        rows.writerow(["path", "way", "class", "probability", "score", "predicted", "right", *names])
        for row in evaluation.rows:
            told = (row.index, row.probability, row.score, row.predicted, row.right)
            values = [row.values.get(name) for name in names]
            rows.writerow([row.path, row.source, *told, *values])
    with written_whole(paths[2], never, overwrite) as path:
        _draw(evaluation, numbers, path)
    return paths


def _report(
    evaluation: Evaluation, numbers: Mapping[tuple[str, str], Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``evaluation.json`` says."""
    return {
        WRITTEN_BY: WRITER,
        "asked": dict(asked),
        "pictures": evaluation.pictures,
        "failed": evaluation.failed,
        "variants": {"asked": evaluation.asked, "run": evaluation.run},
        "ways": [
            {
                "way": source,
                "seconds": evaluation.seconds(source),
                "measures": {one.name: _plain(numbers[source, one.name]) for one in evaluation.metrics},
            }
            for source in evaluation.sources
        ],
    }


def _plain(cell: Estimate) -> dict[str, Any]:
    """For JSON, which has no NaN."""
    numbers = {"value": cell.value, "low": cell.low, "high": cell.high}
    finite = {
        name: number if number is not None and isfinite(number) else None for name, number in numbers.items()
    }
    return {**finite, "pictures": cell.count, "beats floors": cell.beats_controls}


def _draw(evaluation: Evaluation, numbers: Mapping[tuple[str, str], Estimate], path: Path) -> None:
    """For each metric the sources as dots with intervals, the best on top, controls in grey."""
    from matplotlib.figure import Figure

    metrics, sources = evaluation.metrics, evaluation.sources
    figure = Figure(figsize=(3.2 * len(metrics) + 1, 0.32 * len(sources) + 1.2), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        shown = [source for source in sources if isfinite(numbers[source, one.name].value)]
        shown.sort(key=lambda source: numbers[source, one.name].value, reverse=one.better == "lower")
        for place, source in enumerate(shown):
            cell, colour = numbers[source, one.name], "0.6" if source in evaluation.controls else "C0"
            if cell.low is not None:
                ends = [cell.low, cell.high]
                axes.plot(ends, [place, place], color=colour, linewidth=2, solid_capstyle="round")
            axes.plot(cell.value, place, "o", color=colour, markersize=5)
        axes.set_yticks(range(len(shown)), shown, fontsize=8)
        axes.set_title(f"{one.name} ({one.better} is better)", fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(axis="x", color="0.9")
    figure.savefig(path, dpi=150, metadata={"Software": WRITER})
