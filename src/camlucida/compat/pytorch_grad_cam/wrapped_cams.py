"""The peer's class activation maps around another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._arguments import Asked
from camlucida.compat.pytorch_grad_cam._formulas import Array
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM, Targets
from camlucida.compat.pytorch_grad_cam.cams import GradCAM, GradCAMPlusPlus
from camlucida.compat.pytorch_grad_cam.utils.image import scale_cam_image
from camlucida.compat.pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

_NEAREST = (1, 2, 3)  # in the order of how much their scores differ


class Wrapper:
    """A class that asks ``base_cam`` in a way of its own; no BaseCAM itself, as there."""

    base_cam: BaseCAM
    forward: Any

    def __call__(self, *given: Any, **named: Any) -> Array:
        maps: Array = self.forward(*given, **named)
        return maps

    @property
    def uses_gradients(self) -> bool:
        """Whether the map is made of gradients."""
        return self.base_cam.uses_gradients

    @property
    def outputs(self) -> Tensor | None:
        """The logits of the last call."""
        return self.base_cam.outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.base_cam.activations_and_grads.release()


class FinerCAM(Wrapper):
    """The map of ``base_method`` for what tells a class from those whose scores are nearest to its own."""

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module] | None = None,
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        base_method: type[BaseCAM] = GradCAM,
        **named: Any,
    ) -> None:
        self.base_cam = base_method(model, target_layers, reshape_transform, **named)

    def forward(
        self,
        input_tensor: Tensor,
        targets: Targets | None = None,
        eigen_smooth: bool = False,
        alpha: float = 1,
        comparison_categories: Sequence[int] | None = None,
        target_idx: int | None = None,
        aug_smooth: bool = False,
    ) -> Array:
        """Maps (batch, height, width).

        ``comparison_categories`` are places in the order of how near a class's score is to that of the class
        ``target_idx``, the top one where left out; 0 is that class itself.
        """
        if targets is None:
            choose = partial(_finer, places=comparison_categories or _NEAREST, alpha=alpha, index=target_idx)
            targets = [Asked(choose) for _ in range(len(input_tensor))]
        return self.base_cam(input_tensor, targets, aug_smooth=aug_smooth, eigen_smooth=eigen_smooth)


def _finer(output: Tensor, places: Sequence[int], alpha: float, index: int | None) -> FinerWeightedTarget:
    """The class against those at ``places`` of the order, as far as there are so many."""
    own = output.max() if index is None else output[index]
    order = (output - own).abs().argsort(stable=True).cpu().tolist()
    others = [order[place] for place in places if place < len(order)]
    return FinerWeightedTarget(order[0], others, alpha)


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
        self.base_cam.aggregate_multi_layers = partial(_multiplied, self.base_cam)

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
