"""Does the map depend on what it should depend on, and on nothing else?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import OptionError
from camlucida.metrics._perturbations import drawing
from camlucida.metrics.registry import mean, metric
from camlucida.metrics.similarity import get_similarity, is_flat
from camlucida.registry import Paper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


@metric(
    "max_sensitivity",
    family="stability",
    paper=Paper("Yeh et al.", 2019, "On the (In)fidelity and Sensitivity of Explanations", "arXiv:1901.09392"),
    better="lower",
    bounds=(0, float("inf")),
    tells_controls=False,
)
def max_sensitivity(
    heatmap: Tensor,
    input: Tensor,
    explain_inputs: Callable[[Tensor], Tensor],
    seed: int,
    *,
    samples: int = 10,
    radius: float = 0.02,
) -> float:
    """How much the map changes at most when the input hardly does, as a share of the map.

    The largest of ‖φ(x + δ) - φ(x)‖ / ‖φ(x)‖; every value of δ is uniform within the radius, which is measured
    on the input's range. The paper defines the maximum over all δ, of the numerator alone, and estimates it
    from samples; here it is divided by the map's size, since a method could gain by scaling its maps.

    samples: how many inputs are tried
    radius: how far a value is changed at most, as a share of the range of the input's values
    """
    if samples < 1 or radius <= 0:
        raise OptionError(
            f"max_sensitivity needs 1 sample or more and a radius above 0, got {samples}, {radius}: give such"
        )
    import torch

    size = float(heatmap.double().norm())
    if not 0 < size < float("inf"):
        return float("nan")
    generator = drawing(seed)
    reach = radius * float(input.max() - input.min())
    changes = []
    for start in range(0, samples, 8):  # so that not all maps exist at once
        count = min(8, samples - start)
        noise = 2 * torch.rand((count, *input.shape), generator=generator, dtype=input.dtype) - 1
        maps = explain_inputs(input + reach * noise)
        changes.append((maps.double() - heatmap.double()).flatten(1).norm(dim=1))
    return float(torch.cat(changes).max() / size)


@metric(
    "randomisation",
    family="sanity",
    paper=Paper("Adebayo et al.", 2018, "Sanity Checks for Saliency Maps", "arXiv:1810.03292"),
    better="lower",
    bounds=(0, 1),
)
def randomisation(
    heatmap: Tensor, randomised_maps: Callable[[], Sequence[Tensor]], *, similarity: str = "spearman"
) -> float:
    """How much of the map remains when the model's weights are randomised, from the last layer on.

    The mean over all stages of the similarity's magnitude: a map turned over shows the same things. A map
    that is the same everywhere has nothing in common with the first; one that is not finite is left out.

    similarity: spearman, pearson or ssim, of maps divided by their largest magnitude
    """
    return mean([abs(_alike(similarity, heatmap, other)) for other in randomised_maps()])


@metric(
    "random_logit",
    family="sanity",
    paper=Paper(
        "Sixt et al.", 2020, "When Explanations Lie: Why Many Modified BP Attributions Fail", "arXiv:1912.09818"
    ),
    better="lower",
    bounds=(-1, 1),
)
def random_logit(
    heatmap: Tensor,
    index: int,
    classes: int,
    explain_class: Callable[[int], Tensor],
    seed: int,
    *,
    similarity: str = "spearman",
) -> float:
    """How alike the map is to that of another class, drawn from all: 1 for a method that ignores the class.

    Below zero is better still: what speaks for one class speaks against the other. The paper takes ssim, of
    maps of one sign; of signed ones it can call a map and its reverse alike, since their means turn over too.

    similarity: spearman, pearson or ssim, of maps divided by their largest magnitude
    """
    import torch

    if classes < 2:
        return float("nan")
    drawn = int(torch.randint(classes - 1, (1,), generator=drawing(seed)))
    return _alike(similarity, heatmap, explain_class(drawn + (drawn >= index)))


@metric(
    "class_sensitivity",
    family="sanity",
    paper=Paper(
        "Li et al.",
        2021,
        "An Experimental Study of Quantitative Evaluations on Saliency Methods",
        "arXiv:2012.15616",
    ),
    better="lower",
    bounds=(-1, 1),
)
def class_sensitivity(
    heatmap: Tensor,
    index: int,
    ranking: Sequence[int],
    explain_class: Callable[[int], Tensor],
    *,
    similarity: str = "pearson",
) -> float:
    """How alike the map is to that of the class which the model holds least likely.

    The paper compares the most likely class with the least likely one, whatever class is explained. There is
    no number where the classes have no order, or there is but one.

    similarity: spearman, pearson or ssim, of maps divided by their largest magnitude
    """
    others = [other for other in ranking if other != index]
    return _alike(similarity, heatmap, explain_class(others[-1])) if others else float("nan")


def _alike(name: str, heatmap: Tensor, other: Tensor) -> float:
    """The similarity of two maps, each divided by its largest magnitude, since ssim depends on it.

    0 where only the second is the same everywhere; NaN where the first is, or one of them is not finite.
    """
    similarity = get_similarity(name)
    if not is_flat(heatmap) and is_flat(other) and bool(other.isfinite().all()):
        return 0.0
    one, two = (values.double() / (float(values.abs().max()) or 1.0) for values in (heatmap, other))
    return similarity(one, two)
