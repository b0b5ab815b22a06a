"""Pages written from the benchmarks' results say what these say, and so does the README."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "docs"))

import tables  # noqa: E402 - it lies beside the docs


def board(ranks: dict[str, float], value: float = 0.5) -> dict[str, Any]:
    cell = {"value": value, "low": 0.4, "high": 0.6, "count": 9, "beats_controls": False}
    ways: dict[str, Any] = {
        way: {"seconds": 0.1, "rank": rank, "not_significantly_worse": rank < 2, "measures": {"deletion": cell}}
        for way, rank in ranks.items()
    }
    ways["edges"] = {"seconds": 0.0, "measures": {"deletion": cell | {"beats_controls": None}}}
    facts = {"model": "net", "layer": "last", "pictures": 9, "ranked_by": ["deletion"]}
    return facts | {"variants": {"asked": 5, "run": 3}, "refused": {"cam": "no linear layer"}, "ways": ways}


REPORT = {"boards": {"one": board({"a": 1, "b": 2, "c": 3}), "two": board({"b": 1, "a": 3})}}


def test_the_top_is_of_methods_that_stand_on_each_board() -> None:
    lines = tables.leaderboard_top(REPORT).splitlines()
    assert lines[0] == "| method | mean rank | one | two |"
    assert lines[2:] == ["| `b` | 1.5 | 2.0 | 1.0 ✓ |", "| `a` | 2.0 | 1.0 ✓ | 3.0 |"]
    assert len(tables.leaderboard_top(REPORT, 1).splitlines()) == 3


def test_a_board_is_sorted_with_controls_at_the_end() -> None:
    text = tables._leaderboard(REPORT)
    rows = [line for line in text.partition("## one")[2].partition("## two")[0].splitlines() if "| `" in line]
    assert [row.split("`")[1] for row in rows] == ["a", "b", "c", "edges"]
    assert rows[0] == "| `a` | 1.0 ✓ | 0.500 [0.400, 0.600] ≈control |"
    assert rows[-1] == "| `edges` | control | 0.500 [0.400, 0.600] |"
    assert "deletion ↓" in text
    assert "`cam` is refused here: no linear layer." in text


def lines_wanted(name: str, report: dict[str, Any]) -> int:
    """Of tables, without their heads and rules."""
    if name == "leaderboard":
        return 6 + sum(len(board["ways"]) for board in report["boards"].values())
    if name == "support":
        return len(report["summary"]) + len(report["rows"])
    return len({(cell["model"], cell["method"]) for cell in report["cells"]})


@pytest.mark.parametrize("name", ["leaderboard", "support", "grid"])
def test_each_result_becomes_a_page(name: str, tmp_path: Path) -> None:
    """With a line for each method on each board, each network, each method on each model."""
    tables.write_tables(tmp_path)
    assert f"\n{name}\n" in (tmp_path / "index.md").read_text(encoding="utf-8")
    report = json.loads((tables.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    lines = (tmp_path / f"{name}.md").read_text(encoding="utf-8").splitlines()
    rules = [place for place, line in enumerate(lines) if line.startswith("| ---")]
    assert sum(line.startswith("| ") for line in lines) - 2 * len(rules) == lines_wanted(name, report)
    for place in rules:
        assert lines[place - 1].count(" | ") == lines[place].count(" | ") == lines[place + 1].count(" | ")


def test_the_readme_shows_the_top() -> None:
    report = json.loads((tables.RESULTS / "leaderboard.json").read_text(encoding="utf-8"))
    assert tables.leaderboard_top(report) in (ROOT / "README.md").read_text(encoding="utf-8")
