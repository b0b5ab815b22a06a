"""RefineCAM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any

import numpy as np
from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._formulas import Array
from camlucida.compat.pytorch_grad_cam._wrapper import Wrapper
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM, Targets
from camlucida.compat.pytorch_grad_cam.grad_cam_plusplus import GradCAMPlusPlus
from camlucida.compat.pytorch_grad_cam.utils.image import scale_cam_image


class RefineCAM(Wrapper):
    """The product of the maps of ``base_method`` of each layer; ``kwargs`` are for that method."""

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module],
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        base_method: Callable[..., Any] = GradCAMPlusPlus,
        **kwargs: Any,
    ) -> None:
        self._cam = base_method(model, target_layers, reshape_transform, **kwargs)
        self.base_cam: BaseCAM = getattr(self._cam, "base_cam", self._cam)  # that of a wrapper such as FinerCAM
        self.base_cam.aggregate_multi_layers = MethodType(_multiplied, self.base_cam)

    def forward(
        self,
        input_tensor: Tensor,
        targets: Targets | None = None,
        eigen_smooth: bool = False,
        aug_smooth: bool = False,
    ) -> Array:
        """Maps (batch, height, width)."""
        maps: Array = self._cam(input_tensor, targets, aug_smooth=aug_smooth, eigen_smooth=eigen_smooth)
        return maps


def _multiplied(cam: BaseCAM, cam_per_target_layer: list[Array]) -> Array:
    scaled = [
        scale_cam_image(np.maximum(one[:, 0], 0), strict_parity=cam.strict_parity)
        for one in cam_per_target_layer
    ]
    product: Array = scale_cam_image(np.prod(scaled, axis=0), strict_parity=cam.strict_parity)
    return product
