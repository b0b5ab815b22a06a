"""Pages of tables, written from what the benchmarks have left in ``benchmarks/results``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def write_tables(folder: Path) -> None:
    """``folder``: one page a result that is there, and their index."""
    folder.mkdir(exist_ok=True)
    pages = {"support": _support, "grid": _grid}
    present = [name for name in pages if (RESULTS / f"{name}.json").is_file()]
    for name in present:
        report = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        (folder / f"{name}.md").write_text(pages[name](report) + _made(report), encoding="utf-8")
    listed = "\n".join(present)
    index = f"# Measured\n\nTables made by the scripts in `benchmarks/`.\n\n```{{toctree}}\n\n{listed}\n```\n"
    (folder / "index.md").write_text(index, encoding="utf-8")


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
        "For each network, with random weights: the layer that is looked at by default, how its numbers are "
        "read, what the probe says of that, and what a list written by hand from the sources says. Networks "
        "that start training from zeros or without statistics were helped as stated. A third of the rows was "
        "held back while thresholds were chosen.\n\n"
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
