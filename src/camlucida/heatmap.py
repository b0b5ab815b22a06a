"""What is done to maps once a method has made them: reduce, normalise, lay on the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from camlucida.errors import OptionError, one_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from camlucida.images import Frame
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
    maps: Sequence[Tensor], how: How = "mean", scale: Scale = "raw", size: tuple[int, int] | None = None
) -> Tensor:
    """One map (height, width) of several, at ``size`` or else that of the one with most positions.

    ``scale="picture"`` divides each by its largest value first, so that layers of other magnitudes count alike.

    Raises:
        OptionError: there is no such way or scale.
    """
    import torch
    from torch.nn.functional import interpolate

    if how not in HOWS:
        raise OptionError(one_of("fusion", how, list(HOWS), f"it is one of {', '.join(HOWS)}"))
    largest = max(maps, key=torch.Tensor.numel)
    grid = size or (int(largest.shape[0]), int(largest.shape[1]))
    scaled = [one / (full or 1.0) for one, full in zip(maps, limit(maps, scale), strict=True)]
    resized = [interpolate(one[None, None], grid, mode="bilinear", align_corners=False)[0, 0] for one in scaled]
    stack = torch.stack(resized)
    fused: Tensor = {"mean": stack.mean(dim=0), "max": stack.amax(dim=0), "product": stack.prod(dim=0)}[how]
    return fused


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
    """The map (height, width) laid over the whole picture, float32; NaN where the model saw nothing.

    Bilinear between the centres of the map's cells, as ``torch.nn.functional.interpolate`` does.
    """
    import numpy as np
    from PIL import Image

    height, width = heatmap.shape
    left, top, right, bottom = frame.box
    across, down = width / (right - left), height / (bottom - top)
    small = Image.fromarray(heatmap.detach().cpu().float().numpy())
    large = small.transform(
        (frame.picture[1], frame.picture[0]),
        Image.Transform.AFFINE,
        (across, 0, -left * across, 0, down, -top * down),
        resample=Image.Resampling.BILINEAR,
        fillcolor=float("nan"),
    )
    return np.asarray(large)
