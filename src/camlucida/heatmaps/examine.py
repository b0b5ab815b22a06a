"""Examine maps: why one is blank or should not be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from camlucida.errors import setting
from camlucida.findings import Finding

if TYPE_CHECKING:
    from torch import Tensor

UNCLEAR_SIGN = 0.1  # correlation below which a component's sign says little
_ON_BORDER = 0.9  # share of the evidence in the outermost positions
_SMALLEST_GRID = 3
_ROUNDING = 1e-6  # relative to the largest magnitude: of a few float32 operations

Flag = tuple[Finding, "Tensor"]  # a finding, and whether it holds for each image (batch,)


@dataclass(frozen=True)
class WithFindings:
    """The result of a method and its findings, each with booleans (batch,) of the images it holds for."""

    values: Tensor
    flags: Sequence[Flag]

    @property
    def findings(self) -> tuple[tuple[Finding, ...], ...]:
        """The findings of each image of the batch."""
        return findings_by_image(self.flags, len(self.values))


def findings_by_image(flags: Sequence[Flag], count: int) -> tuple[tuple[Finding, ...], ...]:
    """For each of ``count`` images the findings that hold for it."""
    held = [(finding, mask.tolist()) for finding, mask in flags]
    return tuple(tuple(finding for finding, mask in held if mask[i]) for i in range(count))


def examine(heatmap: Tensor) -> tuple[Finding, ...]:
    """The findings of a raw map (height, width)."""
    if not bool(heatmap.isfinite().all()):
        advice = f"use float32 or float64 ({setting('dtype', 'float32')}), or another method"
        return (Finding("not-finite", "the map holds NaN or infinity", advice),)
    low, high = float(heatmap.min()), float(heatmap.max())
    if high - low <= _ROUNDING * max(abs(high), abs(low)):
        found = "the map is zero everywhere" if high == low == 0 else "the map is the same everywhere"
        return (Finding("constant", found, "choose another layer or method"),)
    if high <= 0:
        found = "the map is blank because every position is evidence against this class"
        drawn = f"draw it with a diverging colormap ({setting('colormap', 'RdBu_r')})"
        advice = f"{drawn}, or choose another class or method"
        return (Finding("negative-only", found, advice),)
    return (*_coarse(heatmap), *_border(heatmap, high))


def _coarse(heatmap: Tensor) -> tuple[Finding, ...]:
    height, width = heatmap.shape
    if min(height, width) >= _SMALLEST_GRID:
        return ()
    found = f"the layer has only {height}×{width} positions"
    return (Finding("coarse", found, "choose an earlier layer, or give the model a larger input"),)


def _border(heatmap: Tensor, high: float) -> tuple[Finding, ...]:
    evidence = heatmap.clamp(min=0)
    if min(heatmap.shape) <= _SMALLEST_GRID or high <= 0:
        return ()
    inside = float(evidence[1:-1, 1:-1].sum() / evidence.sum())
    if inside > 1 - _ON_BORDER:
        return ()
    found = f"{1 - inside:.0%} of the evidence lies on the outermost positions, which padding can cause"
    return (Finding("border", found, "compare with another layer or a shifted crop before you trust it"),)


def with_sign_findings(values: Tensor, clarity: Tensor) -> WithFindings:
    """Maps that are principal components, with a finding where ``clarity`` (batch,) of the sign is low."""
    found = "the sign of this principal component is ambiguous, so hot and cold may be swapped"
    finding = Finding("sign-ambiguous", found, "compare with a gradient method")
    return WithFindings(values, [(finding, clarity < UNCLEAR_SIGN)])
