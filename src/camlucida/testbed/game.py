"""The pointing game: does the largest value of a map lie on the evidence?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from camlucida.errors import OptionError
from camlucida.pipeline.explainer import Explainer
from camlucida.targets.base import PerPicture
from camlucida.testbed.networks import models
from camlucida.testbed.pictures import CLASSES, Samples, samples

if TYPE_CHECKING:
    from torch import nn

_SEED = 2_000_000_000  # seed of pictures that no training has seen
_BATCH = 50


def pointing_game(method: str = "gradcam", n: int = 200) -> dict[str, float]:
    """The share of ``n`` pictures whose map of the true class has its largest value on the shape, by family.

    Raises:
        OptionError: there is no such method, or ``n`` is below 1.
    """
    played = samples(n, _SEED)
    return {family: pointing(maps(module, played, method), played.masks) for family, module in models().items()}


def maps(module: nn.Module, of: Samples, method: str = "gradcam", **options: Any) -> Tensor:
    """The raw maps (n, height, width) of the true classes of ``of``, at the default layer.

    Raises:
        CamlucidaError: there is no such method or option.
    """
    explainer = Explainer(module, labels=CLASSES, batch_size=_BATCH)
    targets = [PerPicture(of.labels.tolist())]
    made = explainer.explain(of.pictures, [method], targets, options={method: options})
    return torch.stack([one.heatmap for one in made])


def pointing(heatmaps: Tensor, masks: Tensor) -> float:
    """The share of maps (n, height, width) whose largest value hits its mask (n, picture height, width).

    A hit is a mask that touches the cell of that position: the outline of a shape is evidence, too.

    Raises:
        OptionError: there are not as many maps as masks.
    """
    covered = _covered(heatmaps, masks).flatten(1)
    peaks = heatmaps.flatten(1).argmax(dim=1, keepdim=True)
    return float((covered.gather(1, peaks) > 0).double().mean())


def energy_inside(heatmaps: Tensor, masks: Tensor) -> float:
    """The mean share of the maps' positive values that lies inside the masks; blank maps count as 0.

    A constant map scores the share of the picture that the mask covers.

    Raises:
        OptionError: there are not as many maps as masks.
    """
    positive = heatmaps.clamp(min=0)
    inside = (positive * _covered(heatmaps, masks)).sum(dim=(1, 2))
    return float((inside / positive.sum(dim=(1, 2)).clamp(min=1e-12)).mean())


def _covered(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """The share of each cell of the maps that the masks cover, 0 to 1."""
    if len(heatmaps) != len(masks):
        raise OptionError(f"a mask is needed for each map, got {len(masks)} for {len(heatmaps)}: give as many")
    height, width = heatmaps.shape[1:]
    return adaptive_avg_pool2d(masks[:, None].float(), (height, width))[:, 0]
