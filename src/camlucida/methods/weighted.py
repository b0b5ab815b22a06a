"""Activations weighted by gradients: Grad-CAM and its relatives.

Each gives contributions (batch, channels, height, width); their sum over channels is the signed map.
The papers' final ReLU belongs to drawing, so that evidence against is not lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import LayerError
from camlucida.findings import no_curvature
from camlucida.heatmaps.combine import positions
from camlucida.heatmaps.examine import WithFindings
from camlucida.methods.registry import method
from camlucida.registry import Paper
from camlucida.targets.derived import Residual

if TYPE_CHECKING:
    from camlucida.types import Activations, Contributions, Gradients

_ALIKE = 1e-5  # share of a picture's largest gradient by which its channels may vary over positions


@method(
    "cam",
    family="weighted",
    paper=Paper(
        "Zhou et al.",
        2016,
        "Learning Deep Features for Discriminative Localization",
        "arXiv:1512.04150",
        "Eq. 2",
    ),
    returns="contributions",
    signed=True,
    cost="1 forward",
)
def cam(activations: Activations, gradients: Gradients) -> Contributions:
    """Each channel weighted by the linear layer's weight for it, where that follows the mean over positions.

    The weight is read off the gradient, which behind such a layer is weight / positions at each position.
    Nothing is approximated: but for the bias, the mean of the map is the score. Where more than one linear
    layer follows the average, the weight is the score's gradient with respect to it. A layer whose gradient
    differs between positions is refused.
    """
    middle = gradients.mean(dim=positions(gradients), keepdim=True)
    apart = (gradients - middle).abs().flatten(1).amax(dim=1)
    if bool((apart > _ALIKE * gradients.abs().flatten(1).amax(dim=1)).any()):
        raise LayerError(
            "cam needs the layer whose positions are averaged before the last linear one, and behind this one "
            "the gradient differs between positions: choose that layer, or hirescam or gradcam"
        )
    return gradients.sum(dim=positions(gradients), keepdim=True) * activations


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
    return gradients.mean(dim=positions(gradients), keepdim=True) * activations


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
    mass = activations.clamp(min=0).sum(dim=positions(activations), keepdim=True)
    weights = (positive / (2 + mass * positive)).sum(dim=positions(positive), keepdim=True)
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
    total = activations.sum(dim=positions(activations), keepdim=True)
    moment = (gradients * activations).sum(dim=positions(activations), keepdim=True)
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


@method(
    "shapleycam",
    family="weighted",
    paper=Paper("Cai", 2025, "CAMs as Shapley Value-based Explainers", "arXiv:2501.06261"),
    returns="contributions",
    signed=True,
    cost="1 forward, 2 backwards more",
    target=Residual,
)
def shapleycam(activations: Activations, gradients: Gradients, hessian_products: Gradients) -> WithFindings:
    """Each channel weighted by the mean of its gradient less half the Hessian times the activations.

    The Shapley values of the channels, where the score is taken by its Taylor expansion up to second order
    at the activations: ``w = mean(g - H a / 2)``. The paper's utility of a class is its logit plus the
    logarithm of its probability (ReST); the logit alone is linear behind the last layer of most convolutional
    networks, and the map then that of gradcam, which a finding says.
    """
    weights = (gradients - hessian_products / 2).mean(dim=positions(gradients), keepdim=True)
    flat = ~hessian_products.ne(0).flatten(1).any(dim=1)
    return WithFindings(weights * activations, [(no_curvature(), flat)])
