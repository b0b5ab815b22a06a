"""Faithfulness: does the score change where the map says that it would?

A map that holds NaN, or is the same everywhere, ranks nothing: its value is NaN and not that of some arbitrary
order. What is drawn at random follows the trial's ``seed`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import isnan
from typing import TYPE_CHECKING

from camlucida.metrics._perturbations import (
    at_least,
    baseline_of,
    cell_sums,
    cells,
    drawing,
    hottest_first,
    ranks,
    replaced,
    seen_through,
    steps_of,
)
from camlucida.metrics.registry import metric
from camlucida.registry import Paper

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.types import MakeVariants

    Scored = Callable[[MakeVariants, int], Tensor]

_RISE = Paper(
    "Petsiuk, Das and Saenko",
    2018,
    "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    "arXiv:1806.07421",
)
_GRADCAM_PLUS_PLUS = Paper(
    "Chattopadhay et al.",
    2018,
    "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional Networks",
    "arXiv:1710.11063",
)
_REGIONS = 14  # a side
_NOTHING = float("nan")


@metric("deletion", family="faithfulness", paper=_RISE, better="lower", bounds=(0, 1))
def deletion(
    heatmap: Tensor,
    input: Tensor,
    probability: float,
    score: Scored,
    *,
    steps: int = 32,
    baseline: str = "zero",
) -> float:
    """The mean probability of the class while the hottest pixels are taken away first.

    The area, by trapezoids, under the probability over the share of pixels taken away, 0…1. As in the authors'
    code, what is taken away becomes zero in the normalised input: the mean colour. Their steps are of 224
    pixels, 224 of them on an input of 224; ours are fewer. Equally hot pixels go in reading order.

    steps: how many equal parts of the picture are taken away one after the other
    baseline: what takes their place, zero (in the normalised input), mean (of each channel) or blur
    """
    shares, blank = steps_of(heatmap.numel(), steps), baseline_of(input, baseline)
    if not ranks(heatmap):
        return _NOTHING
    make = replaced(input, blank, hottest_first(heatmap), shares)
    return _area([0, *shares], [probability, *score(make, len(shares)).tolist()])


@metric("insertion", family="faithfulness", paper=_RISE, better="higher", bounds=(0, 1))
def insertion(
    heatmap: Tensor,
    input: Tensor,
    probability: float,
    score: Scored,
    *,
    steps: int = 32,
    baseline: str = "blur",
) -> float:
    """The mean probability of the class while the hottest pixels are shown first.

    The area, by trapezoids, under the probability over the share of pixels shown, 0…1. As in the paper, they
    appear on the blurred picture. The Gaussian is of the authors' 5 pixels on an input of 224 but not cut off
    after 5, and what lies outside the picture is left out instead of black. Else as ``deletion``.

    steps: how many equal parts of the picture are shown one after the other
    baseline: on what they are shown, zero (in the normalised input), mean (of each channel) or blur
    """
    shares, blank = [0, *steps_of(heatmap.numel(), steps)], baseline_of(input, baseline)
    if not ranks(heatmap):
        return _NOTHING
    make = replaced(blank, input, hottest_first(heatmap), shares[:-1])
    return _area(shares, [*score(make, len(shares) - 1).tolist(), probability])


def _area(shares: list[int], scores: list[float]) -> float:
    """Under ``scores`` at ``shares``, straight between them, divided by the last share."""
    pairs = zip(pairwise(shares), pairwise(scores), strict=True)
    return sum((end - start) * (one + other) / 2 for (start, end), (one, other) in pairs) / shares[-1]


@metric("average_drop", family="faithfulness", paper=_GRADCAM_PLUS_PLUS, better="lower", bounds=(0, 1))
def average_drop(heatmap: Tensor, input: Tensor, probability: float, score: Scored) -> float:
    """What share of the class's probability is lost when the picture is seen through the map.

    max(0, y − o) / y, where y is the probability and o that of the normalised input times the map; the map is
    divided by its largest value, 0 where negative. The paper gives this share in per cent; grad-cam's
    ``DropInConfidence`` is max(0, y − o), which is another number.
    """
    seen = _seen_through(heatmap, input, score)
    if isnan(seen) or probability <= 0:
        return _NOTHING
    return max(0.0, probability - seen) / probability


@metric(
    "increase_in_confidence", family="faithfulness", paper=_GRADCAM_PLUS_PLUS, better="higher", bounds=(0, 1)
)
def increase_in_confidence(heatmap: Tensor, input: Tensor, probability: float, score: Scored) -> float:
    """The share of pictures whose class becomes more probable when they are seen through the map.

    1 where y < o, else 0, with y and o of ``average_drop``.
    """
    seen = _seen_through(heatmap, input, score)
    return _NOTHING if isnan(seen) else float(probability < seen)


@metric(
    "average_gain",
    family="faithfulness",
    paper=Paper(
        "Zhang et al.",
        2023,
        "Opti-CAM: Optimizing saliency maps for interpretability",
        "arXiv:2301.07002",
    ),
    better="higher",
    bounds=(0, 1),
)
def average_gain(heatmap: Tensor, input: Tensor, probability: float, score: Scored) -> float:
    """What share of the probability that was missing is won when the picture is seen through the map.

    max(0, o − y) / (1 − y), with y and o of ``average_drop``; NaN where nothing was missing.
    """
    seen = _seen_through(heatmap, input, score)
    if isnan(seen) or probability >= 1:
        return _NOTHING
    return max(0.0, seen - probability) / (1 - probability)


def _seen_through(heatmap: Tensor, input: Tensor, score: Scored) -> float:
    """The probability of the picture times the map, NaN where the map shows nothing."""
    if not ranks(heatmap) or not bool((heatmap > 0).any()):
        return _NOTHING
    shown = seen_through(heatmap, input)
    return float(score(lambda _: shown[None], 1)[0])


@metric(
    "pixel_flipping",
    family="faithfulness",
    paper=Paper(
        "Samek et al.",
        2015,
        "Evaluating the visualization of what a Deep Neural Network has learned",
        "arXiv:1509.06321",
    ),
    better="higher",
    bounds=(float("-inf"), float("inf")),
)
def pixel_flipping(
    heatmap: Tensor,
    input: Tensor,
    logit: float,
    logits: Scored,
    seed: int,
    *,
    steps: int = 32,
) -> float:
    """How far the logit falls, on average, while the hottest regions are replaced by noise first (AOPC).

    1/(L + 1) · Σ f(x₀) − f(xₖ) for k = 0…L, where L are the steps and xₖ is without the k regions whose mean
    heat is highest. Bach et al. (2015) flip single pixels. The noise is uniform between the lowest and
    the highest value of each channel, drawn once. The paper takes 100 regions of 9×9 pixels; ours are 14 × 14,
    of 16×16 pixels on an input of 224, of which 32 are as much. f is the logit here, so that the number says
    what ``deletion`` does not; it has the logit's unit: compare it for one model.

    steps: how many regions are replaced, at most all
    """
    import torch

    at_least("steps", steps, 1)
    height, width = int(heatmap.shape[0]), int(heatmap.shape[1])
    grid = (min(height, _REGIONS), min(width, _REGIONS))
    heat = cell_sums(heatmap, grid) / cell_sums(torch.ones_like(heatmap), grid)
    if not ranks(heat):
        return _NOTHING
    low, high = input.amin(dim=(1, 2), keepdim=True), input.amax(dim=(1, 2), keepdim=True)
    drawn = torch.rand(input.shape, generator=drawing(seed), dtype=torch.float32)
    noise = drawn.to(input.dtype) * (high - low) + low
    changed = list(range(1, min(steps, len(heat)) + 1))
    make = replaced(input, noise, hottest_first(heat)[cells((height, width), grid)], changed)
    return float((logit - logits(make, len(changed))).sum()) / (len(changed) + 1)
