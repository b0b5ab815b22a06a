"""ARCC: maps that are simple, coherent and faithful at once (arXiv:2605.14641)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._arguments import PeerTarget
from camlucida.compat.pytorch_grad_cam.metrics.cam_mult_image import multiply_tensor_with_cam
from camlucida.compat.pytorch_grad_cam.metrics.road import ROADCombined
from camlucida.metrics.complexity import harmonic
from camlucida.metrics.similarity import pearson

if TYPE_CHECKING:
    from camlucida.compat.pytorch_grad_cam._formulas import Array


def batch_pearson_coherency(A: Array, B: Array) -> Array:  # noqa: N803 - the peer's names
    """Pearson's correlation of each two maps (batch,), NaN where there is none."""
    pairs = zip(torch.tensor(A), torch.tensor(B), strict=True)
    return np.asarray([pearson(one, other) for one, other in pairs], dtype=np.float32)


class Complexity:
    """The mean magnitude of a map, 0 to 1."""

    def __call__(self, grayscale_cams: Array) -> Array:
        """A number for each map (batch,)."""
        mean: Array = np.abs(grayscale_cams).reshape(len(grayscale_cams), -1).mean(axis=1)
        return mean


class Coherency:
    """Whether a method finds the same again in the picture seen through its map: 0 the reverse, 1 the same."""

    def __call__(
        self,
        input_tensor: Tensor,
        grayscale_cams: Array,
        targets: Sequence[PeerTarget],
        model: nn.Module,
        base_method: Callable[..., Array],
    ) -> Array:
        """(1 + r) / 2 of each map (batch,), 0 where a map is the same everywhere before or after."""
        del model
        maps = torch.from_numpy(np.ascontiguousarray(grayscale_cams))[:, None].to(input_tensor.device)
        again = base_method(input_tensor=multiply_tensor_with_cam(input_tensor, maps), targets=targets)
        return np.nan_to_num((1 + batch_pearson_coherency(grayscale_cams, again)) / 2)


class ARCC:
    """The harmonic mean of coherency, 1 - complexity and twice ROAD, 0 if one of them is.

    ``base_method`` is the class activation map that made the maps.
    """

    def __init__(
        self, base_method: Callable[..., Array], road_percentiles: Sequence[float] = (20, 40, 60, 80)
    ) -> None:
        self.complexity, self.coherency = Complexity(), Coherency()
        self.road = ROADCombined(road_percentiles)
        self.base_method = base_method

    def __call__(
        self,
        input_tensor: Tensor,
        grayscale_cams: Array,
        targets: Sequence[PeerTarget],
        model: nn.Module,
    ) -> Array:
        """A number for each map (batch,)."""
        coherency = self.coherency(input_tensor, grayscale_cams, targets, model, self.base_method)
        road = (2 * self.road(input_tensor, grayscale_cams, targets, model)).clip(0, 1)
        parts = np.stack([coherency, 1 - self.complexity(grayscale_cams), road], axis=1)
        return np.asarray([harmonic(one) for one in parts.tolist()], dtype=np.float32)
