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
    peaks = [_peak(heatmap.abs() if signed else heatmap) for heatmap in heatmaps]
    return [max(peaks, default=0.0)] * len(heatmaps) if scale == "panel" else peaks


def _peak(heatmap: Tensor) -> float:
    """The largest finite value, 0 where there is none above."""
    return max(float(heatmap.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).max()), 0.0)
