"""How a model's input lies on a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]  # (height, width)
Box = tuple[float, float, float, float]  # (left, top, right, bottom)


def size_of(tensor: Tensor) -> Size:
    """The height and width of (…, height, width)."""
    return int(tensor.shape[-2]), int(tensor.shape[-1])


@dataclass(frozen=True)
class Cells:
    """Where the cells of a map lie on the model's input, in fractions of its width and height.

    The cells cover ``box`` evenly; it reaches beyond the input where the model pads it. ``seen`` is the part
    that the model looks at, which may be smaller than the input where a stride does not divide it.
    """

    box: Box = (0.0, 0.0, 1.0, 1.0)
    seen: Box = (0.0, 0.0, 1.0, 1.0)

    @property
    def mirrored(self) -> Cells:
        """The same with left and right exchanged."""
        boxes = ((1 - right, top, 1 - left, bottom) for left, top, right, bottom in (self.box, self.seen))
        return Cells(*boxes)


EVEN = Cells()


@dataclass(frozen=True)
class Frame:
    """Where the model's input lies on the picture.

    ``picture`` and ``view`` are sizes (height, width) in pixels. ``box`` is the part of the picture that the
    view covers, (left, top, right, bottom) in pixels of the picture; it reaches beyond the picture where the
    input was padded. ``cells`` says where the cells of a map lie on the view.
    """

    picture: Size
    box: Box
    view: Size
    cells: Cells = EVEN

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Frame:
        """The frame from its ``dataclasses.asdict``, which older versions wrote without cells."""
        boxes = {name: tuple(value) for name, value in facts.get("cells", {}).items()}
        sizes = {name: tuple(value) for name, value in facts.items() if name != "cells"}
        return cls(**sizes, cells=Cells(**boxes))

    @classmethod
    def whole(cls, size: Size) -> Frame:
        """The picture itself."""
        height, width = size
        return cls(size, (0.0, 0.0, float(width), float(height)), size)

    def resized(self, size: Size) -> Frame:
        """The same part of the picture, resampled to ``size``."""
        return Frame(self.picture, self.box, size)

    def cropped(self, left: float, top: float, size: Size) -> Frame:
        """The rectangle of ``size`` at (left, top) of this view; negative or too large means padding."""
        x0, y0, x1, y1 = self.box
        across, down = (x1 - x0) / self.view[1], (y1 - y0) / self.view[0]
        x, y = x0 + left * across, y0 + top * down
        return Frame(self.picture, (x, y, x + size[1] * across, y + size[0] * down), size)
