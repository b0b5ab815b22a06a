"""Grad-CAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class GradCAM(BaseCAM):
    """``gradcam``, see ``camlucida methods``."""

    method = "gradcam"
