"""Naive float64 oracles of the measures of faithfulness, from the papers: loops and nothing clever.

``score`` takes one picture (channels, height, width) and gives its number. Where a measure draws at random, the
oracle is given what was drawn, or the pictures that came of it. Nothing here is shared with what it judges.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

Score = Callable[[np.ndarray], float]
Place = tuple[int, int]


def places(shape: tuple[int, ...]) -> list[Place]:
    return [(row, column) for row in range(shape[-2]) for column in range(shape[-1])]


def by_heat(heatmap: np.ndarray) -> list[Place]:
    """The hottest first; Python's sort keeps equals in the order of reading."""
    return sorted(places(heatmap.shape), key=lambda place: -heatmap[place])


def blank(input: np.ndarray, baseline: str) -> np.ndarray:
    """What takes the place of what is taken away."""
    made = np.zeros_like(input)
    spread = 5 / 224 * min(input.shape[1:])
    for channel in range(len(input)):
        for row, column in places(input.shape):
            if baseline == "mean":
                made[channel, row, column] = sum(input[channel].ravel()) / input[channel].size
            if baseline == "blur":
                total = mass = 0.0
                for other in places(input.shape):
                    distance = (other[0] - row) ** 2 + (other[1] - column) ** 2
                    weight = np.exp(-distance / (2 * spread**2))
                    total, mass = total + weight * input[(channel, *other)], mass + weight
                made[channel, row, column] = total / mass
    return made


def curve_area(start: np.ndarray, end: np.ndarray, heatmap: np.ndarray, steps: int, score: Score) -> float:
    """Petsiuk et al.: pixels of ``start`` become those of ``end``, hottest first; the area under the score."""
    order, shown = by_heat(heatmap), start.copy()
    points, done = [(0.0, score(shown))], 0
    for step in range(1, steps + 1):
        while done < step * len(order) // steps:
            row, column = order[done]
            shown[:, row, column] = end[:, row, column]
            done += 1
        points.append((done / len(order), score(shown)))
    area = 0.0
    for (left, low), (right, high) in pairwise(points):
        area += (right - left) * (low + high) / 2
    return area


def deletion(heatmap: np.ndarray, input: np.ndarray, score: Score, steps: int, baseline: str) -> float:
    return curve_area(input, blank(input, baseline), heatmap, steps, score)


def insertion(heatmap: np.ndarray, input: np.ndarray, score: Score, steps: int, baseline: str) -> float:
    return curve_area(blank(input, baseline), input, heatmap, steps, score)


def seen_through(heatmap: np.ndarray, input: np.ndarray, score: Score) -> float:
    shown = input.copy()
    for row, column in places(input.shape):
        shown[:, row, column] *= max(heatmap[row, column], 0) / heatmap.max()
    return score(shown)


def average_drop(heatmap: np.ndarray, input: np.ndarray, score: Score) -> float:
    """Chattopadhay et al., as a share and not in per cent."""
    before, after = score(input), seen_through(heatmap, input, score)
    return max(0.0, before - after) / before


def increase_in_confidence(heatmap: np.ndarray, input: np.ndarray, score: Score) -> float:
    return 1.0 if score(input) < seen_through(heatmap, input, score) else 0.0


def average_gain(heatmap: np.ndarray, input: np.ndarray, score: Score) -> float:
    """Zhang et al., Opti-CAM."""
    before, after = score(input), seen_through(heatmap, input, score)
    return max(0.0, after - before) / (1 - before)


def cell_of(place: Place, shape: tuple[int, ...], grid: tuple[int, int]) -> Place:
    return place[0] * grid[0] // shape[-2], place[1] * grid[1] // shape[-1]


def aopc(
    heatmap: np.ndarray, input: np.ndarray, noise: np.ndarray, grid: tuple[int, int], steps: int, score: Score
) -> float:
    """Samek et al.: the mean of f(x0) - f(xk), k = 0…L, regions replaced by ``noise``, hottest first."""
    heat: dict[Place, list[float]] = {}
    for place in places(heatmap.shape):
        heat.setdefault(cell_of(place, heatmap.shape, grid), []).append(float(heatmap[place]))
    order = sorted(sorted(heat), key=lambda cell: -sum(heat[cell]) / len(heat[cell]))
    shown, total = input.copy(), 0.0
    for cell in order[:steps]:
        for row, column in places(input.shape):
            if cell_of((row, column), input.shape, grid) == cell:
                shown[:, row, column] = noise[:, row, column]
        total += score(input) - score(shown)
    return total / (steps + 1)


