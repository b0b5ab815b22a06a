"""Principal components of activations, as in pytorch-grad-cam, by this library's own methods.

The peer leaves the sign of the first two as the decomposition gives it, so that the order of the channels can
turn the map into its negative. Here it rises with the activations' norm, see ``camlucida.methods.eigen``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from camlucida.errors import LayerError, OptionError
from camlucida.methods.eigen import eigencam, kpcacam, segeigencam

if TYPE_CHECKING:
    from torch import Tensor


def get_2d_projection(activation_batch: np.ndarray) -> np.ndarray:
    """The first principal component (batch, height, width) of (batch, channels, height, width), float32.

    NaN counts as zero, as in the peer; an infinite value makes the picture's map NaN.

    Raises:
        LayerError: the array is of another shape.
    """
    return _array(eigencam(_values(activation_batch)).values)


def get_2d_projection_kernel(
    activation_batch: np.ndarray, kernel: str = "sigmoid", gamma: float | None = None
) -> np.ndarray:
    """The first component of a kernel principal component analysis, of and as in ``get_2d_projection``.

    ``kernel`` is sigmoid, rbf or linear, ``gamma`` its width, or one over the number of channels.

    Raises:
        LayerError: the array is of another shape.
        OptionError: there is no such kernel, or ``gamma`` is not above zero.
    """
    if gamma is not None and not gamma > 0:
        raise OptionError(f"gamma is above zero, or None for one over the number of channels, got {gamma:g}")
    return _array(kpcacam(_values(activation_batch), kernel=kernel, gamma=gamma or 0.0).values)


def get_2d_projection_with_sign_correction(activation_batch: np.ndarray) -> np.ndarray:
    """As ``get_2d_projection``, with Seg-Eigen-CAM's sign: the position furthest from the mean is hot.

    Where both extremes are equally far it rises with the norm, where the peer's is arbitrary.

    Raises:
        LayerError: the array is of another shape.
    """
    values = _values(activation_batch)
    return _array(segeigencam(values, torch.ones_like(values)).values)


def _values(activation_batch: np.ndarray) -> Tensor:
    """A float64 copy without NaN."""
    activations = np.array(activation_batch, dtype=np.float64)
    if activations.ndim != 4:
        raise LayerError(
            f"activations are (batch, channels, height, width), got {activations.shape}: reshape tokens into "
            "a grid, and give a volume slice by slice"
        )
    activations[np.isnan(activations)] = 0
    return torch.from_numpy(activations)


def _array(maps: Tensor) -> np.ndarray:
    result: np.ndarray = maps.float().numpy()
    return result
