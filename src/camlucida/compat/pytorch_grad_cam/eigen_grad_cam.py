"""Eigen-Grad-CAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam import _formulas
from camlucida.compat.pytorch_grad_cam._formulas import Peer
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class EigenGradCAM(BaseCAM):
    """``eigengradcam``, see ``camlucida methods``."""

    method = "eigengradcam"
    peer = Peer(image=lambda activations, gradients: _formulas.projection(gradients * activations))
