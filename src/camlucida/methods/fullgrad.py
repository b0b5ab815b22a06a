"""The whole gradient: of the input, and of every bias in the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.health import Finding, Noted
from camlucida.registry import Paper, method

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.types import Gradients, Inputs


@method(
    "fullgrad",
    family="fullgrad",
    paper=Paper(
        "Srinivas and Fleuret",
        2019,
        "Full-Gradient Representation for Neural Network Visualization",
        "arXiv:1905.00780",
    ),
    returns="heatmap",
    signed=False,
    cost="about 2 forwards",
)
def fullgrad(
    inputs: Inputs, input_gradients: Gradients, bias_terms: tuple[Tensor, ...], unplaced: int
) -> Noted:
    """Input times gradient, and bias times gradient of every operation that adds a bias, laid over each other.

    Explicit biases (convolution, linear, layer and group norm) and the implicit one of batch norm. In a ReLU
    network the terms add up to the score; a saturated ReLU6 adds constants that no term covers.

    Each operation's terms are taken without sign and scaled to 0…1 over all its channels, as in the authors'
    code, brought to the input's size and added. The layer does not matter, and the map has the input's
    resolution.
    """
    from torch.nn.functional import interpolate

    size = inputs.shape[-2:]
    total = _scaled(inputs * input_gradients).sum(dim=1)
    for term in bias_terms:
        placed = _scaled(term).sum(dim=1, keepdim=True)
        total = total + interpolate(placed, size, mode="bilinear", align_corners=False).squeeze(1)
    return Noted(total, (_unplaced(unplaced),) * len(inputs))


def _scaled(term: Tensor) -> Tensor:
    """Magnitudes (batch, channels, height, width), from the smallest at 0 to the largest at 1 a picture."""
    flat = term.abs().flatten(1)
    low, high = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    return ((flat - low) / (high - low)).where(high > low, 0).view_as(term)


def _unplaced(count: int) -> tuple[Finding, ...]:
    if not count:
        return ()
    found = f"the biases of {count} operations are left out, since their positions cannot be told (windows)"
    return (Finding("terms-left-out", found, "compare with a gradient method at a layer"),)
