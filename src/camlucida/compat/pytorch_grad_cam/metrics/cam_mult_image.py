"""By how much a score changes when the picture is seen through its map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from camlucida.compat.pytorch_grad_cam.metrics.perturbation_confidence import (
    PerturbationConfidenceMetric,
    check_size,
)

if TYPE_CHECKING:
    from camlucida.compat.pytorch_grad_cam._formulas import Array


def multiply_tensor_with_cam(input_tensor: Tensor, cam: Tensor) -> Tensor:
    """The model's input times the map, in the input's dtype.

    Raises:
        PictureError: the map is of another size.
    """
    check_size(input_tensor, cam)
    return input_tensor * cam.to(input_tensor.dtype)


class CamMultImageConfidenceChange(PerturbationConfidenceMetric):
    """The score of the normalised input times the map, less that of the input."""

    def __init__(self) -> None:
        super().__init__(multiply_tensor_with_cam)


class DropInConfidence(CamMultImageConfidenceChange):
    """By how much the score falls, 0 where it rises: the difference, and not Grad-CAM++'s share."""

    def number_of(self, change: Array) -> Array:
        return np.maximum(-change, 0)


class IncreaseInConfidence(CamMultImageConfidenceChange):
    """1 where the score rises, else 0."""

    def number_of(self, change: Array) -> Array:
        return np.heaviside(change, 0)
