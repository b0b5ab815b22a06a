"""FullGrad."""

from __future__ import annotations

from typing import Any

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class FullGrad(BaseCAM):
    """``fullgrad``, see ``camlucida methods``: of all layers, so that ``target_layers`` does not matter."""

    method = "fullgrad"

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._engine.names = self._engine.names[:1] or [None]
