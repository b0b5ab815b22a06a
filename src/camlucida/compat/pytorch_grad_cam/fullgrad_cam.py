"""FullGrad."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class FullGrad(BaseCAM):
    """``fullgrad``, see ``camlucida methods``: of all layers, so that ``target_layers`` does not matter."""

    method = "fullgrad"
