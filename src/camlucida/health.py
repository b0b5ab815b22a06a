"""Reasons, not zeros: why a map is blank or not to be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Finding:
    """Something to know before a map is believed: a code, what was found, and the next step."""

    code: str
    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}: {self.advice}"


def examine(heatmap: Tensor) -> tuple[Finding, ...]:
    """What there is to know of a raw map (height, width)."""
    if not bool(heatmap.isfinite().all()):
        return (
            Finding(
                "not-finite",
                "the map holds NaN or infinity",
                "use float32 or float64 (`--dtype`), or another method",
            ),
        )
    low, high = float(heatmap.min()), float(heatmap.max())
    if low == high == 0:
        return (
            Finding(
                "all-zero",
                "the map is zero everywhere, since the score does not change with any position of this layer",
                "choose an earlier layer; where only the class token is read, one before the last attention",
            ),
        )
    if low == high:
        return (Finding("constant", "the map is the same everywhere", "choose another layer or method"),)
    if high <= 0:
        return (
            Finding(
                "negative-only",
                "the map is blank since every position speaks against this class",
                "draw it with a diverging colormap (`--colormap RdBu_r`), or choose another class or method",
            ),
        )
    return ()
