"""Scale maps for drawing and before they are combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from camlucida.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

Scale = Literal["raw", "picture", "panel"]
SCALES = get_args(Scale)


def full_colour_values(heatmaps: Sequence[Tensor], scale: Scale, signed: bool = False) -> list[float]:
    """The value of each map (height, width) that is drawn as full colour, or 0 if there is none.

    ``picture`` is the largest value of the map itself, ``panel`` the largest of all maps, so that they can be
    compared, and ``raw`` is 1. Zero stays zero on each scale. The largest magnitude counts for ``signed`` maps,
    which are drawn on both sides of zero.

    Raises:
        OptionError: there is no such scale.
    """
    if scale not in SCALES:
        raise OptionError(unknown_name("scale", scale, list(SCALES), f"it is one of {', '.join(SCALES)}"))
    if scale == "raw":
        return [1.0] * len(heatmaps)
    values = [float(peaks(heatmap, signed)) for heatmap in heatmaps]
    return [max(values, default=0.0)] * len(heatmaps) if scale == "panel" else values


def peaks(heatmaps: Tensor, signed: bool = False) -> Tensor:
    """The largest finite value of each map (…, height, width), at least 0; shape (…)."""
    values = heatmaps.abs() if signed else heatmaps
    return values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).flatten(-2).amax(dim=-1).clamp(min=0)
