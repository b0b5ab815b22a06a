"""One naive float64 oracle a measure of localisation, complexity and sanity, from its paper's formula.

Maps are (height, width), masks of bool. Nothing here may be copied from, or shared with, what it judges; where
a formula has two forms, the one that the code does not use is here.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from math import exp, hypot, log

import numpy as np

Map = np.ndarray


def positions(heatmap: Map) -> Iterator[tuple[int, int]]:
    """Every (row, column)."""
    for row in range(heatmap.shape[0]):
        for column in range(heatmap.shape[1]):
            yield row, column


def blank(heatmap: Map) -> bool:
    return not any(heatmap[place] > 0 for place in positions(heatmap))


# -- localisation -------------------------------------------------------------------------------------------


def pointing_game(heatmap: Map, mask: Map, tolerance: float = 0) -> float:
    """Zhang et al.: hits over hits and misses; positions that are equally hot are played each."""
    if blank(heatmap):
        return 0.0
    hottest = [place for place in positions(heatmap) if heatmap[place] == heatmap.max()]
    hits = 0
    for row, column in hottest:
        distances = [hypot(row - r, column - c) for r, c in positions(mask) if mask[r, c]]
        hits += min(distances) <= tolerance
    return hits / len(hottest)


def energy_inside(heatmap: Map, mask: Map) -> float:
    """Wang et al., section 4.3: Σ L(i, j) in the box over Σ L(i, j), with L after its ReLU."""
    inside = outside = 0.0
    for place in positions(heatmap):
        value = max(float(heatmap[place]), 0.0)
        if mask[place]:
            inside += value
        else:
            outside += value
    return inside / (inside + outside) if inside + outside > 0 else 0.0


def best_iou(heatmap: Map, mask: Map) -> float:
    """Choe et al.: the maximum over thresholds τ of the overlap of {heatmap ≥ τ} with the object."""
    best = 0.0
    for threshold in heatmap.ravel():
        if threshold > 0:
            both = sum(heatmap[place] >= threshold and mask[place] for place in positions(mask))
            either = sum(heatmap[place] >= threshold or mask[place] for place in positions(mask))
            best = max(best, both / either)
    return best


def hottest_inside(heatmap: Map, mask: Map, count: int) -> float:
    """The share of the ``count`` hottest inside, as the mean over every way to choose among equals."""
    if blank(heatmap):
        return 0.0
    ordered = sorted(positions(heatmap), key=lambda place: -heatmap[place])
    edge = heatmap[ordered[count - 1]]
    sure = [place for place in ordered if heatmap[place] > edge]
    equal = [place for place in ordered if heatmap[place] == edge]
    shares = [
        sum(mask[place] for place in [*sure, *rest]) / count
        for rest in combinations(equal, count - len(sure))
    ]  # fmt: skip
    return float(np.mean(shares))


def relevance_rank(heatmap: Map, mask: Map) -> float:
    """Arras et al., equation 2: K is the size of the ground truth."""
    return hottest_inside(heatmap, mask, int(mask.sum()))


def top_k_intersection(heatmap: Map, mask: Map, k: float = 0.02) -> float:
    return hottest_inside(heatmap, mask, max(1, round(k * heatmap.size)))


# -- complexity ---------------------------------------------------------------------------------------------


def entropy(heatmap: Map) -> float:
    """Bhatt et al.: -Σ P(i) ln P(i) of the fractional contributions, over its largest value."""
    values = [max(float(value), 0.0) for value in heatmap.ravel()]
    total = 0.0
    for value in values:
        if value > 0:
            total -= value / sum(values) * log(value / sum(values))
    return total / log(heatmap.size)


def sparseness(heatmap: Map) -> float:
    """The Gini index as the mean absolute difference of all pairs, over twice the mean."""
    values = [max(float(value), 0.0) for value in heatmap.ravel()]
    differences = [abs(one - other) for one in values for other in values]
    return sum(differences) / len(differences) / (2 * sum(values) / len(values))


def scaled(heatmap: Map) -> Map:
    """What speaks for the class, its largest value 1."""
    return np.array([[max(float(value), 0.0) / heatmap.max() for value in row] for row in heatmap])


def coherency(heatmap: Map, input: Map, explain_inputs: Callable[[Map], Map]) -> float:
    """Poppi et al., equation 3, brought to 0…1."""
    found = np.maximum(explain_inputs(input * scaled(heatmap)), 0)
    return (1 + pearson(np.maximum(heatmap, 0), found)) / 2


def adcc(
    heatmap: Map,
    input: Map,
    explain_inputs: Callable[[Map], Map],
    score: Callable[[Map], float],
) -> float:
    """Poppi et al., equation 6: 3 over the sum of the inverses."""
    whole, seen = score(input), score(input * scaled(heatmap))
    drop = max(0.0, whole - seen) / whole
    complexity = sum(scaled(heatmap).ravel()) / heatmap.size
    return 3 / (1 / coherency(heatmap, input, explain_inputs) + 1 / (1 - complexity) + 1 / (1 - drop))


# -- similarity ---------------------------------------------------------------------------------------------


def pearson(one: Map, other: Map) -> float:
    n, x, y = one.size, one.ravel(), other.ravel()
    top = sum((a - x.mean()) * (b - y.mean()) for a, b in zip(x, y, strict=True)) / n
    return top / (x.std() * y.std())


def spearman(one: Map, other: Map) -> float:
    """Of ranks, each one more than the values below and half of the others that are equal."""
    ranks = [
        np.array([1 + (values < value).sum() + ((values == value).sum() - 1) / 2 for value in values.ravel()])
        for values in (one, other)
    ]
    return pearson(*ranks)


def ssim(one: Map, other: Map) -> float:
    """Wang et al. 2004, window by window: weighted means, variances and covariance."""
    window = np.array([[exp(-(i**2 + j**2) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)])
    window /= window.sum()
    span = max(one.max(), other.max()) - min(one.min(), other.min())
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values = []
    for row in range(one.shape[0] - 10):
        for column in range(one.shape[1] - 10):
            x, y = (values[row : row + 11, column : column + 11] for values in (one, other))
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            cov = (window * (x - mx) * (y - my)).sum()
            values.append(
                (2 * mx * my + c1) / (mx**2 + my**2 + c1) * (2 * cov + c2) / (vx + vy + c2)
            )  # fmt: skip
    return float(np.mean(values))


SIMILARITIES: dict[str, Callable[[Map, Map], float]] = {"pearson": pearson, "spearman": spearman, "ssim": ssim}


# -- sanity -------------------------------------------------------------------------------------------------


def max_sensitivity(heatmap: Map, others: Sequence[Map]) -> float:
    """Yeh et al., definition 2, over the maps of perturbed pictures and relative to the map."""
    return (
        max(sum((other - heatmap).ravel() ** 2) ** 0.5 for other in others) / sum(heatmap.ravel() ** 2) ** 0.5
    )


def randomisation(heatmap: Map, others: Sequence[Map], similarity: str) -> float:
    """Adebayo et al.: maps divided by their largest magnitude, similarities without their sign."""
    one = heatmap / abs(heatmap).max()
    return float(np.mean([abs(SIMILARITIES[similarity](one, other / abs(other).max())) for other in others]))


def of_another_class(heatmap: Map, other: Map, similarity: str) -> float:
    """Sixt et al., and Li et al."""
    return SIMILARITIES[similarity](heatmap / abs(heatmap).max(), other / abs(other).max())


# -- floors -------------------------------------------------------------------------------------------------


def sobel(input: Map) -> Map:
    """The gradient's magnitude of the mean over channels, the border repeated."""
    grey = np.pad(input.mean(axis=0), 1, mode="edge")
    slopes = np.zeros(input.shape[1:])
    for row, column in positions(slopes):
        patch = grey[row : row + 3, column : column + 3]
        across = patch[:, 2] @ [1, 2, 1] - patch[:, 0] @ [1, 2, 1]
        down = patch[2] @ [1, 2, 1] - patch[0] @ [1, 2, 1]
        slopes[row, column] = hypot(across, down)
    return slopes
