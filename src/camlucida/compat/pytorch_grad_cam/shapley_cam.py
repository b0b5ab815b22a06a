"""ShapleyCAM."""

from __future__ import annotations

from typing import Any

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class ShapleyCAM(BaseCAM):
    """``shapleycam``, see ``camlucida methods``, of the target as it is (give a ClassifierOutputReST)."""

    method = "shapleycam"

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.options = {"utility": "target"}
