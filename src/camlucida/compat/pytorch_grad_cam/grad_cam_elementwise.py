"""Grad-CAM, element by element."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class GradCAMElementWise(BaseCAM):
    """``gradcam_elementwise``, see ``camlucida methods``."""

    method = "gradcam_elementwise"
