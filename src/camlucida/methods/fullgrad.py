"""The whole gradient: of the input, and of every bias in the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.findings import Finding
from camlucida.heatmaps.combine import LINEAR, positions
from camlucida.heatmaps.examine import WithFindings
from camlucida.methods.registry import method
from camlucida.registry import Paper

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
    scope="network",
    cost="about 2 forwards",
)
def fullgrad(
    inputs: Inputs, input_gradients: Gradients, bias_terms: tuple[Tensor, ...], unplaced: int
) -> WithFindings:
    """Input times gradient, and bias times gradient of every operation that adds a bias, laid over each other.

    Explicit biases (convolution, linear, layer and group norm) and the implicit one of batch norm. In a ReLU
    network the terms add up to the score; a saturated ReLU6 adds constants that no term covers.

    Each operation's terms are taken without sign and scaled to 0…1 over all its channels, as in the authors'
    code, brought to the input's size and added. The layer does not matter, and the map has the input's
    resolution.
    """
    import torch
    from torch.nn.functional import interpolate

    size = inputs.shape[2:]
    total = _summed(inputs * input_gradients)
    by_grid: dict[tuple[int, ...], Tensor] = {}  # resizing is linear: terms of one grid are added before it
    for term in bias_terms:
        grid = tuple(term.shape[2:])
        by_grid[grid] = _summed(term) + by_grid.get(grid, 0)
    for placed in by_grid.values():
        total = total + interpolate(placed, size, mode=LINEAR[placed.ndim], align_corners=False)
    every = torch.ones(len(inputs), dtype=torch.bool)
    return WithFindings(total.squeeze(1), [(finding, every) for finding in _unplaced(unplaced)])


def _summed(term: Tensor) -> Tensor:
    """Magnitudes from the smallest at 0 to the largest at 1, summed over channels (batch, 1, *positions)."""
    magnitudes = term.abs()
    every = (1, *positions(term))
    low, high = magnitudes.amin(every, True), magnitudes.amax(every, True)  # aminmax(dim=…) is slow
    above = magnitudes.sum(dim=1, keepdim=True) - term.shape[1] * low
    return (above / (high - low)).where(high > low, 0)


def _unplaced(count: int) -> tuple[Finding, ...]:
    if not count:
        return ()
    where = "in windows, TorchScript or torch.vmap"
    found = f"the biases of {count} operations are left out, since their positions cannot be told ({where})"
    return (Finding("terms-left-out", found, "compare with a gradient method at a layer"),)
