"""ROAD: remove pixels without leaving traces of where, and measure the score again.

Setting pixels to a colour leaves the shape of what was removed, which a network can read. Here each becomes the
weighted mean of its neighbours, removed ones too: one system of linear equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from camlucida.errors import OptionError
from camlucida.metrics._perturbations import drawing, hottest_first, ranks
from camlucida.metrics.registry import metric
from camlucida.registry import Paper

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from camlucida.types import MakeVariants

    Scored = Callable[[MakeVariants, int], Tensor]

_PAPER = Paper(
    "Rong et al.",
    2022,
    "A Consistent and Efficient Evaluation Strategy for Attribution Methods",
    "arXiv:2202.00449",
)
# Half of the eight neighbours, as (rows, columns) to go, with their weights; the others lie opposite.
NEIGHBOURS = ((0, 1, 1 / 6), (1, 0, 1 / 6), (1, 1, 1 / 12), (1, -1, 1 / 12))
NOISE = 0.01  # standard deviation, in the normalised input; the authors' and grad-cam's
_LARGEST_BAND = 2**27  # numbers; half a gigabyte


@metric("road_morf", family="faithfulness", paper=_PAPER, better="lower", bounds=(-1, 1))
def road_morf(
    heatmap: Tensor,
    input: Tensor,
    probability: float,
    score: Scored,
    seed: int,
    *,
    percentiles: str = "20,40,60,80",
) -> float:
    """How the class's probability changes when the hottest pixels are removed (most relevant first).

    The mean over ``percentiles`` of the probability afterwards minus that before. A removed pixel becomes the
    mean of its neighbours, 1/6 each beside it and 1/12 across, plus noise; at the edge the weights that there
    are count. The paper gives accuracies, grad-cam the change of whatever score it is asked for, without a seed
    for its noise. Equally hot pixels are removed in reading order, grad-cam removes all of them.

    percentiles: percentages of the pixels to remove, separated by commas
    """
    counts = _counts(percentiles, heatmap.numel())
    if not ranks(heatmap):
        return float("nan")
    rank = hottest_first(heatmap)
    removed = [rank < count for count in counts]
    return _mean(score(_imputed(input, removed, seed), len(removed))) - probability


@metric("road_lerf", family="faithfulness", paper=_PAPER, better="higher", bounds=(-1, 1))
def road_lerf(
    heatmap: Tensor,
    input: Tensor,
    probability: float,
    score: Scored,
    seed: int,
    *,
    percentiles: str = "20,40,60,80",
) -> float:
    """How the class's probability changes when the coldest pixels are removed (least relevant first).

    As ``road_morf`` with the order turned round: what is left is the hottest pixels.

    percentiles: percentages of the pixels to remove, separated by commas
    """
    counts = _counts(percentiles, heatmap.numel())
    if not ranks(heatmap):
        return float("nan")
    rank = hottest_first(heatmap)
    removed = [rank >= rank.numel() - count for count in counts]
    return _mean(score(_imputed(input, removed, seed), len(removed))) - probability


@metric("road_combined", family="faithfulness", paper=_PAPER, better="higher", bounds=(-0.5, 0.5))
def road_combined(
    heatmap: Tensor,
    input: Tensor,
    score: Scored,
    seed: int,
    *,
    percentiles: str = "20,40,60,80",
) -> float:
    """By how much the probability is higher without the coldest pixels than without the hottest, halved.

    (``road_lerf`` − ``road_morf``) / 2, grad-cam's number; the probability before drops out.

    percentiles: percentages of the pixels to remove, separated by commas
    """
    counts = _counts(percentiles, heatmap.numel())
    if not ranks(heatmap):
        return float("nan")
    rank = hottest_first(heatmap)
    removed = [rank < count for count in counts] + [rank >= rank.numel() - count for count in counts]
    seen = score(_imputed(input, removed, seed), len(removed))
    return (_mean(seen[len(counts) :]) - _mean(seen[: len(counts)])) / 2


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _counts(percentiles: str | Iterable[float], pixels: int) -> list[int]:
    """How many of the pixels each percentage is, at least one and not all: something must be left to go by."""
    given = percentiles.split(",") if isinstance(percentiles, str) else percentiles
    try:
        shares = [float(one) / 100 for one in given]
    except (TypeError, ValueError):
        shares = []
    if not shares or not all(0 < share < 1 for share in shares):
        raise OptionError(
            f"option percentiles takes percentages between 0 and 100, like 20,40,60,80, got {percentiles!r}"
        )
    return [min(max(1, round(share * pixels)), pixels - 1) for share in shares]


def _imputed(input: Tensor, removed: list[Tensor], seed: int) -> MakeVariants:
    """The picture without what is ``removed`` (height, width), each time with the same noise."""
    import torch

    drawn = torch.randn(input.shape, generator=drawing(seed), dtype=torch.float32)
    rough = NOISE * drawn.to(input.dtype)

    def make(indices: range) -> Tensor:
        return torch.stack([without(input, removed[index], rough) for index in indices])

    return make


def without(input: Tensor, gone: Tensor, rough: Tensor) -> Tensor:
    """The picture (channels, height, width), what is ``gone`` (height, width) filled in and made ``rough``.

    Raises:
        OptionError: SciPy is not there.
    """
    import torch

    if find_spec("scipy") is None:
        raise OptionError(
            "ROAD solves equations with SciPy, which is not there: pip install 'camlucida[metrics]'"
        )
    smooth = torch.from_numpy(impute(input.numpy(), gone.numpy())).to(input.dtype)
    return torch.where(gone, smooth + rough, input)


def impute(input: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """``input`` (channels, height, width) with each ``gone`` pixel the weighted mean of its neighbours.

    With weights w of the neighbours that lie in the picture: Σw · x = Σ w · x_neighbour. The system is
    symmetric, and positive definite as long as a pixel is left. It is solved in the picture's precision: of
    large holes, float32 knows about five digits in half the time.
    """
    import numpy as np

    precision = np.result_type(input, np.float32)
    turned = _band(gone.T) < _band(gone)
    shown, away = (input.swapaxes(1, 2), gone.T) if turned else (input, gone)
    known = np.where(away, 0, shown).astype(precision)
    place = _places(away)
    weight, mean = np.zeros(away.shape, precision), np.zeros(known.shape, precision)
    pairs: list[tuple[Any, Any, float]] = []
    for down, across, share in NEIGHBOURS:
        one, other = _beside(away.shape, down, across)
        weight[one] += share
        weight[other] += share
        weighted = known * precision.type(share)
        mean[:, *one] += weighted[:, *other]
        mean[:, *other] += weighted[:, *one]
        both = away[one] & away[other]
        pairs.append((place[one][both], place[other][both], share))
    filled = shown.astype(precision)
    filled[:, away] = _solve(weight[away], pairs, mean[:, away].T, precision).T
    return filled.swapaxes(1, 2) if turned else filled


def _places(away: np.ndarray) -> np.ndarray:
    """The number of each unknown, in reading order."""
    import numpy as np

    places: np.ndarray = np.cumsum(away, dtype=np.int32).reshape(away.shape) - 1
    return places


def _band(away: np.ndarray) -> int:
    """How far apart the numbers of two unknowns are at most, of which one is the other's neighbour."""
    place = _places(away)
    apart = [0]
    for down, across, _ in NEIGHBOURS:
        one, other = _beside(away.shape, down, across)
        apart.append(int((place[other] - place[one])[away[one] & away[other]].max(initial=0)))
    return max(apart)


