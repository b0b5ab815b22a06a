"""Every method of the tutorial on every family, smoothed and not: a map, or the reason why it is blank."""

from __future__ import annotations

from typing import Any

import pytest

import zoo
from camlucida import Explainer

METHODS = [
    "gradcam",
    "scorecam",
    "gradcam++",
    "ablationcam",
    "xgradcam",
    "eigencam",
    "eigengradcam",
    "layercam",
    "fullgrad",
]
SMOOTHS = {"plain": (), "aug": ("aug",), "eigen": ("eigen",), "both": ("aug", "eigen")}
TARGETS = [None, 3]
REASONS = {"negative-only", "zero-gradient", "constant"}  # why a map is blank or flat
OPTIONS = {"scorecam": {"channels": 8}}


@pytest.mark.parametrize("smooth", SMOOTHS.values(), ids=SMOOTHS.keys())
@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_every_cell_is_a_map_or_has_a_reason(family: str, smooth: tuple[Any, ...]) -> None:
    explainer = Explainer(zoo.FAMILIES[family]())
    cells = explainer.explain(zoo.noise(), METHODS, TARGETS, options=OPTIONS, smooth=smooth)
    assert [cell.method for cell in cells] == [method for method in METHODS for _ in TARGETS]
    assert cells[0].index != 3, "the chosen class is another than the top one"
    silent = []
    for cell in cells:
        assert cell.heatmap.isfinite().all(), cell.method
        assert (cell.spread is not None) == ("aug" in smooth)
        says_nothing = zoo.is_flat(cell.heatmap) or float(cell.heatmap.max()) <= 0
        if says_nothing and not REASONS & {finding.code for finding in cell.health}:
            silent.append((cell.method, cell.index))
    assert silent == []
    assert sum(not zoo.is_flat(cell.heatmap) for cell in cells) >= len(cells) * 3 // 4
