"""HiResCAM."""

from __future__ import annotations

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class HiResCAM(BaseCAM):
    """``hirescam``, see ``camlucida methods``."""

    method = "hirescam"
