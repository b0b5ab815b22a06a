"""Many pictures on one sheet: a grid of equal cells with labelled rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from camlucida.images.text import FAINT, INK, PAPER, fit, font

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

TILE = 288  # the longer side of the largest picture, in pixels
TEXT, GAP = 17, 12
LINE = TEXT + 6
SMALLEST = 15  # font size of a text that does not fit at its usual size


@dataclass(frozen=True)
class Tile:
    """A picture and the lines under it; the cell is empty where ``picture`` is None."""

    picture: Image | None
    lines: tuple[str, ...] = ()


def sheet(rows: Sequence[Sequence[Tile]], columns: Sequence[str], labels: Sequence[Sequence[str]]) -> Image:
    """The grid of cells, ``columns`` over it, and over each row its ``labels`` on the left.

    Pictures keep their proportions; all cells have the same size.
    """
    from PIL import Image, ImageDraw

    width, height = _tile_size(rows)
    margin = _margin(labels)
    caption = LINE * max((len(cell.lines) for row in rows for cell in row), default=0)
    head = LINE + GAP // 2 if any(columns) else 0
    across, down = width + GAP, height + caption + GAP
    page = Image.new("RGB", (margin + GAP + across * len(columns), GAP + head + down * len(rows)), PAPER)
    draw = ImageDraw.Draw(page)
    for j, column in enumerate(columns):
        _centred(draw, column, (margin + GAP + j * across, GAP), width, bold=True)
    for i, row in enumerate(rows):
        top = GAP + head + i * down
        for k, label in enumerate(labels[i]):
            draw.text((GAP, top + k * LINE), label, fill=INK if k == 0 else FAINT, font=font(TEXT, bold=k == 0))
        for j, cell in enumerate(row):
            left = margin + GAP + j * across
            if cell.picture is not None:
                small = _contained(cell.picture, (width, height))
                page.paste(small, (left + (width - small.width) // 2, top + (height - small.height) // 2))
            for k, line in enumerate(cell.lines):
                _centred(draw, line, (left, top + height + 3 + k * LINE), width)
    return page


def _tile_size(rows: Sequence[Sequence[Tile]]) -> tuple[int, int]:
    """The smallest cell that holds every picture with its longer side at TILE pixels."""
    sizes = [cell.picture.size for row in rows for cell in row if cell.picture is not None]
    fitted = [_scaled(size, (TILE, TILE)) for size in sizes] or [(TILE, TILE)]
    return max(width for width, _ in fitted), max(height for _, height in fitted)


def _scaled(size: tuple[int, int], room: tuple[int, int]) -> tuple[int, int]:
    factor = min(room[0] / size[0], room[1] / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _contained(picture: Image, room: tuple[int, int]) -> Image:
    from PIL import Image

    return picture.resize(_scaled(picture.size, room), Image.Resampling.LANCZOS)


def _margin(labels: Sequence[Sequence[str]]) -> int:
    widths = [
        font(TEXT, bold=k == 0).getlength(label) for row in labels for k, label in enumerate(row) if label
    ]
    return int(max(widths)) + GAP if widths else 0


def _centred(draw: ImageDraw, text: str, at: tuple[int, int], width: int, bold: bool = False) -> None:
    """``text`` over ``width`` pixels, in a smaller font and then shortened if it is too long."""
    size = next((s for s in range(TEXT, SMALLEST, -1) if font(s, bold).getlength(text) <= width), SMALLEST)
    text = fit(text, size, width, bold)
    left = at[0] + (width - font(size, bold).getlength(text)) / 2
    draw.text((left, at[1]), text, fill=INK, font=font(size, bold))
