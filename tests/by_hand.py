"""Grad-CAM by plain hooks, and how near two maps are."""

from typing import Any

import timm
from torch import Tensor, nn

import zoo


def small(seed: int = 0) -> nn.Module:
    return zoo.redraw(timm.create_model("resnet10t", num_classes=10), seed)


def by_hand(module: nn.Module, layer: str, batch: Tensor, index: int, *more: Tensor) -> Tensor:
    """Grad-CAM (height, width) of an NCHW layer by plain hooks, in float64."""
    kept: dict[str, Tensor] = {}

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        output.retain_grad()
        kept["maps"] = output

    module = module.double()
    handle = module.get_submodule(layer).register_forward_hook(keep)
    module(batch.double().requires_grad_(True), *(one.double() for one in more))[0, index].backward()
    handle.remove()
    module.zero_grad()
    maps, gradients = kept["maps"], kept["maps"].grad
    assert gradients is not None
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    module.float()
    return (weights * maps).sum(dim=1)[0].detach()


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found.double() - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def distance(found: Tensor, reference: Tensor) -> Tensor:
    """For each picture the largest difference, as a share of the reference's largest magnitude."""
    assert found.shape == reference.shape
    assert not any(zoo.is_flat(one) for one in reference)
    return (found - reference).abs().amax(dim=(1, 2)) / reference.abs().amax(dim=(1, 2))
