"""What is done to maps once a method has made them: reduce, normalise, lay on the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from camlucida.errors import OptionError, one_of
from camlucida.images.frame import EVEN, size_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from camlucida.images import Frame, Size
    from camlucida.images.frame import Box
    from camlucida.types import Contributions, Heatmaps

Scale = Literal["raw", "picture", "panel"]
SCALES = get_args(Scale)
How = Literal["mean", "max", "product"]
HOWS = get_args(How)

_ROUNDING = 1e-6  # of a covariance of float32 values, relative to their norms


def reduce(contributions: Contributions) -> Heatmaps:
    """The signed map (batch, height, width): contributions summed over channels."""
    return contributions.sum(dim=1)


def principal_component(values: Contributions, towards: Heatmaps) -> Heatmaps:
    """How far each position (batch, height, width) lies along the first principal component of its channels.

    Positions are the observations, channels the variables, centred. A component's sign is arbitrary; it
    is chosen so that the map does not fall where ``towards`` (batch, height, width) rises, that is, their
    covariance is not negative. Where that is nothing but rounding, since ``towards`` is the same everywhere
    (norms behind a LayerNorm), the position furthest from the mean is made positive. Neither rule depends on
    the order of channels.
    """
    batch, _, height, width = values.shape
    points, finite = centred(values)
    signed = oriented(_leading_projection(points), towards)
    return signed.where(finite.view(-1, 1), float("nan")).reshape(batch, height, width).to(values.dtype)


def centred(values: Contributions) -> tuple[Tensor, Tensor]:
    """Positions as observations (batch, channels, positions), each channel without its mean, in float64.

    With it, for each picture, whether all of its values are finite; where not, its points are zero. On the CPU:
    some devices have no float64, and many have slow decompositions.
    """
    points = values.flatten(2).cpu().double()
    finite = points.isfinite().flatten(1).all(dim=1)
    return (points - points.mean(dim=2, keepdim=True)).where(finite.view(-1, 1, 1), 0), finite


def oriented(projection: Tensor, towards: Heatmaps) -> Tensor:
    """Components (batch, positions) of mean zero, of arbitrary sign, by the rule of ``principal_component``."""
    guide = towards.flatten(1).to(projection)
    covariance = (projection * guide).sum(dim=1, keepdim=True)
    rounding = _ROUNDING * projection.norm(dim=1, keepdim=True) * guide.norm(dim=1, keepdim=True)
    furthest = projection.gather(1, projection.abs().argmax(dim=1, keepdim=True))
    direction = covariance.where(covariance.abs() > rounding, furthest)
    return projection.where(direction >= 0, -projection)


def sign_clarity(component: Heatmaps, towards: Heatmaps) -> Tensor:
    """How clear the sign of a principal component is (batch,): its correlation with ``towards``, 0 to 1."""
    import torch

    towards = towards.cpu()
    flat = torch.stack([component.cpu().flatten(1), towards.flatten(1)]).double()
    flat = flat - flat.mean(dim=2, keepdim=True)
    noise = _ROUNDING * towards.flatten(1).double().norm(dim=1)  # a guide that varies less says nothing
    lengths = flat[0].norm(dim=1) * (flat[1].norm(dim=1) + noise)
    clarity: Tensor = (flat[0] * flat[1]).sum(dim=1).abs() / lengths.clamp(min=torch.finfo(torch.float64).tiny)
    return clarity


def _leading_projection(points: Tensor) -> Tensor:
    """The largest singular value times its right vector, of (batch, channels, positions) matrices.

    By the eigenvectors of the smaller of the two Gram matrices: the same numbers as a full SVD, without
    its (channels, channels) matrix.
    """
    import torch

    channels, positions = points.shape[1:]
    if positions <= channels:
        values, vectors = torch.linalg.eigh(points.mT @ points)
        projection: Tensor = vectors[..., -1] * values[..., -1:].clamp(min=0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(points @ points.mT)
        projection = (vectors[..., -1:].mT @ points).squeeze(1)
    return projection


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
        raise OptionError(one_of("fusion", how, list(HOWS), f"it is one of {', '.join(HOWS)}"))
    boxes = boxes or [EVEN.box] * len(maps)
    largest, target = max(zip(maps, boxes, strict=True), key=lambda pair: pair[0].numel())
    size = size_of(largest)
    scaled = [one / (full or 1.0) for one, full in zip(maps, limit(maps, scale), strict=True)]
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


def limit(heatmaps: Sequence[Tensor], scale: Scale, signed: bool = False) -> list[float]:
    """For each map (height, width) the value that is drawn as full colour, 0 for a map that has none.

    ``picture``: its own largest value. ``panel``: the largest of all maps, so that they can be compared.
    ``raw``: 1. Zero stays zero on each scale. ``signed`` maps are drawn on both sides of zero, so that their
    largest magnitude counts.

    Raises:
        OptionError: there is no such scale.
    """
    if scale not in SCALES:
        raise OptionError(one_of("scale", scale, list(SCALES), f"it is one of {', '.join(SCALES)}"))
    if scale == "raw":
        return [1.0] * len(heatmaps)
    peaks = [_peak(heatmap.abs() if signed else heatmap) for heatmap in heatmaps]
    return [max(peaks, default=0.0)] * len(heatmaps) if scale == "panel" else peaks


def _peak(heatmap: Tensor) -> float:
    """The largest finite value, 0 where there is none above."""
    return max(float(heatmap.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).max()), 0.0)


def lay(heatmap: Tensor, frame: Frame) -> np.ndarray:
    """The map (height, width) laid over the whole picture, float32; NaN where the model's input is not."""
    laid = resample(heatmap.detach().cpu().float(), frame.picture, frame.cells.box, _picture(frame))
    return _only(laid.numpy().copy(), frame, EVEN.seen)


def seen_only(laid: np.ndarray, frame: Frame) -> np.ndarray:
    """What ``lay`` gives, NaN also where the model does not look at its input, as behind its last patch."""
    return _only(laid, frame, frame.cells.seen)


def _picture(frame: Frame) -> Box:
    """The whole picture in shares of the model's input."""
    left, top, right, bottom = frame.box
    across, down = right - left, bottom - top
    return -left / across, -top / down, (frame.picture[1] - left) / across, (frame.picture[0] - top) / down


def _only(laid: np.ndarray, frame: Frame, seen: Box) -> np.ndarray:
    """``laid`` with NaN where the middles of pixels are not in ``seen``, in shares of the input."""
    import numpy as np

    box = _picture(frame)
    for axis, along in enumerate((laid, laid.T)):
        start, end, low, high = box[1 - axis], box[3 - axis], seen[1 - axis], seen[3 - axis]
        middles = start + (np.arange(len(along)) + 0.5) * ((end - start) / len(along))
        along[(middles < low) | (middles >= high)] = np.nan
    return laid
