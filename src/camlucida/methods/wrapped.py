"""Methods around another: its map for a contrast, of several layers, or over noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import OptionError
from camlucida.methods.registry import get_method, method
from camlucida.registry import Paper
from camlucida.targets.derived import Finer

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.types import (
        Activations,
        Contributions,
        Gradients,
        Inputs,
        MakeVariants,
        VariantGradients,
        Weights,
    )


@method(
    "finercam",
    family="wrapped",
    paper=Paper(
        "Zhang et al.",
        2025,
        "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation",
        "arXiv:2501.11309",
    ),
    returns="contributions",
    signed=True,
    cost="1 forward, 1 backward more",
    target=Finer,
)
def finercam(activations: Activations, gradients: Gradients, *, base: str = "gradcam") -> Contributions:
    """The map of another method, for what tells the class from those most like it.

    What is explained is ``y - alpha mean(y of the references)``, where y are logits and the references the
    classes whose logits lie nearest to that of the class on the plain picture. The score that is reported
    stays the logit of the class.

    base: the method whose map it is, one of those of activations and gradients
    """
    return _base(base, activations, gradients)


@method(
    "refinecam",
    family="wrapped",
    paper=Paper("Domeniconi et al.", 2026, "How to Evaluate and Refine your CAM", "arXiv:2605.14641"),
    returns="contributions",
    signed=False,
    cost="1 forward",
    fusion="product",
)
def refinecam(activations: Activations, gradients: Gradients, *, base: str = "gradcam++") -> Contributions:
    """The product of another method's maps of several layers: fine as the first of them, sure as the last.

    Name the layers with a plus, ``--layer layer2+layer3+layer4``. Each map is cut off at zero, scaled to its
    largest value and brought to the size of the one with most positions; a position is hot where all of them
    are. Of one layer it is the map of ``base``, as it is.

    base: the method whose maps are multiplied, one of those of activations and gradients
    """
    return _base(base, activations, gradients)


@method(
    "smoothgradcam++",
    family="wrapped",
    paper=Paper(
        "Omeiza et al.",
        2019,
        "Smooth Grad-CAM++: An Enhanced Inference Level Visualization Technique for Deep Convolutional "
        "Neural Network Models",
        "arXiv:1908.01224",
    ),
    returns="weights",
    signed=False,
    cost="1 forward a sample and layer",
)
def smoothgradcam_plus_plus(
    activations: Activations,
    inputs: Inputs,
    variant_gradients: VariantGradients,
    *,
    samples: int = 8,
    std: float = 0.15,
    seed: int = 0,
) -> Weights:
    """Each channel weighted as by gradcam++, with gradients and their powers averaged over noisy pictures.

    Weight ``w = sum of alpha * relu(G1)`` with ``alpha = G2 / (2 G2 + S max(G3, 0))``, where Gn is the mean of
    the n-th power of the gradient over the samples, and S and the activations are those of the plain picture.
    Without noise this is gradcam++. Two things differ from the paper's print: it has G1 in alpha's numerator,
    with which it would not become gradcam++; and a G3 below zero would let the denominator cross zero.

    samples: how many noisy pictures
    std: the noise's standard deviation, as a share of the range of the input's values
    seed: which noise, the same for every picture
    """
    if samples < 1:
        raise OptionError(f"smoothgradcam++ needs at least 1 sample, got {samples}")
    import torch

    masses = activations.clamp(min=0).flatten(2).sum(dim=2).cpu().double()
    weights = []
    for row, (shown, mass) in enumerate(zip(inputs, masses, strict=True)):
        gradients = variant_gradients(_noisy(shown, samples, std, seed), samples, row).flatten(3)
        gradients = gradients.double()  # on the CPU; powers of what a softmax leaves are too small for float32
        first, second, third = (gradients.pow(power).mean(dim=0) for power in (1, 2, 3))
        alpha = second / (2 * second + mass[:, None] * third.clamp(min=0))
        weights.append((alpha.where(second > 0, 0) * first.clamp(min=0)).sum(dim=2))
    return torch.stack(weights).to(activations)


def _base(name: str, activations: Activations, gradients: Gradients) -> Contributions:
    """The contributions of the method called ``name``, with its default options."""
    found = get_method(name)
    fields = {"activations": activations, "gradients": gradients}
    if found.returns != "contributions" or found.target or not set(found.needs) <= set(fields):
        raise OptionError(
            f"{name} cannot be the base of another method, which takes contributions of activations and "
            "gradients alone: choose for example gradcam, gradcam++, layercam or hirescam"
        )
    contributions: Contributions = found.function(*(fields[need] for need in found.needs))
    return contributions


def _noisy(shown: Tensor, samples: int, std: float, seed: int) -> MakeVariants:
    """The input (input_channels, input_height, input_width) with noise, ``samples`` times."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn((samples, *shown.shape), generator=generator, dtype=torch.float32).to(shown)
    noise = std * (shown.max() - shown.min()) * draws
    return lambda indices: shown + noise[indices.start : indices.stop]
