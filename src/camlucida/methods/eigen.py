"""Principal components: what the layer's channels vary in together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import OptionError, unknown_name
from camlucida.heatmaps.components import centred, oriented, principal_component, sign_clarity
from camlucida.heatmaps.examine import WithFindings, with_sign_findings
from camlucida.methods.registry import method
from camlucida.registry import Paper

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from camlucida.types import Activations, Gradients

_TIE = 1e-6  # share by which one extreme must exceed the other
_ROUNDING = 1e-14  # of a kernel's float64 values, a position


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
    classless=True,
    cost="1 forward",
)
def eigencam(activations: Activations) -> WithFindings:
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
def eigengradcam(activations: Activations, gradients: Gradients) -> WithFindings:
    """The first principal component of activation times gradient.

    The sign: hot is where the products add up to evidence for the class (the hirescam map).
    """
    products = activations * gradients
    return _component(products, towards=products.sum(dim=1))


@method(
    "kpcacam",
    family="eigen",
    paper=Paper(
        "Karmani et al.",
        2024,
        "KPCA-CAM: Visual Explainability of Deep Computer Vision Models using Kernel PCA",
        "arXiv:2410.00267",
    ),
    returns="heatmap",
    signed=False,
    classless=True,
    cost="1 forward, more with many positions",
)
def kpcacam(activations: Activations, *, kernel: str = "sigmoid", gamma: float = 0.0) -> WithFindings:
    """The first component of a kernel principal component analysis of the activations, whatever the class.

    As eigencam, with positions compared by a kernel in place of the product of their channels: sigmoid
    ``tanh(gamma x·y + 1)``, rbf ``exp(-gamma |x - y|^2)``, linear ``x·y``, which is eigencam. The sign is
    chosen as there. But for the linear one, activations in other units give another map. Takes the eigenvectors
    of a matrix of positions × positions, which is slow and large at early layers.

    kernel: sigmoid, rbf or linear
    gamma: the kernel's width, 0 for one over the number of channels
    """
    import torch

    if kernel not in _KERNELS:
        raise OptionError(unknown_name("kernel", kernel, list(_KERNELS), f"it is one of {', '.join(_KERNELS)}"))
    points, finite = centred(activations)
    width = gamma or 1 / activations.shape[1]
    leading = torch.stack([_kernel_component(one, kernel, width) for one in points])  # one matrix at a time
    norm = activations.norm(dim=1)
    signed = oriented(leading, norm).where(finite.view(-1, 1), float("nan"))
    component = signed.view_as(norm).to(activations.dtype)
    return with_sign_findings(component, sign_clarity(component, norm))


@method(
    "segeigencam",
    family="eigen",
    paper=Paper(
        "Chung and Ying",
        2025,
        "Seg-Eigen-CAM: Eigen-Value-Based Visual Explanations for Semantic Segmentation Models",
        "doi:10.3390/app15137562",
        "Eq. 10 to 13",
    ),
    returns="heatmap",
    signed=False,
    cost="1 forward",
)
def segeigencam(activations: Activations, gradients: Gradients) -> WithFindings:
    """The first principal component of activation times the magnitude of the gradient.

    The magnitude says how much a position matters and not for or against what, so that classes differ less
    than with eigengradcam. The paper's sign: the position furthest from the mean is hot. Where the two
    extremes are equally far, hot is where the products are strong (their norm over channels); where the
    paper's sign is against that, a finding says that it is not clear.
    """
    products = activations * gradients.abs()
    strength = products.norm(dim=1)
    component = principal_component(products, towards=strength)
    flat = component.flatten(1)
    turned = -flat.amin(dim=1) > flat.amax(dim=1) * (1 + _TIE)
    clarity = sign_clarity(component, strength).where(~turned, 0)
    return with_sign_findings(flat.where(~turned[:, None], -flat).view_as(component), clarity)


def _component(values: Tensor, towards: Tensor) -> WithFindings:
    component = principal_component(values, towards)
    return with_sign_findings(component, sign_clarity(component, towards))


def _sigmoid(products: Tensor, gamma: float) -> Tensor:
    return (gamma * products + 1).tanh()


def _rbf(products: Tensor, gamma: float) -> Tensor:
    lengths = products.diagonal()
    return (-gamma * (lengths[:, None] + lengths - 2 * products)).exp()


_KERNELS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "sigmoid": _sigmoid,
    "rbf": _rbf,
    "linear": lambda products, _gamma: products,
}


def _kernel_component(points: Tensor, kernel: str, gamma: float) -> Tensor:
    """Where centred points (channels, positions) lie along the kernel's first component (positions,)."""
    import torch

    similar = _KERNELS[kernel](points.mT @ points, gamma)
    middle = similar - similar.mean(dim=0) - similar.mean(dim=1, keepdim=True) + similar.mean()
    values, vectors = torch.linalg.eigh(middle)
    rounding = _ROUNDING * len(similar) * similar.abs().max()
    size = values[-1].where(values[-1] > rounding, 0)  # else rounding would be drawn as if it were structure
    component: Tensor = vectors[:, -1] * size.sqrt()
    return component
