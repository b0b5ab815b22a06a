"""KPCA-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._arguments import in_older_order
from camlucida.compat.pytorch_grad_cam._formulas import Peer, kpcacam
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class KPCA_CAM(BaseCAM):  # noqa: N801 - the peer's name
    """``kpcacam``, see ``camlucida methods``."""

    method = "kpcacam"

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module] | None = None,
        reshape_transform: Callable[[Tensor], Tensor] | bool | None = None,
        kernel: str = "sigmoid",
        gamma: float | None = None,
        **named: Any,
    ) -> None:
        moved, reshape_transform, kernel_given = in_older_order(reshape_transform, kernel)
        kernel = "sigmoid" if kernel_given is None else kernel_given
        super().__init__(model, target_layers, reshape_transform, **moved, **named)
        self.kernel, self.gamma = kernel, gamma
        self.options = {"kernel": kernel, "gamma": gamma or 0.0}
        self.peer = Peer(image=partial(kpcacam, self.options))
