"""What stands out of a channel's own statistics, without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.heatmaps.combine import positions
from camlucida.methods.registry import method
from camlucida.registry import Paper

if TYPE_CHECKING:
    from camlucida.types import Activations, Contributions


@method(
    "fem",
    family="statistic",
    paper=Paper(
        "Fuad et al.",
        2020,
        "Features Understanding in 3D CNNs for Actions Recognition in Video",
        "doi:10.1109/IPTA50016.2020.9286629",
    ),
    returns="contributions",
    signed=False,
    classless=True,
    cost="1 forward",
)
def fem(activations: Activations, *, k: float = 2.0) -> Contributions:
    """Where channels are unusually strong, whatever the class: above their mean by k standard deviations.

    Such a position counts with the channel's mean, any other not at all. A channel that is the same
    everywhere has no unusual position. Among fewer than k^2 + 1 positions none can stand out so far. The paper
    assumes ReLU activations: behind a LayerNorm a channel's mean can be negative, and then its strongest
    positions count against.

    k: how many standard deviations above its mean a channel must be
    """
    mean = activations.mean(dim=positions(activations), keepdim=True)
    spread = activations.std(dim=positions(activations), correction=0, keepdim=True)
    varies = activations.amax(dim=positions(activations), keepdim=True) > activations.amin(
        dim=positions(activations), keepdim=True
    )
    return mean * (varies & (activations >= mean + k * spread))
