"""The peer's class activation maps, each a method of this library (``camlucida methods``).

Their import paths there, a module each, are made by the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._arguments import in_older_order, warn
from camlucida.compat.pytorch_grad_cam._formulas import (
    Array,
    Peer,
    fem,
    gradcam_plus_plus,
    kpcacam,
    projection,
    xgradcam,
)
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM, Targets
from camlucida.errors import OptionError

Reshape = Callable[[Tensor], Tensor] | bool | None
Layers = Sequence[nn.Module] | None


class GradCAM(BaseCAM, method="gradcam"):
    """``gradcam``."""


class GradCAMElementWise(BaseCAM, method="gradcam_elementwise"):
    """``gradcam_elementwise``."""


class GradCAMPlusPlus(BaseCAM, method="gradcam++", peer=Peer(weights=gradcam_plus_plus)):
    """``gradcam++``."""


class HiResCAM(BaseCAM, method="hirescam"):
    """``hirescam``."""


class LayerCAM(BaseCAM, method="layercam"):
    """``layercam``."""


class XGradCAM(BaseCAM, method="xgradcam", peer=Peer(weights=xgradcam)):
    """``xgradcam``."""


class EigenCAM(BaseCAM, method="eigencam", peer=Peer(image=lambda activations, _: projection(activations))):
    """``eigencam``."""


class EigenGradCAM(
    BaseCAM,
    method="eigengradcam",
    peer=Peer(image=lambda activations, gradients: projection(gradients * activations)),
):
    """``eigengradcam``."""


class SegEigenCAM(BaseCAM, method="segeigencam"):
    """``segeigencam``."""


class FullGrad(BaseCAM, method="fullgrad"):
    """``fullgrad``: of all layers, so that ``target_layers`` does not matter."""


class ScoreCAM(BaseCAM, method="scorecam"):
    """``scorecam``, with every channel; ``options["channels"] = 128`` is faster."""

    defaults: ClassVar = {"channels": 0, "align_corners": True}


class ShapleyCAM(BaseCAM, method="shapleycam"):
    """``shapleycam``, of the target as it is (give a ClassifierOutputReST)."""

    defaults: ClassVar = {"utility": "target"}


class RandomCAM(BaseCAM, method="random"):
    """Each channel weighted by chance, uniform in -1 to 1, drawn anew each time (``np.random.seed``)."""

    def get_cam_weights(
        self, input_tensor: Any, target_layers: Any, targets: Targets, activations: Array, grads: Array
    ) -> Array:
        """A weight for each channel (batch, channels)."""
        weights: Array = np.random.uniform(-1, 1, size=activations.shape[:2])  # noqa: NPY002 - callers seed this one
        return weights


class FEM(BaseCAM, method="fem"):
    """``fem``."""

    def __init__(
        self,
        model: nn.Module,
        target_layers: Layers = None,
        reshape_transform: Reshape = None,
        k: float = 2,
        **named: Any,
    ) -> None:
        moved, reshape_transform, given = in_older_order(reshape_transform, k)
        self.k = 2 if given is None else given
        super().__init__(model, target_layers, reshape_transform, **moved, **named)
        self.options = {"k": float(self.k)}
        self.peer = Peer(image=partial(fem, self.k))


class KPCA_CAM(BaseCAM, method="kpcacam"):  # noqa: N801 - the peer's name
    """``kpcacam``."""

    def __init__(
        self,
        model: nn.Module,
        target_layers: Layers = None,
        reshape_transform: Reshape = None,
        kernel: str = "sigmoid",
        gamma: float | None = None,
        **named: Any,
    ) -> None:
        moved, reshape_transform, given = in_older_order(reshape_transform, kernel)
        self.kernel, self.gamma = "sigmoid" if given is None else given, gamma
        super().__init__(model, target_layers, reshape_transform, **moved, **named)
        self.options = {"kernel": self.kernel, "gamma": gamma or 0.0}
        self.peer = Peer(image=partial(kpcacam, self.options))


class AblationLayer(nn.Module):
    """Accepted by AblationCAM, which sets channels to zero whatever the layout."""


class AblationLayerVit(AblationLayer):
    """Accepted by AblationCAM, like AblationLayer."""


class AblationLayerFasterRCNN(AblationLayer):
    """Accepted by AblationCAM, like AblationLayer."""


class AblationCAM(BaseCAM, method="ablationcam"):
    """``ablationcam``: every channel is set to zero, whatever the layout."""

    def __init__(
        self,
        model: nn.Module,
        target_layers: Layers = None,
        reshape_transform: Reshape = None,
        ablation_layer: nn.Module | None = None,
        batch_size: int = 32,
        ratio_channels_to_ablate: float = 1.0,
        **named: Any,
    ) -> None:
        moved, reshape_transform, ablation_layer = in_older_order(reshape_transform, ablation_layer)
        plain = (AblationLayer, AblationLayerVit, AblationLayerFasterRCNN)
        if ablation_layer is not None and type(ablation_layer) not in plain:
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
            turned = (self._found.scores < 0)[:, None, None]
            maps = [
                replace(one, heatmaps=one.heatmaps.where(~turned, -one.heatmaps)) for one in self._found.maps
            ]
            self._found = replace(self._found, maps=maps)
        return super().compute_cam_per_layer(input_tensor, targets, eigen_smooth)
