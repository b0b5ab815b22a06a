"""Rows on disk, a line each, so that a run that was cut off goes on where it was."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from camlucida.errors import OutputError
from camlucida.evaluation.judge import Row
from camlucida.files import written_whole


class Records:
    """The rows of one run in ``folder``. ``asked`` says what the run is of: rows of another are not mixed in.

    Raises:
        OutputError: the folder has the rows of another run, or cannot be written.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self.path = folder / "rows.jsonl"
        self.rows: list[Row] = []
        head = json.dumps(asked, sort_keys=True, ensure_ascii=False)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
            if lines and lines[0] != head:
                raise OutputError(f"{self.path} has the rows of another run, give another --out or remove it")
            self.rows = _whole_pictures(lines[1:], len(asked["ways"]))
            with written_whole(self.path, overwrite=True) as path:  # its head was ours
                path.write_text(_text([head, *map(_line, self.rows)]), encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror or error}), give another place"
            ) from error

    def of(self, keys: Collection[str]) -> list[Row]:
        """The rows of those pictures that have any."""
        return [row for row in self.rows if row.key in keys]

    def add(self, rows: Sequence[Row]) -> None:
        """All rows of one picture."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_text([_line(row) for row in rows]))
        self.rows += rows


def _whole_pictures(lines: Sequence[str], ways: int) -> list[Row]:
    """The rows of pictures that have one for each way: the last may have been cut off between its rows."""
    rows = []
    for line in lines:
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError):
            break
    counts = Counter(row.key for row in rows)
    return [row for row in rows if counts[row.key] == ways]


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _line(row: Row) -> str:
    return json.dumps(asdict(row), ensure_ascii=False)
