"""Feature explanation method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._arguments import in_older_order
from camlucida.compat.pytorch_grad_cam._formulas import Peer, fem
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class FEM(BaseCAM):
    """``fem``, see ``camlucida methods``."""

    method = "fem"

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module] | None = None,
        reshape_transform: Callable[[Tensor], Tensor] | bool | None = None,
        k: float = 2,
        **named: Any,
    ) -> None:
        moved, reshape_transform, k_given = in_older_order(reshape_transform, k)
        k = 2 if k_given is None else k_given
        super().__init__(model, target_layers, reshape_transform, **moved, **named)
        self.k = k
        self.options = {"k": float(k)}
        self.peer = Peer(image=lambda activations, _: fem(activations, k))
