"""A floor to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

from camlucida.compat.pytorch_grad_cam._formulas import Array
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM, Targets


class RandomCAM(BaseCAM):
    """Each channel weighted by chance, uniform in -1 to 1, drawn anew each time (``np.random.seed``)."""

    method = "random"

    def get_cam_weights(
        self,
        input_tensor: Any,
        target_layers: Any,
        targets: Targets,
        activations: Array,
        grads: Array,
    ) -> Array:
        """A weight for each channel (batch, channels)."""
        weights: Array = np.random.uniform(-1, 1, size=activations.shape[:2])  # noqa: NPY002 - callers seed this one
        return weights
