"""XGrad-CAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam._formulas import Peer, xgradcam
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class XGradCAM(BaseCAM):
    """``xgradcam``, see ``camlucida methods``."""

    method = "xgradcam"
    peer = Peer(weights=xgradcam)
