"""Does the map lie where the object is?

A map without a value above zero, or with one that is not finite, shows nothing and has 0 here, the worst value:
left out of the mean it would flatter its method. Without an object there is nothing to find, and no number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import OptionError
from camlucida.metrics.registry import metric
from camlucida.registry import Paper

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@metric(
    "pointing_game",
    family="localisation",
    paper=Paper("Zhang et al.", 2016, "Top-down Neural Attention by Excitation Backprop", "arXiv:1608.00507"),
    better="higher",
    bounds=(0, 1),
)
def pointing_game(heatmap: Tensor, mask: Tensor | None, *, tolerance: int = 0) -> float:
    """Whether the hottest position lies on the object, 1 or 0.

    Of several equally hot positions the share that lies there, so that their order decides nothing. The paper
    allows 15 pixels beside the object.

    tolerance: how many pixels beside the object count as on it
    """
    if tolerance < 0:
        raise OptionError(f"tolerance is a number of pixels, got {tolerance}: give 0 or more")
    return _judged(
        "pointing_game", heatmap, mask, lambda hot, inside: _share_inside(hot, _grown(inside, tolerance), 1)
    )


@metric(
    "energy_inside",
    family="localisation",
    paper=Paper(
        "Wang et al.",
        2020,
        "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
        "arXiv:1910.01279",
        "its energy-based pointing game",
    ),
    better="higher",
    bounds=(0, 1),
)
def energy_inside(heatmap: Tensor, mask: Tensor | None) -> float:
    """The share of the map's positive mass that lies on the object.

    Also known as relevance mass accuracy (Arras et al., arXiv:2003.07258), which pools signed maps to positive
    ones by several rules, of which this is the positive part; and, with a cell of a mosaic as the object, as
    the localisation score of the grid pointing game (Rao et al., arXiv:2205.10435).
    """

    def share(hot: Tensor, inside: Tensor) -> float:
        positive = hot.clamp(min=0)
        return float(positive[inside].sum() / positive.sum())

    return _judged("energy_inside", heatmap, mask, share)


@metric(
    "best_iou",
    family="localisation",
    paper=Paper(
        "Choe et al.",
        2020,
        "Evaluating Weakly Supervised Object Localization Methods Right",
        "arXiv:2001.07437",
    ),
    better="higher",
    bounds=(0, 1),
)
def best_iou(heatmap: Tensor, mask: Tensor | None) -> float:
    """Intersection over union of the object and the map above a threshold, at the best threshold.

    Every value above zero is tried. The paper looks for one threshold for all pictures and compares boxes;
    here each picture has its own and the object its outline, so that the number is an upper bound.
    """
    return _judged("best_iou", heatmap, mask, _best_overlap)


@metric(
    "relevance_rank",
    family="localisation",
    paper=Paper(
        "Arras et al.",
        2021,
        "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network Explanations",
        "arXiv:2003.07258",
    ),
    better="higher",
    bounds=(0, 1),
)
def relevance_rank(heatmap: Tensor, mask: Tensor | None) -> float:
    """Of as many hottest positions as the object has, the share that lies on it (relevance rank accuracy).

    Where the last of them are equally hot as others, each of these counts alike.
    """
    return _judged(
        "relevance_rank", heatmap, mask, lambda hot, inside: _share_inside(hot, inside, int(inside.sum()))
    )


@metric(
    "top_k_intersection",
    family="localisation",
    paper=Paper("Theiner et al.", 2021, "Interpretable Semantic Photo Geolocation", "arXiv:2104.14995"),
    better="higher",
    bounds=(0, 1),
)
def top_k_intersection(heatmap: Tensor, mask: Tensor | None, *, k: float = 0.02) -> float:
    """Of the hottest positions of the map, the share that lies on the object.

    An object smaller than they are cannot reach 1. ``relevance_rank`` is the same with as many as the object
    has. The default is about 1000 of 224 × 224 pixels.

    k: how many of the positions are looked at, as a share of all
    """
    if not 0 < k <= 1:
        raise OptionError(f"k is a share of the picture, above 0 and at most 1, got {k}")
    count = max(1, round(k * heatmap.numel()))
    return _judged("top_k_intersection", heatmap, mask, lambda hot, inside: _share_inside(hot, inside, count))


def _judged(name: str, heatmap: Tensor, mask: Tensor | None, judge: Callable[[Tensor, Tensor], float]) -> float:
    """The score of the map in float64 against the mask, if the map and the mask are not blank.

    Raises:
        OptionError: there is no mask, or one of another size.
    """
    if mask is None:
        raise OptionError(f"metric {name} needs masks of the objects, got none: give one a picture")
    if mask.shape != heatmap.shape:
        given, own = (" × ".join(map(str, one.shape)) for one in (mask, heatmap))
        raise OptionError(f"metric {name} needs masks of the input's size {own}, got {given}: give such")
    if not bool(mask.any()):
        return float("nan")
    if not bool(heatmap.isfinite().all()) or float(heatmap.max()) <= 0:
        return 0.0
    return judge(heatmap.double(), mask.bool())


def _share_inside(hot: Tensor, inside: Tensor, count: int) -> float:
    """Of the ``count`` hottest positions the share inside; those level with the last share what is left."""
    edge = hot.flatten().topk(count).values[-1]
    above, level = hot > edge, hot == edge
    left = count - int(above.sum())
    hits = float((above & inside).sum()) + left * float((level & inside).sum()) / float(level.sum())
    return hits / count


def _grown(inside: Tensor, tolerance: int) -> Tensor:
    """The mask with all positions at most ``tolerance`` pixels away."""
    if tolerance == 0:
        return inside
    import torch
    from torch.nn.functional import conv2d

    steps = torch.arange(-tolerance, tolerance + 1)
    disc = (steps[:, None] ** 2 + steps**2 <= tolerance**2).float()
    reached: Tensor = conv2d(inside.float()[None, None], disc[None, None], padding=tolerance)[0, 0] > 0.5
    return reached


def _best_overlap(hot: Tensor, inside: Tensor) -> float:
    """The best intersection over union of ``hot`` at any of its values above zero."""
    values, order = hot.flatten().sort(descending=True)
    hits = inside.flatten()[order].double().cumsum(0)
    taken = hits.new_ones(len(hits)).cumsum(0)
    overlap = hits / (taken + float(inside.sum()) - hits)
    last = values != values.roll(-1)  # a threshold takes all equal values or none
    last[-1] = True
    return float(overlap[last & (values > 0)].max())
