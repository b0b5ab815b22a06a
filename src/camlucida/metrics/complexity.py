"""How simple is the map, and does it stand by itself?

Evidence against the class is left out, as in drawings: these metrics were made for maps of one sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.metrics._perturbations import seen_through
from camlucida.metrics.registry import metric
from camlucida.metrics.similarity import pearson
from camlucida.registry import Paper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from camlucida.types import MakeVariants

_POPPI = Paper(
    "Poppi et al.",
    2021,
    "Revisiting The Evaluation of Class Activation Mapping for Explainability: "
    "A Novel Metric and Experimental Analysis",
    "arXiv:2104.10252",
)


@metric(
    "entropy",
    family="complexity",
    paper=Paper(
        "Bhatt et al.", 2020, "Evaluating and Aggregating Feature-based Model Explanations", "arXiv:2005.00631"
    ),
    better="lower",
    bounds=(0, 1),
    tells_controls=False,
)
def entropy(heatmap: Tensor) -> float:
    """How far the map is spread out: 0 at one position, 1 evenly over all.

    The entropy of the map divided by its sum, as a share of the logarithm of the number of positions. The
    paper does not divide by that, and takes magnitudes. A blank map has none.
    """
    evidence = _evidence(heatmap)
    if evidence is None or evidence.numel() == 1:
        return float("nan")
    import math

    shares = evidence / evidence.sum()
    spread = -float(shares.xlogy(shares).sum())
    return min(max(0.0, spread / math.log(shares.numel())), 1.0)  # rounding leads beyond


@metric(
    "sparseness",
    family="complexity",
    paper=Paper(
        "Chalasani et al.",
        2020,
        "Concise Explanations of Neural Networks using Adversarial Training",
        "arXiv:1810.06583",
    ),
    better="higher",
    bounds=(0, 1),
    tells_controls=False,
)
def sparseness(heatmap: Tensor) -> float:
    """How unequally the map is spread: its Gini index, 0 evenly over all positions, near 1 at one.

    1 - 2 Σ v(i) / Σ v · (n - i + ½) / n, values v(1) to v(n) rising; 1 - 1 / n is the most. The paper takes
    magnitudes. A blank map has none.
    """
    evidence = _evidence(heatmap)
    if evidence is None:
        return float("nan")
    rising = evidence.flatten().sort().values
    behind = rising.new_ones(len(rising)).cumsum(0).flip(0) - 0.5
    return max(0.0, 1 - 2 * float((rising * behind).sum() / rising.sum()) / len(rising))


@metric("coherency", family="complexity", paper=_POPPI, better="higher", bounds=(0, 1), tells_controls=False)
def coherency(heatmap: Tensor, input: Tensor, explain_inputs: Callable[[Tensor], Tensor]) -> float:
    """Whether the method finds the same again in the picture seen through its map: 0 the reverse, 1 the same.

    (1 + r) / 2 with Pearson's r of both maps. The input is multiplied with the map over its largest value;
    the authors stretch maps from the smallest value. A map that is blank, not finite or the same everywhere,
    before or after, has no correlation and counts 0, as in the authors' code for what is not finite.
    """
    evidence = _evidence(heatmap)
    if evidence is None:
        return 0.0
    found = _evidence(explain_inputs(seen_through(heatmap, input)[None])[0])
    correlation = float("nan") if found is None else pearson(evidence, found)
    return (1 + correlation) / 2 if correlation == correlation else 0.0  # noqa: PLR0124 - NaN is not itself


@metric("adcc", family="complexity", paper=_POPPI, better="higher", bounds=(0, 1), tells_controls=False)
def adcc(
    heatmap: Tensor,
    input: Tensor,
    probability: float,
    score: Callable[[MakeVariants, int], Tensor],
    explain_inputs: Callable[[Tensor], Tensor],
) -> float:
    """Simple, coherent and sufficient at once: the harmonic mean of three numbers, 0 if one of them is.

    These are the coherency; 1 - the mean of the map over its largest value (complexity); and 1 - the share
    max(0, y - o) / y of the probability y that is lost in the picture seen through the map (average drop). The
    mean is taken for each picture; the paper takes that of the three means. A blank map has 0.
    """
    evidence = _evidence(heatmap)
    if evidence is None:
        return 0.0
    seen = seen_through(heatmap, input)
    left = float(score(lambda indices: seen[None], 1)[0])
    drop = max(0.0, probability - left) / probability if probability > 0 else 0.0
    parts = (
        coherency(heatmap, input, explain_inputs),
        1 - float((evidence / evidence.max()).mean()),
        1 - drop,
    )
    return harmonic(parts)


def harmonic(parts: Sequence[float]) -> float:
    """The harmonic mean, 0 if one of them is not above 0."""
    return len(parts) / sum(1 / part for part in parts) if min(parts) > 0 else 0.0


def _evidence(heatmap: Tensor) -> Tensor | None:
    """What speaks for the class, in float64; none where nothing does, or what does is not finite."""
    if not bool(heatmap.isfinite().all()) or float(heatmap.max()) <= 0:
        return None
    return heatmap.double().clamp(min=0)
