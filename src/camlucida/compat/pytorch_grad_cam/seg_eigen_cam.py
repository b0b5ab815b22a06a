"""Seg-Eigen-CAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class SegEigenCAM(BaseCAM):
    """``segeigencam``, see ``camlucida methods``."""

    method = "segeigencam"
