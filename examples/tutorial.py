"""The tutorial's script over camlucida: one photo, four networks, their class activation maps side by side.

python examples/tutorial.py --image-path _examples --image-name horses.jpeg --method gradcam

It is written for pytorch-grad-cam, and only the import is another. The result is _results/result_NAME.jpg.
Without a network try --weights random, whose maps mean nothing.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from camlucida import CamlucidaError
from camlucida.compat.pytorch_grad_cam import (
    AblationCAM,
    EigenCAM,
    EigenGradCAM,
    FullGrad,
    GradCAM,
    GradCAMPlusPlus,
    LayerCAM,
    ScoreCAM,
    XGradCAM,
)
from camlucida.compat.pytorch_grad_cam.ablation_layer import AblationLayerVit
from camlucida.compat.pytorch_grad_cam.utils.image import preprocess_image, show_cam_on_image
from camlucida.images import load

METHODS = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "scorecam": ScoreCAM,
    "xgradcam": XGradCAM,
    "ablationcam": AblationCAM,
    "eigencam": EigenCAM,
    "eigengradcam": EigenGradCAM,
    "layercam": LayerCAM,
    "fullgrad": FullGrad,
}
SIDE = 224  # pixels of the square that every network sees
RESULTS = Path("_results")


class Network(NamedTuple):
    """A network by timm's name, the layer looked at, and a small relative that takes the same input."""

    name: str
    layer: Callable[[nn.Module], Any]
    small: str
    sizes: dict[str, Any]
    fresh: dict[str, Any] = {}  # noqa: RUF012 - for random weights: what starts at zero would leave a map flat


NETWORKS = (
    Network(
        "resnet50",
        lambda model: model.layer4,
        "resnet10t",
        {"stem_width": 8, "channels": (16, 24, 32, 48)},
        {"zero_init_last": False},
    ),
    Network(
        "vit_base_patch16_224",
        lambda model: model.blocks[-1].norm1,
        "vit_tiny_patch16_224",
        {"depth": 2, "embed_dim": 48, "num_heads": 3},
    ),
    Network(
        "swin_base_patch4_window7_224",
        lambda model: model.layers[-1].blocks[-1].norm2,
        "swin_tiny_patch4_window7_224",
        {"depths": (1, 1, 1, 1), "embed_dim": 8, "num_heads": (1, 1, 2, 2)},
    ),
    Network(
        "convnext_base",
        lambda model: model.stages[-1].blocks[-1].norm,
        "convnext_tiny",
        {"depths": (1, 1, 1, 1), "dims": (12, 16, 24, 48)},
        {"ls_init_value": 1.0},
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Explain one photo with all networks; ``arguments`` are the command line's."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.small and options.weights == "pretrained":
        parser.error("there are no pretrained weights for the --small networks: add --weights random")
    path = Path(options.image_path, options.image_name)
    try:
        photo = load(path).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    except CamlucidaError as error:
        parser.error(f"{error}: --image-path is the folder, --image-name the file in it")
    device = torch.device("cuda" if options.use_cuda and torch.cuda.is_available() else "cpu")
    panels = [np.asarray(photo)]
    for place, network in enumerate(NETWORKS, 1):
        name = network.small if options.small else network.name
        print(f"{place}/{len(NETWORKS)} {name}: {options.method} on {device}", file=sys.stderr)
        model = _model(name, network, options).to(device)
        panels.append(_overlay(panels[0], model, network.layer(model), options))
    RESULTS.mkdir(exist_ok=True)
    result = RESULTS / f"result_{path.stem}.jpg"
    Image.fromarray(np.hstack(panels)).save(result, quality=95, subsampling=0)
    print(result)


def _parser() -> argparse.ArgumentParser:
    """The tutorial's arguments, and two of ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    yes_or_no = argparse.BooleanOptionalAction
    parser.add_argument("--use-cuda", action=yes_or_no, default=True, help="on an NVIDIA GPU, if there is one")
    parser.add_argument("--image-path", default="_examples", help="the photo's folder (_examples)")
    parser.add_argument("--image-name", default="horses.jpeg", help="the photo's name in it (horses.jpeg)")
    parser.add_argument("--aug_smooth", action="store_true", help="the mean over six views of the photo")
    parser.add_argument("--eigen_smooth", action="store_true", help="the main component of the channels' maps")
    parser.add_argument("--method", choices=METHODS, default="gradcam", help="how maps are made (gradcam)")
    parser.add_argument(
        "--weights",
        choices=("pretrained", "random"),
        default="pretrained",
        help="timm's, or seeded random ones",
    )
    parser.add_argument("--small", action="store_true", help="small networks of the same families, for a trial")
    return parser


def _model(name: str, network: Network, options: argparse.Namespace) -> nn.Module:
    """The network in evaluation mode."""
    torch.manual_seed(0)  # random weights are the same each time
    settings = (network.sizes if options.small else {}) | (network.fresh if options.weights == "random" else {})
    try:
        model: nn.Module = timm.create_model(name, pretrained=options.weights == "pretrained", **settings)
    except (OSError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        sys.exit(f"the weights of {name} cannot be had ({first}): go online, or try --weights random")
    return model.eval()


def _overlay(photo: np.ndarray, model: nn.Module, layer: nn.Module, options: argparse.Namespace) -> np.ndarray:
    """The top class's map in colours over the photo, (height, width, 3), uint8."""
    picture = photo.astype(np.float32) / 255
    extra = {"ablation_layer": AblationLayerVit()} if options.method == "ablationcam" else {}
    cam = METHODS[options.method](
        model=model, target_layers=[layer], reshape_transform=reshape_transform, **extra
    )
    cam.batch_size = 32
    maps = cam(
        input_tensor=preprocess_image(picture, mean=[0.5] * 3, std=[0.5] * 3),
        targets=None,  # [ClassifierOutputTarget(340)] would ask for zebras
        aug_smooth=options.aug_smooth,
        eigen_smooth=options.eigen_smooth,
    )
    return show_cam_on_image(picture, maps[0], use_rgb=True)


def reshape_transform(tensor: Tensor) -> Tensor:
    """A layer's output as (batch, channels, height, width), of any of the four networks."""
    if tensor.ndim == 4:
        _, first, second, _ = tensor.shape
        return tensor.movedim(-1, 1) if first == second else tensor  # else the channels come second already
    count = tensor.shape[1]
    side = math.isqrt(count)
    places = tensor[:, count - side * side :]  # behind the class token, where there is one
    return places.unflatten(1, (side, side)).movedim(-1, 1)


if __name__ == "__main__":
    main()
