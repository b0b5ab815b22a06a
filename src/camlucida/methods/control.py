"""Floors to compare with: maps that cannot know anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.methods.registry import method
from camlucida.registry import Paper

if TYPE_CHECKING:
    from camlucida.types import Activations, Contributions


@method(
    "random",
    family="control",
    paper=Paper("Adebayo et al.", 2018, "Sanity Checks for Saliency Maps", "arXiv:1810.03292"),
    returns="contributions",
    signed=True,
    classless=True,
    control=True,
    cost="1 forward",
)
def random(activations: Activations, *, seed: int = 0) -> Contributions:
    """Each channel weighted by chance: a method that does no better has explained nothing.

    seed: which draw of weights, uniform in -1 to 1, the same for every picture
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(activations.shape[1], generator=generator, dtype=torch.float64) * 2 - 1
    return (weights.to(activations) * activations.movedim(1, -1)).movedim(-1, 1)
