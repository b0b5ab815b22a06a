"""Every method of the tutorial on its models at full size, with both smoothings: a map, or why there is none.

python benchmarks/grid.py [--models …] [--channels 32]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from skimage import data

import measure
from camlucida import Explainer, Explanation
from camlucida.models.bundled import DEFAULT_MODEL

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests"))

import zoo  # noqa: E402 - it lies beside the tests

CHEAP = ("gradcam", "gradcam++", "xgradcam", "eigencam", "eigengradcam", "layercam", "fullgrad")
METHODS = (*CHEAP, "scorecam", "ablationcam")
SMOOTHS: dict[str, tuple[Any, ...]] = {
    "plain": (),
    "aug": ("aug",),
    "eigen": ("eigen",),
    "both": ("aug", "eigen"),
}
MODELS = (DEFAULT_MODEL, *measure.MODELS)
CHOSEN = 282  # tiger cat
REASONS = {"negative-only", "zero-gradient", "constant"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--channels", type=int, default=32, help="that scorecam tries (32)")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (2)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "grid.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console()
    report: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    report |= {"machine": measure.machine(options.threads), "scorecam.channels": options.channels, "cells": []}
    for model in options.models:
        explainer = _explainer(model)
        for smooth in SMOOTHS:
            begun = time.perf_counter()
            report["cells"] += _cells(explainer, smooth, options.channels)
            console.log(f"{model}, {smooth}: {time.perf_counter() - begun:.0f} s")
            options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    silent = [cell for cell in report["cells"] if not cell["finite"] or not cell["map"] | cell["reason"]]
    console.print(f"{len(report['cells'])} cells, {len(silent)} of them without a map and without a reason")
    sys.exit(bool(silent))


def _explainer(model: str) -> Explainer:
    """With the weights that the package brings, else with re-drawn ones: fresh ones give maps that are flat."""
    if model == DEFAULT_MODEL:
        return Explainer(model)
    explainer = Explainer(model, weights="random")
    zoo.redraw(explainer.module)
    return explainer


def _cells(explainer: Explainer, smooth: str, channels: int) -> list[dict[str, Any]]:
    explanations = explainer.explain(
        Image.fromarray(data.chelsea()),
        METHODS,
        [None, CHOSEN],
        options={"scorecam": {"channels": channels}},
        smooth=SMOOTHS[smooth],
    )
    return [_cell(one, smooth, ("top", "chosen")[i % 2]) for i, one in enumerate(explanations)]


def _cell(one: Explanation, smooth: str, target: str) -> dict[str, Any]:
    finite = bool(one.heatmap.isfinite().all())
    return {
        "model": one.provenance.model,
        "weights": one.provenance.weights,
        "layer": one.layer,
        "method": one.method,
        "smooth": smooth,
        "target": target,
        "class": one.index,
        "finite": finite,
        "map": finite and float(one.heatmap.max()) > 0 and not zoo.is_flat(one.heatmap),
        "reason": any(finding.code in REASONS for finding in one.health),
        "findings": [finding.code for finding in one.health],
    }


if __name__ == "__main__":
    main()
