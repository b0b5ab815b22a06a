"""Plain-text tables, which can be searched and piped."""

from __future__ import annotations

from collections.abc import Sequence

_NARROWEST = 8  # characters of a column, however narrow the terminal


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """One line per row, with columns as wide as their widest entry."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines)


def counted(count: int, thing: str) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def narrowed(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The rows with their widest columns cut, marked with …, to fit ``width`` characters."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return [
        [text if len(text) <= room else f"{text[: room - 1]}…" for text, room in zip(row, widths, strict=True)]
        for row in rows
    ]
