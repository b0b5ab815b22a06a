"""Small networks with weights worth looking at, shared by all tests.

"Random weights" here means re-drawn ones: a fresh timm ConvNeXt (LayerScale 1e-6) or ResNet (last norm zero)
has gradients so flat that a comparison would compare noise.
"""

from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

SIZE = 64  # of the square input of the small networks, in pixels


def redraw(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and statistic a value of ordinary size, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(shape: torch.Size, low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(values * (1.5 / fan_in) ** 0.5)
            elif name.endswith("bias"):
                parameter.copy_(uniform(parameter.shape, -0.2, 0.2))
            else:  # norm weights and LayerScale
                parameter.copy_(uniform(parameter.shape, 0.5, 1.5))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(uniform(buffer.shape, -0.2, 0.2))
            elif name.endswith("running_var"):
                buffer.copy_(uniform(buffer.shape, 0.5, 1.5))
    return module.eval()


def calibrate(module: nn.Module, size: tuple[int, ...]) -> nn.Module:
    """Batch norms take the statistics of noise of ``size`` (channels, height, width), layer after layer."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.reset_running_stats()
            part.momentum = None
            part.train()
    with torch.no_grad():
        module(torch.randn(8, *size, generator=torch.Generator().manual_seed(5)))
    return module.eval()


def resnet(**arguments: object) -> nn.Module:
    return redraw(timm.create_model("resnet10t", num_classes=10, **arguments))


def vit(**arguments: object) -> nn.Module:
    settings = {"img_size": SIZE, "depth": 3, "embed_dim": 48, "num_heads": 3, "num_classes": 10, **arguments}
    return redraw(timm.create_model("vit_tiny_patch16_224", **settings))


def swin(**arguments: object) -> nn.Module:
    settings = {
        "img_size": SIZE,
        "window_size": 2,
        "depths": (1, 1, 2, 2),
        "embed_dim": 24,
        "num_heads": (1, 2, 3, 4),
        "num_classes": 10,
        **arguments,
    }
    return redraw(timm.create_model("swin_tiny_patch4_window7_224", **settings))


def convnext(**arguments: object) -> nn.Module:
    """The norm of its blocks returns NHWC."""
    settings = {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 48), "num_classes": 10, **arguments}
    return redraw(timm.create_model("convnext_tiny", **settings))


def convnext_channels_first(**arguments: object) -> nn.Module:
    """The norm of its blocks returns NCHW."""
    settings = {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 48), "num_classes": 10, **arguments}
    return redraw(timm.create_model("convnext_atto", **settings))


def levit(**arguments: object) -> nn.Module:
    """Caches attention biases in a plain dict while it runs in evaluation mode; takes 224 pixels."""
    return redraw(timm.create_model("levit_128s", num_classes=10, **arguments))


FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "resnet": resnet,
    "vit": vit,
    "swin": swin,
    "convnext": convnext,
    "convnext_channels_first": convnext_channels_first,
}


def noise(batch: int = 1, height: int = SIZE, width: int = SIZE, channels: int = 3, seed: int = 1) -> Tensor:
    """An input (batch, channels, height, width)."""
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed))


def is_flat(heatmap: Tensor) -> bool:
    """Whether a map hardly varies: then nothing is learned from comparing it."""
    spread = float(heatmap.max() - heatmap.min())
    return spread < 1e-3 * float(heatmap.abs().max()) or spread < 1e-9


def driver(*_: int) -> nn.Module:
    """Five unpadded convolutions, as networks that steer cars have them."""
    sizes = [(3, 8, 5, 2), (8, 10, 5, 2), (10, 12, 5, 2), (12, 14, 3, 1), (14, 14, 3, 1)]
    layers = [part for size in sizes for part in (nn.Conv2d(*size), nn.ELU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(5))


def lenet(*_: int) -> nn.Module:
    layers = [nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(5))
