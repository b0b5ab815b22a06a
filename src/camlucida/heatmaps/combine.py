"""Sum contributions to a map, and combine several maps into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from camlucida.errors import OptionError, unknown_name
from camlucida.images.frame import EVEN, size_of

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.images import Size
    from camlucida.images.frame import Box
    from camlucida.types import Contributions, Heatmaps

How = Literal["mean", "product"]
HOWS = get_args(How)
LINEAR = {
    3: "linear",
    4: "bilinear",
    5: "trilinear",
}  # interpolation mode by the number of axes of (batch, channels, *positions)


def positions(tensor: Tensor) -> tuple[int, ...]:
    """The axes of the positions in (batch, channels, *positions): all behind the channels."""
    return tuple(range(2, tensor.ndim))


def reduce(contributions: Contributions) -> Heatmaps:
    """The signed map (batch, *positions): contributions (batch, channels, *positions) summed over channels."""
    return contributions.sum(dim=1)


def fuse(maps: Sequence[Tensor], how: How = "mean", boxes: Sequence[Box] | None = None) -> Tensor:
    """Combine several maps into one (…, height, width), on the cells of the one with most positions.

    ``boxes`` says which part of the input the cells of each map cover, if they differ.

    Raises:
        OptionError: there is no such fusion.
    """
    import torch

    if how not in HOWS:
        raise OptionError(unknown_name("fusion", how, list(HOWS), f"it is one of {', '.join(HOWS)}"))
    boxes = boxes or [EVEN.box] * len(maps)
    largest, target = max(zip(maps, boxes, strict=True), key=lambda pair: pair[0].numel())
    size = size_of(largest)
    stack = torch.stack([resample(one, size, box, target) for one, box in zip(maps, boxes, strict=True)])
    return stack.mean(dim=0) if how == "mean" else stack.prod(dim=0)


def resample(heatmaps: Tensor, size: Size, source: Box, target: Box) -> Tensor:
    """Resample maps (…, height, width) whose cells cover ``source`` to ``size`` cells that cover ``target``.

    Bilinear between the centres of cells, as ``torch.nn.functional.interpolate``; values beyond the outermost
    centres stay constant.
    """
    if size_of(heatmaps) == size and source == target:
        return heatmaps
    rows = _resampled(heatmaps, -2, (source[1], source[3]), (target[1], target[3], size[0]))
    return _resampled(rows, -1, (source[0], source[2]), (target[0], target[2], size[1]))


def _resampled(
    heatmaps: Tensor, axis: int, source: tuple[float, float], target: tuple[float, float, int]
) -> Tensor:
    """``resample`` along one axis, from ``source`` (start, end) to ``target`` (start, end, cells)."""
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
