"""What is done to maps once a method has made them: reduce, normalise, lay on the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from camlucida.errors import OptionError, unknown_name
from camlucida.heatmaps.scale import Scale, full_colour_values
from camlucida.images.frame import EVEN, size_of

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.images import Size
    from camlucida.images.frame import Box
    from camlucida.types import Contributions, Heatmaps

How = Literal["mean", "max", "product"]
HOWS = get_args(How)


def reduce(contributions: Contributions) -> Heatmaps:
    """The signed map (batch, height, width): contributions summed over channels."""
    return contributions.sum(dim=1)


def fuse(
    maps: Sequence[Tensor], how: How = "mean", scale: Scale = "raw", boxes: Sequence[Box] | None = None
) -> Tensor:
    """One map (height, width) of several, on the cells of the one with most positions.

    ``scale="picture"`` divides each by its largest value first, so that layers of other magnitudes count alike.
    ``boxes`` say what of the model's input the cells of each map cover, where that is not the same for all.

    Raises:
        OptionError: there is no such way or scale.
    """
    import torch

    if how not in HOWS:
        raise OptionError(unknown_name("fusion", how, list(HOWS), f"it is one of {', '.join(HOWS)}"))
    boxes = boxes or [EVEN.box] * len(maps)
    largest, target = max(zip(maps, boxes, strict=True), key=lambda pair: pair[0].numel())
    size = size_of(largest)
    scaled = [one / (full or 1.0) for one, full in zip(maps, full_colour_values(maps, scale), strict=True)]
    stack = torch.stack([resample(one, size, box, target) for one, box in zip(scaled, boxes, strict=True)])
    fused: Tensor = {"mean": stack.mean(dim=0), "max": stack.amax(dim=0), "product": stack.prod(dim=0)}[how]
    return fused


def resample(heatmaps: Tensor, size: Size, source: Box, target: Box) -> Tensor:
    """Maps (…, height, width) whose cells cover ``source``, for cells (height, width) that cover ``target``.

    Bilinear between the centres of cells, as ``torch.nn.functional.interpolate`` does; beyond the last centre
    the value stays what it is there.
    """
    if size_of(heatmaps) == size and source == target:
        return heatmaps
    rows = _resampled(heatmaps, -2, (source[1], source[3]), (target[1], target[3], size[0]))
    return _resampled(rows, -1, (source[0], source[2]), (target[0], target[2], size[1]))


def _resampled(
    heatmaps: Tensor, axis: int, source: tuple[float, float], target: tuple[float, float, int]
) -> Tensor:
    """The same along one axis, from ``source`` (start, end) to ``target`` (start, end, cells)."""
    import torch

    cells, (start, end, count) = heatmaps.shape[axis], target
    centres = start + (torch.arange(count, dtype=torch.float64) + 0.5) * ((end - start) / count)
    places = ((centres - source[0]) * (cells / (source[1] - source[0])) - 0.5).clamp(0, cells - 1)
    low = places.floor().long()
    shares = (places - low).to(heatmaps).view(-1, *[1] * (-1 - axis))
    lower, upper = (
        heatmaps.index_select(axis, one.to(heatmaps.device)) for one in (low, (low + 1).clamp(max=cells - 1))
    )
    return lower.lerp(upper, shares)
