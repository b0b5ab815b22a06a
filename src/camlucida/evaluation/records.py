"""Rows on disk, a line each, so that a run that was cut off goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from camlucida.errors import OutputError
from camlucida.evaluation.judge import Row


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
            self.rows = _whole_pictures(lines[1:])
            self._write([head, *(_line(row) for row in self.rows)], "w")
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror or error}), give another place"
            ) from error

    @property
    def done(self) -> set[str]:
        """The pictures that have their rows."""
        return {row.path for row in self.rows}

    def add(self, rows: Sequence[Row]) -> None:
        """All rows of one picture."""
        self._write([_line(row) for row in rows], "a")
        self.rows += rows

    def _write(self, lines: Sequence[str], mode: str) -> None:
        with self.path.open(mode, encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))


def _whole_pictures(lines: Sequence[str]) -> list[Row]:
    """The rows of pictures that were finished: the last may have been cut off between its rows."""
    rows = []
    for line in lines:
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError):
            break
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.path] = counts.get(row.path, 0) + 1
    most = max(counts.values(), default=0)
    return [row for row in rows if counts[row.path] == most]


def _line(row: Row) -> str:
    return json.dumps(asdict(row), ensure_ascii=False)
