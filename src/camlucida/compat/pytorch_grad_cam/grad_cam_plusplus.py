"""Grad-CAM++."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam._formulas import Peer, gradcam_plus_plus
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class GradCAMPlusPlus(BaseCAM):
    """``gradcam++``, see ``camlucida methods``."""

    method = "gradcam++"
    peer = Peer(weights=gradcam_plus_plus)
