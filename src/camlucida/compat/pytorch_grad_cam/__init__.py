"""pytorch-grad-cam's interface over this library: change the import, change nothing else.

Values are numpy float32 (batch, height, width), 0 to 1, at the input's size, as there. Where that package is
wrong this one is right; ``strict_parity=True`` asks for its numbers. The page "Coming from pytorch-grad-cam" of
the documentation lists every difference.
"""

import sys
from types import ModuleType

from camlucida.compat.pytorch_grad_cam._engine import ActivationsAndGradients
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM
from camlucida.compat.pytorch_grad_cam.cams import (
    FEM,
    KPCA_CAM,
    AblationCAM,
    AblationLayer,
    AblationLayerFasterRCNN,
    AblationLayerVit,
    EigenCAM,
    EigenGradCAM,
    FullGrad,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    RandomCAM,
    ScoreCAM,
    SegEigenCAM,
    ShapleyCAM,
    XGradCAM,
)
from camlucida.compat.pytorch_grad_cam.metrics import cam_mult_image, road  # noqa: F401 - as metrics.…
from camlucida.compat.pytorch_grad_cam.utils import find_layers, reshape_transforms  # noqa: F401 - as utils.…
from camlucida.compat.pytorch_grad_cam.wrapped_cams import FinerCAM, RefineCAM
from camlucida.errors import OptionError

_PATHS = {  # the peer's modules, each of the classes that it has there
    "ablation_cam": ("AblationCAM",),
    "activations_and_gradients": ("ActivationsAndGradients",),
    "ablation_layer": ("AblationLayer", "AblationLayerVit", "AblationLayerFasterRCNN"),
    "eigen_cam": ("EigenCAM",),
    "eigen_grad_cam": ("EigenGradCAM",),
    "fem": ("FEM",),
    "finer_cam": ("FinerCAM",),
    "fullgrad_cam": ("FullGrad",),
    "grad_cam": ("GradCAM",),
    "grad_cam_elementwise": ("GradCAMElementWise",),
    "grad_cam_plusplus": ("GradCAMPlusPlus",),
    "hirescam": ("HiResCAM",),
    "kpca_cam": ("KPCA_CAM",),
    "layer_cam": ("LayerCAM",),
    "random_cam": ("RandomCAM",),
    "refine_cam": ("RefineCAM",),
    "score_cam": ("ScoreCAM",),
    "seg_eigen_cam": ("SegEigenCAM",),
    "shapley_cam": ("ShapleyCAM",),
    "xgrad_cam": ("XGradCAM",),
}
for _path, _names in _PATHS.items():
    _module = ModuleType(f"{__name__}.{_path}", f"{' and '.join(_names)}, as pytorch-grad-cam has it.")
    vars(_module).update({name: globals()[name] for name in _names})
    globals()[_path] = sys.modules[_module.__name__] = _module

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
