"""A layer's output ⇄ (batch, channels, height, width).

Three layouts are understood: NCHW, NHWC and tokens behind k prefix tokens. Which one a tensor has is
read off its shape, given the input's size: a grid of positions comes from the input by one stride for
height and width, rounded the same way for both. Where a shape allows two readings it is refused, unless
the module that made it settles the matter; nothing is guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from camlucida.errors import LayerError
from camlucida.images import Size

Kind = Literal["NCHW", "NHWC", "tokens"]

# Besides these, torch's and timm's modules with 2d in their name take and return NCHW.
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.MaxPool2d,
    nn.AvgPool2d,
)
_CHANNELS_LAST = (nn.LayerNorm, nn.Linear)


@dataclass(frozen=True)
class Layout:
    """How a layer's output maps to positions: ``grid`` is (height, width), ``prefix`` tokens precede it."""

    kind: Kind
    grid: Size
    prefix: int = 0

    def __str__(self) -> str:
        behind = f" behind {self.prefix}" if self.prefix else ""
        return f"{self.kind} {self.grid[0]}×{self.grid[1]}{behind}"

    def to_maps(self, tensor: Tensor) -> Tensor:
        """(batch, channels, height, width) of the layer's own output; prefix tokens are left out."""
        if self.kind == "NCHW":
            return tensor
        if self.kind == "NHWC":
            return tensor.permute(0, 3, 1, 2)
        positions = tensor[:, self.prefix :]
        return positions.reshape(len(tensor), *self.grid, -1).permute(0, 3, 1, 2)

    def from_maps(self, maps: Tensor, like: Tensor) -> Tensor:
        """The layer's output with ``maps`` (n, channels, height, width), prefix tokens as in ``like``."""
        maps = maps.to(like.dtype)
        if self.kind == "NCHW":
            return maps
        if self.kind == "NHWC":
            return maps.permute(0, 2, 3, 1)
        tokens = maps.flatten(2).transpose(1, 2)
        if not self.prefix:
            return tokens
        return torch.cat([like[:, : self.prefix].expand(len(maps), -1, -1), tokens], dim=1)


def layout_of(shape: tuple[int, ...], input_size: Size, prefix: int | None, maker: nn.Module) -> Layout:
    """The layout of an output of ``shape``, for an input of ``input_size`` (height, width).

    ``prefix`` is the number of prefix tokens that the model declares, None where its tokens are not
    understood; ``maker`` is the module that returned the tensor.

    Raises:
        LayerError: the shape has no positions, or can be read in two ways.
    """
    possible = _readings(shape, input_size, prefix)
    readings = possible
    if len(possible) > 1:
        readings = [reading for reading in possible if reading.kind == _made_by(maker)]
    if len(readings) == 1:
        return readings[0]
    if len(shape) == 3 and prefix is None:
        reason = "are tokens of a model whose token order is not known yet"
    elif possible:
        reason = "can be read as " + " or as ".join(map(str, possible))
    else:
        reason = "fit no grid of positions"
    raise LayerError(
        f"{type(maker).__name__} returns {shape}, which for an input of {input_size[0]}×{input_size[1]} "
        f"{reason}: choose another layer (`camlucida layers MODEL` lists those that work)"
    )


def grid_of(
    shape: tuple[int, ...], batch: int, input_size: Size, prefix: int | None, channels_last: bool
) -> Layout | None:
    """The layout of an operation's output whose channels are last or second; None if it has no positions."""
    if shape[:1] != (batch,):
        return None
    wanted = ("NHWC", "tokens") if channels_last else ("NCHW",)
    readings = [reading for reading in _readings(shape, input_size, prefix) if reading.kind in wanted]
    return readings[0] if len(readings) == 1 else None


def _readings(shape: tuple[int, ...], input_size: Size, prefix: int | None) -> list[Layout]:
    if len(shape) == 4:
        _, a, b, c = shape
        found = []
        attention = b == c and _token_grids(b, input_size, prefix)
        if _is_grid((b, c), input_size) and not attention:
            found.append(Layout("NCHW", (b, c)))
        if _is_grid((a, b), input_size):
            found.append(Layout("NHWC", (a, b)))
        return found
    if len(shape) == 3 and prefix is not None:
        return [Layout("tokens", grid, prefix) for grid in _token_grids(shape[1], input_size, prefix)]
    return []


def _token_grids(tokens: int, input_size: Size, prefix: int | None) -> list[Size]:
    """The grids that so many tokens can stand for; in a model of tokens, tokens × tokens is attention."""
    positions = 0 if prefix is None else tokens - prefix
    return [
        grid
        for height in range(1, positions + 1)
        if positions % height == 0 and _is_grid(grid := (height, positions // height), input_size)
    ]


def _is_grid(grid: Size, input_size: Size) -> bool:
    """Whether one stride turns the input's size into the grid, rounding both sides down or both up.

    A stride s gives floor(H / s) = h exactly where H / (h + 1) < s <= H / h, and so on: the sides agree
    if those intervals meet.
    """
    if max(grid) < 2:
        return False
    down = [(size / (cells + 1), size / cells) for size, cells in zip(input_size, grid, strict=True)]
    up = [
        (size / cells, size / (cells - 1) if cells > 1 else math.inf)
        for size, cells in zip(input_size, grid, strict=True)
    ]
    meets_down = max(low for low, _ in down) < min(high for _, high in down)
    meets_up = max(low for low, _ in up) < min(high for _, high in up)
    exact = input_size[0] * grid[1] == input_size[1] * grid[0]
    return exact or meets_down or meets_up


def _made_by(maker: nn.Module) -> Kind | None:
    """The layout in which all parts of the module work that have a fixed one, None if they differ."""
    kinds: set[Kind] = set()
    for part in maker.modules():
        if isinstance(part, _CHANNELS_FIRST) or "2d" in type(part).__name__:
            kinds.add("NCHW")
        elif isinstance(part, _CHANNELS_LAST):
            kinds.add("NHWC")
    return kinds.pop() if len(kinds) == 1 else None
