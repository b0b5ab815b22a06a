"""Layers' outputs as maps, as in pytorch-grad-cam; ``reshape_transform=None`` finds the layout by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from camlucida.errors import LayerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_ADVICE = "or leave reshape_transform=None, which finds the layout by itself"


def vit_reshape_transform(tensor: Tensor, height: int = 14, width: int = 14) -> Tensor:
    """Tokens (batch, 1 + height * width, channels), of which the first is no position, as maps.

    Raises:
        LayerError: the tensor does not fit the grid.
    """
    return _as_maps("vit_reshape_transform", tensor, (height, width), prefix=1)


def swinT_reshape_transform(tensor: Tensor, height: int = 7, width: int = 7) -> Tensor:  # noqa: N802 - the peer's name
    """Tokens (batch, height * width, channels) as maps.

    Raises:
        LayerError: the tensor does not fit the grid.
    """
    return _as_maps("swinT_reshape_transform", tensor, (height, width), prefix=0)


def fasterrcnn_reshape_transform(x: Mapping[str, Tensor]) -> Tensor:
    """The levels of a feature pyramid, their magnitudes, as the channels of one at the size of ``pool``.

    Raises:
        LayerError: there is no such level.
    """
    if "pool" not in x:
        got = ", ".join(map(str, x))
        raise LayerError(
            f"fasterrcnn_reshape_transform takes the dictionary of a feature pyramid with 'pool', got {got}: "
            "choose model.backbone as the layer"
        )
    size = x["pool"].shape[-2:]
    levels = [
        torch.nn.functional.interpolate(level.abs(), size, mode="bilinear", align_corners=False)
        for level in x.values()
    ]
    return torch.cat(levels, dim=1)


def _as_maps(name: str, tensor: Tensor, grid: tuple[int, int], prefix: int) -> Tensor:
    height, width = grid
    if tensor.dim() != 3 or tensor.shape[1] != prefix + height * width:
        positions = f"{prefix} + {height} × {width}" if prefix else f"{height} × {width}"
        raise LayerError(
            f"{name} takes (batch, {positions}, channels), got {tuple(tensor.shape)}: give the grid's height "
            f"and width, {_ADVICE}"
        )
    return tensor[:, prefix:].reshape(len(tensor), height, width, tensor.shape[2]).movedim(-1, 1)
