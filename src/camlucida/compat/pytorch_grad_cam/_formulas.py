"""What methods make of arrays, and, for ``strict_parity``, what the peer makes of them where it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from camlucida.errors import OptionError
from camlucida.heatmaps.examine import WithFindings
from camlucida.methods import registry

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Peer:
    """The peer's formula of activations and gradients (batch, channels, height, width).

    ``weights`` → (batch, channels), ``image`` → (batch, height, width).
    """

    weights: Callable[[Array, Any], Array] | None = None
    image: Callable[[Array, Any], Array] | None = None


def contributions_of(method: str, options: Mapping[str, Any], activations: Array, gradients: Any) -> Array:
    """What the method makes of arrays: contributions (batch, channels, height, width), or its own maps.

    Raises:
        OptionError: the method needs more than activations and gradients.
    """
    entry = registry.get_method(method)
    fields = {"activations": activations, "gradients": gradients}
    if not set(entry.needs) <= {name for name, field in fields.items() if field is not None}:
        raise OptionError(
            f"{method} needs {' and '.join(entry.needs)}, which a class that derives from it does not get: "
            "call it as it is"
        )
    settings = entry.settings({name: value for name, value in options.items() if name in entry.options})
    given = {name: torch.from_numpy(np.asarray(fields[name])) for name in entry.needs}
    result = entry.run(SimpleNamespace(**given), settings)
    values: Array = (result.values if isinstance(result, WithFindings) else result).numpy()
    return values


def weights_in(contributions: Array, activations: Array) -> Array:
    """The weights (batch, channels) by which contributions are activations, read where those are largest."""
    if contributions.ndim != activations.ndim:
        raise OptionError("this method has maps of its own and no weights: write get_cam_image instead")
    flat, own = (one.reshape(*one.shape[:2], -1) for one in (contributions, activations))
    where = np.abs(own).argmax(axis=2)[..., None]
    part, largest = (np.take_along_axis(one, where, axis=2)[..., 0] for one in (flat, own))
    weights: Array = part / np.where(largest == 0, 1, largest)
    return weights


# -- the peer's -------------------------------------------------------------------------------------------


def projection(values: Array) -> Array:
    """The first principal component of (batch, channels, height, width), its sign as LAPACK leaves it."""
    maps = []
    for one in np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf):
        points = one.reshape(len(one), -1).T
        points = points - points.mean(axis=0)
        maps.append((points @ np.linalg.svd(points, full_matrices=True)[2][0]).reshape(one.shape[1:]))
    return np.stack(maps).astype(np.float32)


def gradcam_plus_plus(activations: Array, gradients: Array) -> Array:
    """Divides by the sum of all activations, which for signed ones crosses zero."""
    square = gradients**2
    total = activations.sum(axis=(2, 3), keepdims=True)
    alpha = square / (2 * square + total * square * gradients + 1e-6)
    weights: Array = (np.maximum(gradients, 0) * np.where(gradients != 0, alpha, 0)).sum(axis=(2, 3))
    return weights


def xgradcam(activations: Array, gradients: Array) -> Array:
    """With an epsilon that is large beside small sums."""
    total = activations.sum(axis=(2, 3), keepdims=True)
    weights: Array = (gradients * activations / (total + 1e-7)).sum(axis=(2, 3))
    return weights


def fem(k: float, activations: Array, _: Any) -> Array:
    """Channels weighted by the share of their positions that stand out."""
    mean, spread = activations.mean(axis=(2, 3), keepdims=True), activations.std(axis=(2, 3), keepdims=True)
    share = (activations > mean + k * spread).mean(axis=(2, 3), keepdims=True)
    summed: Array = (share * activations).sum(axis=1)
    return summed


def kpcacam(options: Mapping[str, Any], activations: Array, _: Any) -> Array:
    """With the sign that makes the largest magnitude positive."""
    maps = contributions_of("kpcacam", options, activations, None)
    flat = maps.reshape(len(maps), -1)
    largest = np.take_along_axis(flat, np.abs(flat).argmax(axis=1)[:, None], axis=1)
    turned: Array = maps * np.where(largest < 0, -1, 1)[..., None]
    return turned
