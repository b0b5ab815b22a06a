"""LayerCAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class LayerCAM(BaseCAM):
    """``layercam``, see ``camlucida methods``."""

    method = "layercam"
