"""Principal components of contributions, with a defined sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.types import Contributions, Heatmaps


_ROUNDING = 1e-6  # relative rounding error of a covariance of float32 values


def principal_component(values: Contributions, towards: Heatmaps) -> Heatmaps:
    """How far each position (batch, *positions) lies along the first principal component of its channels.

    Positions are the observations and channels the variables, centred. The sign of a component is arbitrary; it
    is chosen so that its covariance with ``towards`` (batch, *positions) is not negative. Where that covariance
    is mere rounding, because ``towards`` is the same everywhere (norms behind a LayerNorm), the position
    furthest from the mean becomes positive. Neither rule depends on the order of channels.
    """
    points, finite = centred(values)
    signed = oriented(_leading_projection(points), towards)
    return signed.where(finite.view(-1, 1), float("nan")).reshape(towards.shape).to(values.dtype)


def centred(values: Contributions) -> tuple[Tensor, Tensor]:
    """Positions as observations (batch, channels, positions), each channel without its mean, in float64.

    The second tensor says for each picture whether all its values are finite; if not, its points are zero. Both
    are on the CPU: some devices have no float64, and many decompose slowly.
    """
    points = values.flatten(2).cpu().double()
    finite = points.isfinite().flatten(1).all(dim=1)
    return (points - points.mean(dim=2, keepdim=True)).where(finite.view(-1, 1, 1), 0), finite


def oriented(projection: Tensor, towards: Heatmaps) -> Tensor:
    """Components (batch, positions) of mean zero, with the sign that ``principal_component`` defines."""
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
    noise = _ROUNDING * towards.flatten(1).double().norm(
        dim=1
    )  # a reference that varies less carries no information
    lengths = flat[0].norm(dim=1) * (flat[1].norm(dim=1) + noise)
    clarity: Tensor = (flat[0] * flat[1]).sum(dim=1).abs() / lengths.clamp(min=torch.finfo(torch.float64).tiny)
    return clarity


def _leading_projection(points: Tensor) -> Tensor:
    """The largest singular value times its right vector, of (batch, channels, positions) matrices.

    From the eigenvectors of the smaller Gram matrix: the same numbers as a full SVD, without its
    (channels, channels) matrix.
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
