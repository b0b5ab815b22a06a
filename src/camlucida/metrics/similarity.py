"""Similarities of two maps, used by metrics.

All take two maps (height, width) and give NaN where one is the same everywhere or not finite: then there is no
structure to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from camlucida.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    Similarity = Callable[[Tensor, Tensor], float]

_WINDOW, _SIGMA = 11, 1.5  # of SSIM's Gaussian, as in its paper


def pearson(one: Tensor, other: Tensor) -> float:
    """The linear correlation, -1 to 1."""
    if is_flat(one) or is_flat(other):
        return float("nan")
    centred = [values.double() - values.double().mean() for values in (one, other)]
    x, y = (values / values.norm() for values in centred)
    return min(max(float((x * y).sum()), -1.0), 1.0)  # rounding leads beyond


def spearman(one: Tensor, other: Tensor) -> float:
    """The correlation of ranks, -1 to 1; values that are equal share their mean rank."""
    if is_flat(one) or is_flat(other):
        return float("nan")
    return pearson(_ranks(one), _ranks(other))


def ssim(one: Tensor, other: Tensor) -> float:
    """The mean structural similarity, -1 to 1 (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    With a Gaussian window of 11 positions and σ 1.5, over positions where it lies inside the maps, and K of
    0.01 and 0.03; the data range is from the smallest value of both maps to the largest.

    Raises:
        OptionError: the maps are smaller than the window.
    """
    if min(one.shape) < _WINDOW:
        given = " × ".join(str(side) for side in one.shape)
        raise OptionError(
            f"ssim needs maps of {_WINDOW} × {_WINDOW} positions or more, got {given}: take spearman for them"
        )
    if is_flat(one) or is_flat(other):
        return float("nan")
    x, y = one.double(), other.double()
    span = float(max(x.max(), y.max()) - min(x.min(), y.min()))
    mean_x, mean_y, square_x, square_y, product = _smoothed(x, y)
    light, contrast = (0.01 * span) ** 2, (0.03 * span) ** 2
    likeness = (2 * mean_x * mean_y + light) * (2 * (product - mean_x * mean_y) + contrast)
    spread = square_x - mean_x**2 + square_y - mean_y**2
    return float((likeness / ((mean_x**2 + mean_y**2 + light) * (spread + contrast))).mean())


SIMILARITIES: dict[str, Similarity] = {"spearman": spearman, "pearson": pearson, "ssim": ssim}


def get_similarity(name: str) -> Similarity:
    """The similarity called ``name``.

    Raises:
        OptionError: there is none.
    """
    if name not in SIMILARITIES:
        known = list(SIMILARITIES)
        raise OptionError(unknown_name("similarity", name, known, f"it is one of {', '.join(known)}"))
    return SIMILARITIES[name]


def is_flat(heatmap: Tensor) -> bool:
    """Whether a map has no structure: it is the same everywhere, or not finite."""
    return not bool(heatmap.isfinite().all()) or bool(heatmap.max() == heatmap.min())


def _ranks(values: Tensor) -> Tensor:
    """The rank of each value, counted from 1; equal values have the mean of theirs."""
    import torch

    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    ranks: Tensor = (last - (count - 1) / 2)[place]
    return ranks


def _smoothed(x: Tensor, y: Tensor) -> Tensor:
    """The means of x, y, x², y² and xy in a Gaussian window, (5, rows, columns)."""
    import torch
    from torch.nn.functional import conv2d

    offsets = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    bell = (-((offsets / _SIGMA) ** 2) / 2).exp()
    bell = bell / bell.sum()
    planes = torch.stack([x, y, x * x, y * y, x * y])[:, None]
    return conv2d(conv2d(planes, bell.view(1, 1, -1, 1)), bell.view(1, 1, 1, -1))[:, 0]
