"""Pages of tables, written from what the benchmarks have left in ``benchmarks/results``."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from camlucida.evaluation.run import ARROW
from camlucida.evaluation.statistics import Estimate
from camlucida.metrics.registry import get_metric

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def write_tables(folder: Path) -> None:
    """``folder``: one page a result that is there, and their index."""
    folder.mkdir(exist_ok=True)
    pages = {"leaderboard": _leaderboard, "support": _support, "grid": _grid}
    present = [name for name in pages if (RESULTS / f"{name}.json").is_file()]
    for name in present:
        report = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        (folder / f"{name}.md").write_text(pages[name](report) + _made(report), encoding="utf-8")
    listed = "\n".join(present)
    index = f"# Measured\n\nTables made by the scripts in `benchmarks/`.\n\n```{{toctree}}\n\n{listed}\n```\n"
    (folder / "index.md").write_text(index, encoding="utf-8")


def leaderboard_top(report: dict[str, Any], count: int = 6) -> str:
    """The methods that stand highest over all boards, with their rank on each; the README shows it."""
    boards = report["boards"]
    ranks = {
        method: [board["ways"][method]["rank"] for board in boards.values()]
        for method in _everywhere(boards.values())
    }
    best = sorted(ranks, key=lambda method: sum(ranks[method]))[:count]
    rows = [
        [f"`{method}`", f"{sum(ranks[method]) / len(boards):.1f}"]
        + [_rank(board["ways"][method]) for board in boards.values()]
        for method in best
    ]
    return _table(("method", "mean rank", *boards), rows)


def _everywhere(boards: Iterable[dict[str, Any]]) -> list[str]:
    """Methods that no board refuses; controls have no rank."""
    ways = [{name for name, way in board["ways"].items() if "rank" in way} for board in boards]
    return sorted(set.intersection(*ways))


def _rank(way: dict[str, Any]) -> str:
    return f"{way['rank']:.1f}" + (" ✓" if way["not_significantly_worse"] else "")


def _leaderboard(report: dict[str, Any]) -> str:
    """A table for each network and set of pictures, the best first."""
    text = (
        "# Leaderboard\n\n"
        "Every method on the testbed's four networks, whose pictures show one shape among distractors, and on "
        "EfficientNet-Lite0 with bundled photos: on mosaics of four, where the class lies in a known cell "
        "(`grid`), and as they are (`photos`). Each at the network's default layer.\n\n"
        "Ranks are means over the metrics named above each table; ✓ marks methods that do not differ "
        "significantly from the best one by any of them, where the choice of the best among so many is part of "
        "the test. `≈control` marks a number that is not significantly better than each control (a random "
        "map, a centred spot, the picture's edges). Behind each number is its 95 % interval over pictures; "
        "`(2 without)` counts pictures without a number, such as those with a blank map.\n\n"
        "The testbed's networks were trained so that only positions on the shape speak for its class: "
        "localisation there says whether maps are read and computed rightly, more than which method finds "
        "objects. That is what `grid` is for.\n\n## Highest over all boards, by rank on each\n\n"
    )
    text += leaderboard_top(report)
    for name, board in report["boards"].items():
        text += f"\n## {name}\n\n" + _board(board)
    return text


def _board(board: dict[str, Any]) -> str:
    variants, pictures = board["variants"], board["pictures"]
    right = f", right on {board['right']:.1%} of pictures" if "right" in board else ""
    text = (
        f"{board['model']}, layer `{board['layer']}`{right}; {pictures} pictures, ranked by "
        f"{', '.join(board['ranked_by'])}."
    )
    if variants["asked"]:
        text += (
            f" {variants['asked']} variants of pictures were requested and {variants['run']} run: the others "
            "were already known."
        )
    text += "\n\n"
    if "judged_by" not in board:
        text += (
            "Measured before the choice of the best was part of the test: a method without ✓ may be as good "
            "all the same, and intervals are too narrow.\n\n"
        )
    ways = sorted(board["ways"].items(), key=lambda item: item[1].get("rank", float("inf")))
    names = list(ways[0][1]["measures"])
    head = [f"{name} {ARROW[get_metric(name).better]}" for name in names]
    rows = [
        [f"`{way}`", _rank(told) if "rank" in told else "control"]
        + [_cell(told["measures"][name], pictures) for name in names]
        for way, told in ways
    ]
    text += _table(("method", "rank", *head), rows)
    for method, reason in board["refused"].items():
        text += f"\n`{method}` is refused here: {reason}.\n"
    return text


def _cell(cell: dict[str, Any], pictures: int) -> str:
    return str(Estimate(**{**cell, "missing": pictures - cell["count"]}))


def _made(report: dict[str, Any]) -> str:
    machine = report["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return f"\nMade on {report['date'][:10]}, {machine['cpu']}, Python {machine['python']}, {packages}.\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def _support(report: dict[str, Any]) -> str:
    """The default layer of each network, and a summary."""
    columns = ("rows", "verified", "weak", "no-signal", "unverified", "refused", "maps", "judged by hand")
    summary = [
        [name, *(one[column] for column in columns), len(one["silently wrong"])]
        for name, one in report["summary"].items()
    ]
    rows = []
    for one in report["rows"]:
        layers = "<br>".join(f"`{name}` {layer['layout']}" for name, layer in one["layers"].items())
        size = "×".join(map(str, one["input"]))
        arguments = ", ".join(
            f"{key}={value}" for key, value in one["arguments"].items() if key != "num_classes"
        )
        helps = ", ".join(one["helps"]) or "–"
        cells = [one["source"], f"{one['model']} {arguments}", size, layers or one.get("error", "")[:120]]
        rows.append([*cells, one["verdict"], one["judged"].partition(":")[0] or "–", helps])
    head = ("library", "network", "input", "default layer and its layout", "probe", "by hand", "help given")
    return (
        "# Which networks work without hints\n\n"
        "For each network, with random weights: the default layer, the layout in which it is "
        "read, what the probe says of that layout, and what a list written by hand from the sources says. "
        "Networks that start training from zeros or without statistics were helped as stated. A third of the "
        "rows was held back while thresholds were chosen.\n\n"
        + _table(("", *columns, "silently wrong"), summary)
        + "\n"
        + _table(head, rows)
    )


def _grid(report: dict[str, Any]) -> str:
    """Methods × smoothings of each model; the worse of both classes counts."""
    cells = report["cells"]
    text = (
        "# The tutorial's methods on its models\n\n"
        "Nine methods, plain and smoothed, on five networks at full size, for the top class and for a chosen "
        "one. EfficientNet-Lite0 has its real weights, the others re-drawn ones. Each cell is a map, or blank "
        f"with the reason given. scorecam tried {report['scorecam.channels']} channels.\n"
    )
    for model in dict.fromkeys(one["model"] for one in cells):
        mine = [one for one in cells if one["model"] == model]
        smooths = list(dict.fromkeys(one["smooth"] for one in mine))
        rows = []
        for method in dict.fromkeys(one["method"] for one in mine):
            row = [f"`{method}`"]
            for smooth in smooths:
                both = [one for one in mine if (one["method"], one["smooth"]) == (method, smooth)]
                worse = min(both, key=lambda one: (one["finite"], one["map"]))
                codes = sorted({code for one in both for code in one["findings"]})
                row.append(("map" if worse["map"] else "blank") + (f" ({', '.join(codes)})" if codes else ""))
            rows.append(row)
        text += f"\n## {model}, layer `{mine[0]['layer']}`\n\n" + _table(("", *smooths), rows)
    return text
