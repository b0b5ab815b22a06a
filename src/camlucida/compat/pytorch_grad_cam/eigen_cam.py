"""Eigen-CAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam._formulas import Peer, projection
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class EigenCAM(BaseCAM):
    """``eigencam``, see ``camlucida methods``."""

    method = "eigencam"
    peer = Peer(image=lambda activations, _: projection(activations))
