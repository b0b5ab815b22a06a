"""XGrad-CAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam import _formulas
from camlucida.compat.pytorch_grad_cam._formulas import Peer
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class XGradCAM(BaseCAM):
    """``xgradcam``, see ``camlucida methods``."""

    method = "xgradcam"
    peer = Peer(weights=_formulas.xgradcam)
