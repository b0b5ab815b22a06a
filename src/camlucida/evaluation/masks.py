"""Object masks at the size of the model's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from camlucida.errors import PictureError
from camlucida.images import Frame, load

if TYPE_CHECKING:
    from camlucida.evaluation.dataset import Item

_WHITE = 128  # from which value on a mask's pixel is the object's


def mask_of(item: Item, frame: Frame) -> Tensor | None:
    """True where the object is (view height, view width), None if unknown.

    Raises:
        PictureError: a mask has another size than its picture, or a box lies outside it.
    """
    height, width = frame.picture
    if item.mask is not None:
        seen = np.asarray(load(item.mask).convert("L"))
        if seen.shape != (height, width):
            raise PictureError(
                f"the mask {item.mask} is {seen.shape[1]}×{seen.shape[0]} and its picture {width}×{height}: "
                "give one of the same size"
            )
        whole = torch.from_numpy(seen >= _WHITE)
    elif item.boxes:
        whole = torch.zeros(height, width, dtype=torch.bool)
        for left, top, right, bottom in item.boxes:
            if left < 0 or top < 0 or right > width or bottom > height:
                raise PictureError(
                    f"a box of {item.path} is {left:g} {top:g} {right:g} {bottom:g}, which lies outside the "
                    f"picture of {width}×{height}: give pixels of this picture"
                )
            whole[round(top) : round(bottom), round(left) : round(right)] = True
    else:
        return None
    return _seen(whole, frame)


def _seen(whole: Tensor, frame: Frame) -> Tensor:
    """The part of a mask (height, width) that the model sees, at its input's size."""
    left, top, right, bottom = frame.box
    rows = _places(top, bottom, frame.view[0])
    columns = _places(left, right, frame.view[1])
    inside = ((rows >= 0) & (rows < len(whole)))[:, None] & ((columns >= 0) & (columns < whole.shape[1]))
    return whole[rows.clamp(0, len(whole) - 1)][:, columns.clamp(0, whole.shape[1] - 1)] & inside


def _places(start: float, stop: float, count: int) -> Tensor:
    """The pixel of the picture under the centre of each pixel of the input."""
    step = (stop - start) / count
    return (start + (torch.arange(count, dtype=torch.float64) + 0.5) * step).floor().long()
