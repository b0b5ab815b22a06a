"""Faithfulness of the numbers and not of their order: does a set of positions cost what the map adds up to?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from camlucida.metrics._perturbations import at_least, cells, drawing, ranks, share_of
from camlucida.metrics.registry import metric
from camlucida.registry import Paper

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.types import MakeVariants

    Scored = Callable[[MakeVariants, int], Tensor]

_FINEST = 28  # cells a side, of finer maps half: taking single pixels away changes next to nothing
_SMALLEST, _LARGEST = 1 / 28, 10 / 28  # sides of squares: 1 to 10 of 28 pixels in the authors' code


@metric(
    "sensitivity_n",
    family="faithfulness",
    paper=Paper(
        "Ancona et al.",
        2018,
        "Towards better understanding of gradient-based attribution methods for Deep Neural Networks",
        "arXiv:1711.06104",
    ),
    better="higher",
    bounds=(-1, 1),
)
def sensitivity_n(
    raw_heatmap: Tensor,
    input: Tensor,
    logits: Scored,
    seed: int,
    *,
    share: float = 0.25,
    samples: int = 64,
) -> float:
    """How well the map, summed over n cells, goes with what the logit loses when these are taken away.

    The correlation, over random sets S of n cells, of Σ R over S with f(x) − f(x with zero in S), zero being
    the mean colour of a normalised input. Cells are the layer's positions, of finer maps 14×14, where the paper
    has pixels: a map of 7×7 has no more to say. The paper draws a curve over n; here n is one share. NaN where
    one of the two is the same for all sets. Chance alone gives ±1/√samples.

    share: what share of the cells is taken away at once
    samples: how many sets are drawn
    """
    import torch
    from torch.nn.functional import adaptive_avg_pool2d

    share_of("share", share)
    at_least("samples", samples, 3)
    grid = _grid(raw_heatmap)
    heat = adaptive_avg_pool2d(raw_heatmap[None].double(), grid).flatten()
    if not ranks(heat):
        return float("nan")
    taken = min(max(1, round(share * len(heat))), len(heat) - 1)
    order = torch.rand(samples, len(heat), generator=drawing(seed), dtype=torch.float64).argsort(dim=1)
    away = torch.zeros(samples, len(heat), dtype=torch.bool).scatter_(1, order[:, :taken], True)
    where = cells((int(input.shape[1]), int(input.shape[2])), grid)

    def make(indices: range) -> Tensor:
        return input * ~away[indices.start : indices.stop, None][..., where]

    # what the logit was before is the same for all sets, and no matter for a correlation
    return _correlation(away.double() @ heat, -logits(make, samples).double())


def _grid(raw_heatmap: Tensor) -> tuple[int, int]:
    """As many cells as the map has positions, else they would not lie on each other."""
    height, width = (int(side) if side < _FINEST else _FINEST // 2 for side in raw_heatmap.shape)
    return height, width


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, NaN where one of them does not vary."""
    if not ranks(one) or not ranks(other):
        return float("nan")
    one, other = one - one.mean(), other - other.mean()
    return min(1.0, max(-1.0, float(one @ other / (one.norm() * other.norm()))))


@metric(
    "infidelity",
    family="faithfulness",
    paper=Paper(
        "Yeh et al.",
        2019,
        "On the (In)fidelity and Sensitivity of Explanations",
        "arXiv:1901.09392",
        "Definition 2.1",
    ),
    better="lower",
    bounds=(0, float("inf")),
)
def infidelity(
    heatmap: Tensor, input: Tensor, logit: float, logits: Scored, seed: int, *, samples: int = 64
) -> float:
    """How far the logit's loss is from the map's sum, in squares that are taken away.

    The mean of (β Σφ − (f(x) − f(x without the square)))², where β is the number that makes it smallest, as in
    the authors' code: E[Σφ · loss] / E[(Σφ)²]. A map turned over therefore counts the same. The paper's square
    removal sets the pixels to zero, the mean colour of a normalised input; a map of contributions is summed as
    it is. The authors take all squares of 1 to 10 pixels out of 28; here random ones of these sizes are
    drawn. A number of squared logits: compare it for one model.

    samples: how many squares are drawn
    """
    import torch

    at_least("samples", samples, 1)
    if not ranks(heatmap):
        return float("nan")
    away = _squares((int(heatmap.shape[0]), int(heatmap.shape[1])), samples, seed)

    def make(indices: range) -> Tensor:
        return input * ~_inside(away[indices.start : indices.stop], input)[:, None]

    loss = logit - logits(make, samples).double()
    heat = heatmap.double()
    sums = torch.stack([heat[top:bottom, left:right].sum() for top, bottom, left, right in away.tolist()])
    power = float(sums @ sums)
    scale = float(sums @ loss) / power if power else 0.0
    return float(((scale * sums - loss) ** 2).mean())


def _squares(shape: tuple[int, int], count: int, seed: int) -> Tensor:
    """``count`` random squares (top, bottom, left, right) within ``shape``, of all sizes alike."""
    import torch

    smallest, largest = (max(1, round(share * min(shape))) for share in (_SMALLEST, _LARGEST))
    drawn = torch.rand(3, count, generator=drawing(seed), dtype=torch.float64)
    side = smallest + (drawn[0] * (largest - smallest + 1)).long()
    top, left = ((drawn[axis + 1] * (shape[axis] - side + 1)).long() for axis in (0, 1))
    return torch.stack([top, top + side, left, left + side], dim=1)


def _inside(squares: Tensor, input: Tensor) -> Tensor:
    """(squares, height, width), true in each square."""
    import torch

    top, bottom, left, right = squares[:, :, None].unbind(dim=1)
    rows, columns = torch.arange(input.shape[1]), torch.arange(input.shape[2])
    inside: Tensor = ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[
        :, None
    ]
    return inside
