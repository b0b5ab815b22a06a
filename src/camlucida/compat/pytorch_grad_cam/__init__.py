"""pytorch-grad-cam's interface over this library: change the import, change nothing else.

Values are numpy float32 (batch, height, width), 0 to 1, at the input's size, as there. Where that package is
wrong this one is right; ``strict_parity=True`` asks for its numbers. The page "Coming from pytorch-grad-cam" of
the documentation lists every difference.
"""

from camlucida.compat.pytorch_grad_cam.ablation_cam import AblationCAM
from camlucida.compat.pytorch_grad_cam.ablation_layer import (
    AblationLayer,
    AblationLayerFasterRCNN,
    AblationLayerVit,
)
from camlucida.compat.pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM
from camlucida.compat.pytorch_grad_cam.eigen_cam import EigenCAM
from camlucida.compat.pytorch_grad_cam.eigen_grad_cam import EigenGradCAM
from camlucida.compat.pytorch_grad_cam.fem import FEM
from camlucida.compat.pytorch_grad_cam.finer_cam import FinerCAM
from camlucida.compat.pytorch_grad_cam.fullgrad_cam import FullGrad
from camlucida.compat.pytorch_grad_cam.grad_cam import GradCAM
from camlucida.compat.pytorch_grad_cam.grad_cam_elementwise import GradCAMElementWise
from camlucida.compat.pytorch_grad_cam.grad_cam_plusplus import GradCAMPlusPlus
from camlucida.compat.pytorch_grad_cam.hirescam import HiResCAM
from camlucida.compat.pytorch_grad_cam.kpca_cam import KPCA_CAM
from camlucida.compat.pytorch_grad_cam.layer_cam import LayerCAM
from camlucida.compat.pytorch_grad_cam.metrics import cam_mult_image, road  # noqa: F401 - as metrics.…
from camlucida.compat.pytorch_grad_cam.random_cam import RandomCAM
from camlucida.compat.pytorch_grad_cam.refine_cam import RefineCAM
from camlucida.compat.pytorch_grad_cam.score_cam import ScoreCAM
from camlucida.compat.pytorch_grad_cam.seg_eigen_cam import SegEigenCAM
from camlucida.compat.pytorch_grad_cam.shapley_cam import ShapleyCAM
from camlucida.compat.pytorch_grad_cam.utils import find_layers, reshape_transforms  # noqa: F401 - as utils.…
from camlucida.compat.pytorch_grad_cam.xgrad_cam import XGradCAM
from camlucida.errors import OptionError

__all__ = [
    "FEM",
    "KPCA_CAM",
    "AblationCAM",
    "AblationLayer",
    "AblationLayerFasterRCNN",
    "AblationLayerVit",
    "ActivationsAndGradients",
    "BaseCAM",
    "EigenCAM",
    "EigenGradCAM",
    "FinerCAM",
    "FullGrad",
    "GradCAM",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "HiResCAM",
    "LayerCAM",
    "RandomCAM",
    "RefineCAM",
    "ScoreCAM",
    "SegEigenCAM",
    "ShapleyCAM",
    "XGradCAM",
]

_NOT_HERE = ("GuidedBackpropReLUModel", "SESS", "DeepFeatureFactorization", "run_dff_on_image")


def __getattr__(name: str) -> object:
    if name not in _NOT_HERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def absent(*_: object, **__: object) -> None:  # scripts import it and seldom use it
        raise OptionError(
            f"camlucida explains classifiers by class activation maps and has no {name}: take it from "
            "pytorch-grad-cam itself"
        )

    return absent
