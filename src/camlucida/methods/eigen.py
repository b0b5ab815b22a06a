"""Principal components: what the layer's channels vary in together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.health import Noted, with_sign_notes
from camlucida.heatmap import principal_component, sign_clarity
from camlucida.registry import Paper, method

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.types import Activations, Gradients


@method(
    "eigencam",
    family="eigen",
    paper=Paper(
        "Muhammad and Yeasin",
        2020,
        "Eigen-CAM: Class Activation Map using Principal Components",
        "arXiv:2008.00299",
    ),
    returns="heatmap",
    signed=False,
    cost="1 forward",
)
def eigencam(activations: Activations) -> Noted:
    """The first principal component of the activations, whatever the class.

    Channels are centred over positions first, as in a principal component analysis. The sign that the
    paper leaves open: hot is where the activations are strong (their norm over channels).
    """
    return _component(activations, towards=activations.norm(dim=1))


@method(
    "eigengradcam",
    family="eigen",
    paper=Paper(
        "Gildenblat and contributors",
        2021,
        "PyTorch library for CAM methods (Eigen-CAM made to depend on the class, without a paper)",
        "",
    ),
    returns="heatmap",
    signed=False,
    cost="1 forward",
)
def eigengradcam(activations: Activations, gradients: Gradients) -> Noted:
    """The first principal component of activation times gradient.

    The sign: hot is where the products add up to evidence for the class (the hirescam map).
    """
    products = activations * gradients
    return _component(products, towards=products.sum(dim=1))


def _component(values: Tensor, towards: Tensor) -> Noted:
    component = principal_component(values, towards)
    return with_sign_notes(component, sign_clarity(component, towards))
