"""A layer's output ⇄ (batch, channels, height, width).

A shape alone seldom says what its numbers mean, so ``readings`` gives every layout that it allows, given
the input's size: a grid of positions comes from the input by one stride for height and width, rounded the
same way for both. Which of them is right, the probe shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from camlucida.images import Size

Channels = Literal["first", "last"]  # which axis of a picture's own they are on
Kind = Literal["NCHW", "NHWC", "tokens", "channels-first tokens", "sequence-first tokens"]

MOST_OTHERS = 16  # tokens beside the positions: class token, registers, distillation token
_OFTEN = 5  # as many are likely even where positions are few
_FEWEST_CHANNELS = 8


@dataclass(frozen=True)
class Layout:
    """How a layer's output maps to positions: ``grid`` is (height, width).

    ``prefix`` tokens precede the positions and ``suffix`` follow them. Tokens are (batch, tokens, channels),
    channels-first (batch, channels, tokens) or sequence-first (tokens, batch, channels).
    """

    kind: Kind
    grid: Size
    prefix: int = 0
    suffix: int = 0

    def __str__(self) -> str:
        before = f" behind {self.prefix}" if self.prefix else ""
        after = f" before {self.suffix}" if self.suffix else ""
        return f"{self.kind} {self.grid[0]}×{self.grid[1]}{before}{after}"

    @property
    def batch_axis(self) -> int:
        """Along which axis the pictures lie."""
        return 1 if self.kind == "sequence-first tokens" else 0

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an output of this shape can have this layout."""
        if self.kind in ("NCHW", "NHWC"):
            return len(shape) == 4 and (shape[2:] if self.kind == "NCHW" else shape[1:3]) == self.grid
        positions = self.grid[0] * self.grid[1]
        return len(shape) == 3 and shape[_TOKENS[self.kind][1]] == positions + self.prefix + self.suffix

    def to_tokens(self, tensor: Tensor) -> Tensor:
        """(batch, tokens, channels), the prefix and suffix among them."""
        if self.kind == "NCHW":
            return tensor.flatten(2).transpose(1, 2)
        if self.kind == "NHWC":
            return tensor.flatten(1, 2)
        return tensor.permute(*_TOKENS[self.kind])

    def to_maps(self, tensor: Tensor) -> Tensor:
        """(batch, channels, height, width) of the layer's own output; prefix and suffix are left out."""
        if self.kind == "NCHW":
            return tensor
        if self.kind == "NHWC":
            return tensor.permute(0, 3, 1, 2)
        tokens = self.to_tokens(tensor)
        positions = tokens[:, self.prefix : tokens.shape[1] - self.suffix]
        return positions.reshape(len(tokens), *self.grid, -1).permute(0, 3, 1, 2)

    def from_maps(self, maps: Tensor, like: Tensor) -> Tensor:
        """The layer's output with ``maps`` (n, channels, height, width), and the rest as in ``like`` (1, …)."""
        maps = maps.to(like.dtype)
        if self.kind == "NCHW":
            return maps
        if self.kind == "NHWC":
            return maps.permute(0, 2, 3, 1).contiguous()
        tokens = maps.flatten(2).transpose(1, 2)
        if self.prefix or self.suffix:
            others = self.to_tokens(like).expand(len(maps), -1, -1)
            end = others.shape[1] - self.suffix
            tokens = torch.cat([others[:, : self.prefix], tokens, others[:, end:]], dim=1)
        return tokens.permute(*_TOKENS[self.kind])


# The order of axes that turns a kind into (batch, tokens, channels); each is its own inverse.
_TOKENS: dict[Kind, tuple[int, int, int]] = {
    "tokens": (0, 1, 2),
    "channels-first tokens": (0, 2, 1),
    "sequence-first tokens": (1, 0, 2),
}


def readings(
    shape: tuple[int, ...], batch: int, input_size: Size, channels: Channels | None = None
) -> list[Layout]:
    """The layouts that an output of ``shape`` allows for an input of ``input_size``, the likeliest first.

    Tokens that are not positions are taken to precede them. Where it is known which axis the ``channels`` of
    four are on, any grid will do: models may pad, resize or stride unevenly inside.
    """
    found: list[Layout] = []
    if len(shape) == 4 and shape[0] == batch and channels:
        grid = (shape[2], shape[3]) if channels == "first" else (shape[1], shape[2])
        return [Layout("NCHW" if channels == "first" else "NHWC", grid)] if max(grid) > 1 else []
    if len(shape) == 4 and shape[0] == batch:
        found += [Layout("NCHW", (shape[2], shape[3]))] if is_grid((shape[2], shape[3]), input_size) else []
        found += [Layout("NHWC", (shape[1], shape[2]))] if is_grid((shape[1], shape[2]), input_size) else []
    if len(shape) == 3:
        for kind, axes in _TOKENS.items():
            pictures, tokens, width = (shape[axis] for axis in axes)
            if pictures == batch and width >= _FEWEST_CHANNELS:
                found += [Layout(kind, grid, others) for grid, others in _grids(tokens, input_size)]
    return sorted(found, key=lambda layout: _unlikeliness(layout, input_size))


@lru_cache(maxsize=256)
def _grids(tokens: int, input_size: Size) -> tuple[tuple[Size, int], ...]:
    """The grids that so many tokens can stand for, each with the number of tokens left over."""
    return tuple(
        (grid, tokens - positions)
        for positions in range(max(4, tokens - MOST_OTHERS), tokens + 1)
        if tokens - positions <= max(_OFTEN, positions // 2)
        for height in range(1, positions + 1)
        if positions % height == 0 and is_grid(grid := (height, positions // height), input_size)
    )


def _unlikeliness(layout: Layout, input_size: Size) -> float:
    """The share of other tokens; that the input's size is no multiple of the grid weighs like three tenths."""
    exact = all(size % cells == 0 for size, cells in zip(input_size, layout.grid, strict=True))
    return layout.prefix / (layout.grid[0] * layout.grid[1]) + (0 if exact else 0.3)


def is_grid(grid: Size, input_size: Size) -> bool:
    """Whether one stride turns the input's size into the grid, rounding both sides down or both up.

    A stride s gives floor(H / s) = h exactly where H / (h + 1) < s <= H / h, and so on: the sides agree
    if those intervals meet.
    """
    if max(grid) < 2 or any(cells > size for cells, size in zip(grid, input_size, strict=True)):
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
