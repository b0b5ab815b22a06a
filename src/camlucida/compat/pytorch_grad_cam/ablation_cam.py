"""Ablation-CAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._arguments import in_older_order
from camlucida.compat.pytorch_grad_cam._formulas import Array
from camlucida.compat.pytorch_grad_cam._messages import warn
from camlucida.compat.pytorch_grad_cam.ablation_layer import (
    AblationLayer,
    AblationLayerFasterRCNN,
    AblationLayerVit,
)
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM, Targets
from camlucida.errors import OptionError

_PLAIN = (AblationLayer, AblationLayerVit, AblationLayerFasterRCNN)


class AblationCAM(BaseCAM):
    """``ablationcam``, see ``camlucida methods``: every channel is set to zero, whatever the layout."""

    method = "ablationcam"

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module] | None = None,
        reshape_transform: Callable[[Tensor], Tensor] | bool | None = None,
        ablation_layer: nn.Module | None = None,
        batch_size: int = 32,
        ratio_channels_to_ablate: float = 1.0,
        **named: Any,
    ) -> None:
        moved, reshape_transform, ablation_layer = in_older_order(reshape_transform, ablation_layer)
        if ablation_layer is not None and type(ablation_layer) not in _PLAIN:
            raise OptionError(
                f"channels are set to zero here and {type(ablation_layer).__name__} would not be asked: leave "
                "out ablation_layer, or derive from pytorch-grad-cam's own class"
            )
        if ratio_channels_to_ablate != 1:
            warn(
                "all channels are ablated, exactly and in less time than a choice of them takes there: "
                "leave out ratio_channels_to_ablate"
            )
        super().__init__(model, target_layers, reshape_transform, **moved, **named)
        self.ablation_layer, self.batch_size = ablation_layer, batch_size
        self.ratio_channels_to_ablate = ratio_channels_to_ablate

    def compute_cam_per_layer(self, input_tensor: Tensor, targets: Targets, eigen_smooth: bool) -> list[Array]:
        """As for all methods; the peer divides by the score and not by its magnitude."""
        if self.strict_parity:
            turned = self._found.scores < 0
            maps = [
                replace(one, heatmaps=one.heatmaps.where(~turned[:, None, None], -one.heatmaps))
                for one in self._found.maps
            ]
            self._found = replace(self._found, maps=maps)
        return super().compute_cam_per_layer(input_tensor, targets, eigen_smooth)
