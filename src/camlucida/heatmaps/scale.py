"""How maps are scaled for drawing and before they are combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from camlucida.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

Scale = Literal["raw", "picture", "panel"]
SCALES = get_args(Scale)


def full_colour_values(heatmaps: Sequence[Tensor], scale: Scale, signed: bool = False) -> list[float]:
    """For each map (height, width) the value that is drawn as full colour, 0 for a map that has none.

    ``picture``: its own largest value. ``panel``: the largest of all maps, so that they can be compared.
    ``raw``: 1. Zero stays zero on each scale. ``signed`` maps are drawn on both sides of zero, so that their
    largest magnitude counts.

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
    """The largest finite value of each map (…, height, width), 0 where none is above; (…)."""
    values = heatmaps.abs() if signed else heatmaps
    return values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).flatten(-2).amax(dim=-1).clamp(min=0)
