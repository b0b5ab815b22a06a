"""Four tiny networks, one of each family, and their trained weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import timm

from camlucida.errors import ModelError
from camlucida.testbed.pictures import CLASSES, SIZE

if TYPE_CHECKING:
    from torch import nn

SHORTCUT = "shortcut-"  # prefix of networks trained on pictures whose tag gives the class away

_FOLDER = Path(__file__).parent / "weights"
_OWN = {"input_size": (3, SIZE, SIZE), "mean": (0.0,) * 3, "std": (1.0,) * 3, "crop_pct": 1.0}
_COMMON: dict[str, Any] = {"num_classes": len(CLASSES), "pretrained_cfg_overlay": _OWN}


def _near(name: str, **settings: Any) -> nn.Module:
    """A timm network with a stride of 8 and no dilation, so that a position sees its own surroundings."""
    from torch.nn import Conv2d, Identity

    module: nn.Module = timm.create_model(name, output_stride=8, **settings, **_COMMON)
    for stage in getattr(module, "stages", ())[1:]:  # of ConvNeXt, whose channels stay the same
        stage.downsample = Identity()
    for conv in module.modules():
        if isinstance(conv, Conv2d) and conv.dilation != (1, 1):
            conv.dilation, conv.padding = (1, 1), (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
    return module


def _resnet() -> nn.Module:
    return _near("test_resnet", avg_down=False)


def _convnext() -> nn.Module:
    """Normalised before the mean over positions: a norm after it would amplify the other positions."""
    from timm.models.vision_transformer_hybrid import ConvStem
    from torch.nn import Conv2d, Linear, Sequential

    shape = {"patch_size": 8, "depths": [1, 1, 1, 1], "dims": [96, 96, 96, 96], "kernel_sizes": (5, 5, 3, 3)}
    module: Any = _near("test_convnext", ls_init_value=None, head_norm_first=True, **shape)
    module.stem = Sequential(ConvStem(channels=(24, 48, 96), kernel_size=4, padding=1), module.stem[-1])
    for part in module.modules():
        if isinstance(
            part, Conv2d | Linear
        ):  # timm's initial weights suit wide networks and are too small for this one
            part.reset_parameters()
    return cast("nn.Module", module)


def _vit() -> nn.Module:
    """With a class token, but the head reads the mean of the other tokens.

    If the head read the class token, gradients would differ so much between tokens that their mean, which
    gradcam uses, says little.
    """
    settings = {"img_size": SIZE, "patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 4}
    reading = {"class_token": True, "global_pool": "avg", "fc_norm": False, "dynamic_img_size": False}
    module: nn.Module = timm.create_model("test_vit", embed_layer=_embed, **settings, **reading, **_COMMON)
    return module


def _swin() -> nn.Module:
    settings = {
        "patch_size": 8,
        "window_size": 4,
        "embed_dim": 96,
        "depths": (4,),
        "num_heads": (4,),
        "mlp_ratio": 3.0,
    }
    module: nn.Module = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=SIZE,
        embed_layer=_embed,
        drop_path_rate=0.0,
        **settings,
        **_COMMON,
    )
    return module


def _embed(embed_dim: int, **settings: Any) -> nn.Module:
    """Convolutions in place of the linear patch embedding, which takes transformers far longer to train.

    Kernels of 4 with strides of 2 keep each token in the middle of its cell.
    """
    from timm.layers import HybridEmbed
    from timm.models.vision_transformer_hybrid import ConvStem

    stem = ConvStem(channels=(24, 48, embed_dim), kernel_size=4, stride=(2, 2, 2), padding=1)
    taken = {key: settings[key] for key in ("img_size", "in_chans", "output_fmt") if key in settings}
    module: nn.Module = HybridEmbed(stem, patch_size=1, embed_dim=embed_dim, proj=False, **taken)
    return module


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet": _resnet,
    "convnext": _convnext,
    "vit": _vit,
    "swin": _swin,
}


def models() -> dict[str, nn.Module]:
    """The networks by family, trained on ``samples``; they take its pictures as they are.

    Each call returns new modules in evaluation mode.
    """
    return {family: read(family) for family in NETWORKS}


def shortcut_models() -> dict[str, nn.Module]:
    """The same networks trained on ``shortcut_samples``, which decide by the tag."""
    return {family: read(SHORTCUT + family) for family in NETWORKS}


def weights_of(name: str) -> Path:
    """The file of a network's weights."""
    return _FOLDER / f"{name}.safetensors"


def write(module: nn.Module, name: str) -> None:
    """Save the weights of a network, in half precision."""
    from safetensors.torch import save_file

    state = module.state_dict()
    kept = {key: one.half() if one.is_floating_point() else one for key, one in state.items()}
    _FOLDER.mkdir(exist_ok=True)
    save_file({key: one.contiguous() for key, one in kept.items()}, weights_of(name))


def read(name: str) -> nn.Module:
    """The trained network called ``name``, in single precision.

    Raises:
        ModelError: its weights are missing.
    """
    from safetensors.torch import load_file

    file = weights_of(name)
    if not file.is_file():
        raise ModelError(f"no weights at {file}: reinstall, or `python -m camlucida.testbed.train {name}`")
    module = NETWORKS[name.removeprefix(SHORTCUT)]()
    module.load_state_dict(load_file(file))
    return module.eval()