def _beside(shape: tuple[int, ...], down: int, across: int) -> tuple[Any, Any]:
    """Where a picture has a pixel with a neighbour so far away, and where it has the neighbours."""
    height, width = shape
    left, right = max(0, -across), width - max(0, across)
    here = slice(0, height - down), slice(left, right)
    return here, (slice(down, height), slice(left + across, right + across))


def _solve(
    diagonal: np.ndarray, pairs: list[tuple[Any, Any, float]], values: np.ndarray, precision: np.dtype[Any]
) -> np.ndarray:
    """Unknowns (n, channels) of a symmetric system, beside whose diagonal is −share for each of ``pairs``.

    Unknowns are in reading order, so that the matrix is a band as wide as the picture. LAPACK factors that
    twice as fast as SuperLU does in any order; a picture too large for it gets the latter.
    """
    import numpy as np
    from scipy.linalg import solveh_banded  # type: ignore[import-untyped]

    first, second = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    beside = np.concatenate([np.full(len(pair[0]), -pair[2]) for pair in pairs])
    width = int((second - first).max(initial=0)) + 1
    if width * len(diagonal) > _LARGEST_BAND:
        return _solve_sparse(diagonal, (beside, first, second), values)
    band = np.zeros((width, len(diagonal)), dtype=precision, order="F")
    band[-1] = diagonal
    band[width - 1 - (second - first), second] = beside  # above the diagonal, which is factored faster
    solved: np.ndarray = solveh_banded(band, values.astype(precision), overwrite_ab=True, check_finite=False)
    return solved


def _solve_sparse(diagonal: np.ndarray, beside: tuple[np.ndarray, ...], values: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_matrix, diags  # type: ignore[import-untyped]
    from scipy.sparse.linalg import splu  # type: ignore[import-untyped]

    size = len(diagonal)
    lower = coo_matrix((beside[0], (beside[2], beside[1])), shape=(size, size))
    matrix = (lower + lower.T + diags(diagonal)).tocsc()
    options = {"SymmetricMode": True}
    solved: np.ndarray = splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options).solve(values)
    return solved
