"""Where the cells of each grid lie on the model's input, as the strides of convolutions and pools say.

A cell lies where the middle of its receptive field is, as long as that is symmetrical: where kernel and stride
are equal (patches), or nothing is padded. A padded convolution with a stride is not, and what it has learned
moves the evidence back (docs/findings.md has the figures). Its cells and those behind it are taken to cover the
input evenly, and so are those of which modules say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from camlucida.capture.borrow import in_this_thread
from camlucida.capture.hooks import float_tensors_in
from camlucida.images import Cells, Size, size_of
from camlucida.images.frame import EVEN

_STEPS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)
_MERGED = (2, 4, 8, 16)  # cells a side that reshapes make one, as Swin's patch merging does
_SAME = 1e-6


@dataclass(frozen=True)
class _Axis:
    """Cell i of a grid looks at ``reach`` pixels of the input around ``first`` + i · ``pitch``."""

    pitch: float = 1.0
    first: float = 0.5
    reach: float = 1.0

    def behind(self, kernel: int, stride: int, before: float) -> _Axis:
        """The cells of what slides a ``kernel`` over these by ``stride``, ``before`` cells padded in front."""
        middle = self.first + self.pitch * ((kernel - 1) / 2 - before)
        return _Axis(self.pitch * stride, middle, self.reach + self.pitch * (kernel - 1))

    def is_at(self, other: _Axis) -> bool:
        return math.isclose(self.pitch, other.pitch) and abs(self.first - other.first) < _SAME


_Axes = tuple[_Axis, _Axis]  # rows, columns


@dataclass
class Strides:
    """For an input of one ``size`` the cells of each grid that a model works on, None where that is unclear."""

    size: Size
    grids: dict[Size, _Axes | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grids[self.size] = (_Axis(), _Axis())

    def cells(self, grid: Size) -> Cells:
        """Where the cells of ``grid`` lie on the input: evenly, where nothing else is known."""
        axes = self._axes(grid)
        if axes is None:
            return EVEN
        down, across = (_spans(axis, *sides) for axis, *sides in zip(axes, grid, self.size, strict=True))
        return Cells((across[0], down[0], across[1], down[1]), (across[2], down[2], across[3], down[3]))

    def step(self, module: nn.Module, taken: Size, returned: Size) -> None:
        """Note what a convolution or pool has made of a grid."""
        before = self._axes(taken) or self._padded(module, taken)
        axes = None if before is None else _behind(module, before, taken, returned)
        if returned in self.grids:
            known = self.grids[returned]
            agree = known and axes and all(a.is_at(b) for a, b in zip(known, axes, strict=True))
            self.grids[returned] = _widest(known, axes) if known and axes and agree else None
        else:
            self.grids[returned] = axes

    def _axes(self, grid: Size) -> _Axes | None:
        """The axes of a grid, also of one that reshapes have made of whole groups of cells."""
        if grid in self.grids:
            return self.grids[grid]
        known = [(size, axes) for size, axes in self.grids.items() if size != self.size]
        if any(axes is None for _, axes in known):
            return None
        for size, axes in reversed(known):
            for count in _MERGED:
                down = tuple(side // count for side in size)
                up = tuple(-(-side // count) for side in size)
                if axes is not None and grid in (down, up):
                    return axes[0].behind(count, count, 0), axes[1].behind(count, count, 0)
        return None

    def _padded(self, module: nn.Module, taken: Size) -> _Axes | None:
        """The axes of a grid that was filled up at its end, so that patches, or groups of them, divide it."""
        kernels, strides, paddings, _ = _numbers(module)
        if kernels != strides or any(paddings):
            return None
        for size, axes in self.grids.items():
            for count in (1, *_MERGED):
                sides = [s * count for s in strides]
                if axes and taken == tuple(-(-a // s) * s for a, s in zip(size, sides, strict=True)):
                    return axes
        return None


@contextmanager
def striding(
    module: nn.Module, size: Size, batch: int, known: MutableMapping[Size, Strides]
) -> Iterator[Strides]:
    """The strides of the borrowed ``module``'s run on inputs of ``size``; they are noted once, in ``known``."""
    if size in known:
        yield known[size]
        return
    strides = Strides(size)

    def noting(part: nn.Module, args: Any, output: Any) -> None:
        taken, returned = float_tensors_in(args)[:1], float_tensors_in(output)[:1]
        if not taken or not returned or returned[0].ndim != 4 or len(returned[0]) != batch:
            return
        if max(size_of(returned[0])) > 1:  # what a global pool leaves has no positions
            strides.step(part, size_of(taken[0]), size_of(returned[0]))

    handles = [
        part.register_forward_hook(in_this_thread(noting))
        for part in module.modules()
        if isinstance(part, _STEPS)
    ]
    try:
        yield strides
        known[size] = strides
    finally:
        for handle in handles:
            handle.remove()


def _spans(axis: _Axis, cells: int, size: int) -> tuple[float, float, float, float]:
    """What the cells cover evenly, from where to where, and what of the input they see, in shares of it."""
    last = axis.first + axis.pitch * (cells - 1)
    start, end = axis.first - axis.pitch / 2, last + axis.pitch / 2
    seen = max(0.0, axis.first - axis.reach / 2), min(float(size), last + axis.reach / 2)
    return start / size, end / size, seen[0] / size, seen[1] / size


def _behind(module: nn.Module, axes: _Axes, taken: Size, returned: Size) -> _Axes | None:
    """The axes of what ``module`` returns; None where its receptive fields are not symmetrical."""
    numbers = zip(*_numbers(module), strict=True)
    found = []
    for axis, size, cells, (width, stride, padding, dilation) in zip(
        axes, taken, returned, numbers, strict=True
    ):
        kernel = dilation * (width - 1) + 1
        room = size + 2 * padding - kernel
        same = cells == size and stride == 1  # however it is padded
        if not same and cells not in (room // stride + 1, -(-room // stride) + 1):
            return None  # padded by a rule of its own
        before = (kernel - 1) / 2 if same else padding
        if (kernel - 1) / 2 - before < (stride - 1) / 2:
            return None
        found.append(axis.behind(kernel, stride, before))
    return found[0], found[1]


def _widest(one: _Axes, other: _Axes) -> _Axes:
    rows, columns = (max(pair, key=lambda axis: axis.reach) for pair in zip(one, other, strict=True))
    return rows, columns


def _numbers(module: Any) -> list[tuple[int, int]]:
    """Kernel, stride, padding and dilation of a convolution or pool, for rows and columns."""
    padding = 0 if isinstance(getattr(module, "padding", 0), str) else getattr(module, "padding", 0)
    stride = module.kernel_size if module.stride is None else module.stride
    return [_pair(one) for one in (module.kernel_size, stride, padding, getattr(module, "dilation", 1))]


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[-1])) if isinstance(value, tuple | list) else (int(value), int(value))
