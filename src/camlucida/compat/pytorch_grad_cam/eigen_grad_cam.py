"""Eigen-Grad-CAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam._formulas import Peer, projection
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class EigenGradCAM(BaseCAM):
    """``eigengradcam``, see ``camlucida methods``."""

    method = "eigengradcam"
    peer = Peer(image=lambda activations, gradients: projection(gradients * activations))
