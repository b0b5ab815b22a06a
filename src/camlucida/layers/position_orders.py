"""In which order a layer's positions may lie: row by row, as all layouts are read, or in another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from camlucida.capture.layout import Layout

Order = Callable[[Layout], tuple[Tensor, Tensor]]  # the row and the column of each position, (positions,)


def rows(layout: Layout) -> tuple[Tensor, Tensor]:
    """Row by row, as all layouts are read."""
    height, width = layout.grid
    row = torch.arange(height)[:, None].expand(height, width)
    column = torch.arange(width).expand(height, width)
    return row.flatten(), column.flatten()


def columns(layout: Layout) -> tuple[Tensor, Tensor]:
    """Column by column: height and width exchanged."""
    height, width = layout.grid
    row = torch.arange(height).expand(width, height)
    column = torch.arange(width)[:, None].expand(width, height)
    return row.flatten(), column.flatten()


def _flipped(layout: Layout, axis: int) -> tuple[Tensor, Tensor]:
    places = list(rows(layout))
    places[axis] = layout.grid[axis] - 1 - places[axis]
    return places[0], places[1]


def _windows(layout: Layout, side: int) -> tuple[Tensor, Tensor]:
    """Window by window; row by row where the windows do not fit the grid."""
    height, width = layout.grid
    if height % side or width % side:
        return rows(layout)
    row, column = (
        place.view(height // side, side, width // side, side).transpose(1, 2).flatten()
        for place in (one.view(height, width) for one in rows(layout))
    )
    return row, column


def _unrolled(layout: Layout, side: int) -> tuple[Tensor, Tensor]:
    """All first positions of the windows, then all second ones, and so on."""
    height, width = layout.grid
    if height % side or width % side:
        return rows(layout)
    row, column = (
        place.view(height // side, side, width // side, side).permute(1, 3, 0, 2).flatten()
        for place in (one.view(height, width) for one in rows(layout))
    )
    return row, column


ORDERS: list[Order] = [
    columns,
    partial(_flipped, axis=0),
    partial(_flipped, axis=1),
    *(partial(order, side=side) for order in (_windows, _unrolled) for side in (2, 4, 7, 8)),
]
