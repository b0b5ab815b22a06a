"""A layer's output read by the user's own function instead of a layout that the probe finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from camlucida.capture.layout import Layout, readings
from camlucida.errors import LayerError
from camlucida.images import Size

Reshape = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class CustomLayout:
    """A layout like ``layout.Layout``, for an order of positions that no ``Layout`` has.

    ``places`` says where in one picture's output each value of its maps lies; None where ``function`` does
    more than to choose and to reorder.
    """

    function: Reshape
    grid: Size
    places: Tensor | None
    batch_axis: int = 0

    def __str__(self) -> str:
        return f"own {self.grid[0]}×{self.grid[1]}"

    def to_maps(self, tensor: Tensor) -> Tensor:
        """(batch, channels, height, width) of the layer's own output."""
        return self.function(tensor)

    def from_maps(self, maps: Tensor, like: Tensor) -> Tensor:
        """The layer's output with ``maps`` (n, channels, height, width), and the rest as in ``like`` (1, …).

        Raises:
            LayerError: the function cannot be turned round.
        """
        if self.places is None:
            raise LayerError(
                "this method writes to the layer, and the reshape function given does more than to choose and "
                "reorder values: leave it out, so that the layout is found, or choose a method of gradients"
            )
        output = like.expand(len(maps), *like.shape[1:]).flatten(1).clone()
        output[:, self.places.to(output.device)] = maps.flatten(1).to(like.dtype)
        return output.view(len(maps), *like.shape[1:])


# (layer name, what it returned, the input's size) → its layout
LayoutReader = Callable[[str, Tensor, Size], Layout | CustomLayout]


def reading_by(function: Reshape | None) -> LayoutReader | None:
    """Every layer read by one function."""
    return None if function is None else partial(_read_by, function)  # which can be pickled


def _read_by(function: Reshape, _: str, tensor: Tensor, size: Size) -> Layout | CustomLayout:
    return read_by(function, tensor, size)


def read_by(function: Reshape, tensor: Tensor, size: Size) -> Layout | CustomLayout:
    """How ``function`` reads a layer's output ``tensor``, for an input of ``size``.

    Found by what it makes of numbers that name their own places: mostly it is a layout that is known.

    Raises:
        LayerError: it returns something else than (batch, channels, height, width).
    """
    numbers = torch.arange(tensor.numel(), dtype=torch.float64).view(tensor.shape)  # whole ones, up to 2^53
    maps = function(numbers)
    shape = tuple(getattr(maps, "shape", ()))
    if len(shape) != 4:
        raise LayerError(
            f"a reshape function returns (batch, channels, height, width), this one returned {shape} for "
            f"{tuple(tensor.shape)}: leave it out, and the layout is found"
        )
    for layout in readings(tuple(tensor.shape), shape[0], size):
        if torch.equal(layout.to_maps(numbers), maps):
            return layout
    grid, own = (int(shape[2]), int(shape[3])), maps[0].flatten()
    chosen = len(tensor) == shape[0] and own.numel() and bool((own == own.round()).all())
    inside = (
        chosen and own.min() >= 0 and own.max() < tensor[0].numel() and bool(own.sort().values.diff().all())
    )
    return CustomLayout(function, grid, own.long() if inside else None)