def taken_away(input: np.ndarray, variant: np.ndarray) -> set[Place]:
    """Where the variant is zero and the picture is not; elsewhere the two must be the same."""
    away = set()
    for row, column in places(input.shape):
        if (variant[:, row, column] == input[:, row, column]).all():
            continue
        assert (variant[:, row, column] == 0).all()
        away.add((row, column))
    return away


def correlation(one: list[float], other: list[float]) -> float:
    mean_one, mean_other = sum(one) / len(one), sum(other) / len(other)
    pairs = list(zip(one, other, strict=True))
    together = sum((x - mean_one) * (y - mean_other) for x, y in pairs)
    spread_one = sum((x - mean_one) ** 2 for x in one) ** 0.5
    return together / (spread_one * sum((y - mean_other) ** 2 for y in other) ** 0.5)


def sensitivity_n(
    raw_heatmap: np.ndarray, grid: tuple[int, int], input: np.ndarray, variants: np.ndarray, score: Score
) -> float:
    """Ancona et al., of the sets of cells that were taken away in ``variants``."""
    sums, losses = [], []
    for variant in variants:
        away = {cell_of(place, input.shape, grid) for place in taken_away(input, variant)}
        sums.append(
            sum(
                raw_heatmap[at]
                for at in places(raw_heatmap.shape)
                if cell_of(at, raw_heatmap.shape, grid) in away
            )
        )
        losses.append(score(input) - score(variant))
    return correlation(sums, losses)


def infidelity(heatmap: np.ndarray, input: np.ndarray, variants: np.ndarray, score: Score) -> float:
    """Yeh et al., of what was taken away in ``variants``, with the scale that makes it smallest."""
    sums = [sum(heatmap[place] for place in taken_away(input, variant)) for variant in variants]
    losses = [score(input) - score(variant) for variant in variants]
    power = sum(x * x for x in sums)
    scale = sum(x * y for x, y in zip(sums, losses, strict=True)) / power
    return sum((scale * x - y) ** 2 for x, y in zip(sums, losses, strict=True)) / len(sums)


def imputed(input: np.ndarray, gone: set[Place]) -> np.ndarray:
    """Rong et al.: each pixel that is gone is the mean of its neighbours, 1/6 beside it and 1/12 across."""
    unknown = sorted(gone)
    matrix, values = np.zeros((len(unknown), len(unknown))), np.zeros((len(unknown), len(input)))
    for equation, (row, column) in enumerate(unknown):
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                other = (row + down, column + across)
                if (down, across) == (0, 0) or other not in places(input.shape):
                    continue
                weight = 1 / 6 if 0 in (down, across) else 1 / 12
                matrix[equation, equation] += weight
                if other in gone:
                    matrix[equation, unknown.index(other)] -= weight
                else:
                    values[equation] += weight * input[:, other[0], other[1]]
    solved, filled = np.linalg.solve(matrix, values), input.copy()
    for (row, column), value in zip(unknown, solved, strict=True):
        filled[:, row, column] = value
    return filled


def road(
    heatmap: np.ndarray, input: np.ndarray, noise: np.ndarray, percentiles: list[int], score: Score
) -> tuple[float, float]:
    """The change of the score without the hottest pixels, and without the coldest; means of percentages."""
    order, changes = by_heat(heatmap), ([], [])
    for percentage in percentiles:
        count = round(percentage / 100 * len(order))
        for gone, change in zip((order[:count], order[len(order) - count :]), changes, strict=True):
            shown = imputed(input, set(gone))
            for row, column in gone:
                shown[:, row, column] += noise[:, row, column]
            change.append(score(shown) - score(input))
    return sum(changes[0]) / len(percentiles), sum(changes[1]) / len(percentiles)
