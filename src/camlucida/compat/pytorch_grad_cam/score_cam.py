"""Score-CAM."""

from __future__ import annotations

from typing import Any

from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class ScoreCAM(BaseCAM):
    """``scorecam``, see ``camlucida methods``, with every channel; ``options["channels"] = 128`` is faster."""

    method = "scorecam"

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.options = {"channels": 0, "align_corners": True}
