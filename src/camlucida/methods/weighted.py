"""Activations weighted by gradients: Grad-CAM and its relatives.

Each gives contributions (batch, channels, height, width); their sum over channels is the signed map.
The papers' final ReLU belongs to drawing, so that evidence against is not lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.registry import Paper, method

if TYPE_CHECKING:
    from camlucida.types import Activations, Contributions, Gradients


@method(
    "gradcam",
    family="weighted",
    paper=Paper(
        "Selvaraju et al.",
        2017,
        "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
        "arXiv:1610.02391",
        "Eq. 1 and 2",
    ),
    returns="contributions",
    signed=True,
    cost="1 forward",
)
def gradcam(activations: Activations, gradients: Gradients) -> Contributions:
    """Each channel weighted by its mean gradient.

    The mean over positions of the gradient says how much the score wants more of a channel; the channel
    is weighted with it. Exact for networks that end in global average pooling and one linear layer.
    """
    return gradients.mean(dim=(2, 3), keepdim=True) * activations


@method(
    "gradcam++",
    family="weighted",
    paper=Paper(
        "Chattopadhay et al.",
        2018,
        "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks",
        "arXiv:1710.11063",
        "Eq. 19",
    ),
    returns="contributions",
    signed=False,
    cost="1 forward",
)
def gradcam_plus_plus(activations: Activations, gradients: Gradients) -> Contributions:
    """Each channel weighted by its positive gradients, each of them scaled so that small objects count too.

    Weight ``w = sum of alpha * relu(g)`` with ``alpha = g^2 / (2 g^2 + S g^3)``, which is ``g / (2 + S g)``
    where g > 0: written so, it neither underflows nor needs an epsilon. S is the channel's sum of
    activations, of the positive ones only: the paper assumes ReLU activations, for which that is the same;
    for signed ones (behind a LayerNorm) the plain sum lets the denominator cross zero and the weight explode.
    The common factor exp(score) of the paper's derivatives scales the whole map and is left out.
    """
    positive = gradients.clamp(min=0)
    mass = activations.clamp(min=0).sum(dim=(2, 3), keepdim=True)
    weights = (positive / (2 + mass * positive)).sum(dim=(2, 3), keepdim=True)
    return weights * activations


@method(
    "xgradcam",
    family="weighted",
    paper=Paper(
        "Fu et al.",
        2020,
        "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs",
        "arXiv:2008.02312",
    ),
    returns="contributions",
    signed=True,
    cost="1 forward",
)
def xgradcam(activations: Activations, gradients: Gradients) -> Contributions:
    """Each channel weighted by its gradients, averaged with the activations as weights.

    A channel's contributions add up to the sum of gradient times activation (the paper's conservation
    axiom). A channel whose activations add up to nothing gets weight 0. On signed activations (behind a
    LayerNorm) the division by that sum is ill-conditioned: prefer hirescam there.
    """
    total = activations.sum(dim=(2, 3), keepdim=True)
    moment = (gradients * activations).sum(dim=(2, 3), keepdim=True)
    weights = (moment / total).where(total != 0, 0)
    return weights * activations


@method(
    "layercam",
    family="weighted",
    paper=Paper(
        "Jiang et al.",
        2021,
        "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
        "doi:10.1109/TIP.2021.3089943",
    ),
    returns="contributions",
    signed=False,
    cost="1 forward",
)
def layercam(activations: Activations, gradients: Gradients) -> Contributions:
    """Each activation weighted by its own gradient where that is positive: sharp on early layers too."""
    return gradients.clamp(min=0) * activations


@method(
    "hirescam",
    family="weighted",
    paper=Paper(
        "Draelos and Carin",
        2020,
        "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks",
        "arXiv:2011.08891",
    ),
    returns="contributions",
    signed=True,
    cost="1 forward",
)
def hirescam(activations: Activations, gradients: Gradients) -> Contributions:
    """Each activation times its own gradient, of either sign: what each position adds to the score."""
    return gradients * activations


@method(
    "gradcam_elementwise",
    family="weighted",
    paper=Paper(
        "Gildenblat and contributors",
        2022,
        "PyTorch library for CAM methods (a variant of HiResCAM without a paper)",
        "",
    ),
    returns="contributions",
    signed=False,
    cost="1 forward",
)
def gradcam_elementwise(activations: Activations, gradients: Gradients) -> Contributions:
    """Each activation times its own gradient where the product is positive: evidence for alone."""
    return (gradients * activations).clamp(min=0)
