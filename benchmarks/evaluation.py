"""What measuring costs: beside bare forwards, beside grad-cam's ROAD, and for nine methods at once.

python benchmarks/evaluation.py [--models efficientnet_lite0 resnet50] [--rounds 5]
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from rich.console import Console
from skimage import data
from torch import Tensor, nn

import measure
from camlucida import Explainer
from camlucida.evaluation.evaluator import Evaluator, TensorItem
from camlucida.evaluation.picture_trials import MapSource, PictureTrials, SharedState
from camlucida.evaluation.run import map_sources, metrics_of
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.models.inputs import prepare
from grid import METHODS

HERE = Path(__file__).parent
MODELS = (DEFAULT_MODEL, "resnet50")
CURVES = ("deletion", "insertion")
NINE = (*CURVES, "road_combined", "average_drop", "average_gain", "increase_in_confidence")
WANTED = {"curves ÷ bare forwards": 1.2, "road × grad-cam's": 5.0}
SIZES = (4, 8, 16, 32)  # of the batches in which bare forwards are tried; the fastest counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "evaluation.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    report |= {"machine": measure.machine(options.threads), "wanted": WANTED, "models": {}}
    for model in options.models:
        report["models"][model] = _model(model, options.rounds)
        Console().print(model, json.dumps(report["models"][model]["figures"], indent=1))
    options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _model(model: str, rounds: int) -> dict[str, Any]:
    explainer = Explainer(model, weights="pretrained" if model == DEFAULT_MODEL else "random")
    photo = Image.fromarray(data.chelsea())
    picture = prepare(photo, explainer.adapter, explainer.preprocess).tensor
    shared = Evaluator(explainer, map_sources(["gradcam"], controls=False), metrics_of(CURVES))._shared
    seconds: dict[str, list[float]] = {}
    for place in range(rounds + 1):
        found = _round(explainer, shared, picture)
        if place:  # the first one warms up
            for name, value in found.items():
                seconds.setdefault(name, []).append(value)
    bare = min((name for name in seconds if name.startswith("bare")), key=lambda name: median(seconds[name]))
    figures: dict[str, Any] = {
        "curves ÷ bare forwards": _ratio(seconds, "curves", bare),
        "map and curves ÷ bare forwards": _ratio(seconds, "map and curves", bare),
        "road × grad-cam's": _ratio(seconds, "grad-cam's road", "road"),
        "imputation × grad-cam's": _ratio(seconds, "grad-cam's imputation", "imputation"),
    }
    if model == DEFAULT_MODEL:
        figures["pictures run for nine methods"] = _nine(explainer, picture)
    return {"figures": figures, "fastest": bare, "seconds": seconds}


def _round(explainer: Explainer, shared: SharedState, picture: Tensor) -> dict[str, float]:
    """Each measured once, one behind the other."""
    source, found = MapSource("gradcam"), {}
    begun = time.perf_counter()
    shown = PictureTrials(shared, picture, None, None)
    trial = shown.trial(source)
    found["map"] = time.perf_counter() - begun
    found["curves"] = _timed(lambda: [one.run(trial) for one, _ in metrics_of(CURVES)])
    found["map and curves"] = found["map"] + found["curves"]
    variants = torch.randn(63, *picture.shape)  # 32 steps each; the picture itself is known
    for size in SIZES:
        found[f"bare, {size} at once"] = _timed(lambda size=size: _bare(explainer.module, variants, size))
    ((road, settings),) = metrics_of(["road_combined"])
    fresh = PictureTrials(shared, picture, None, None).trial(source)
    found["road"] = _timed(lambda: road.run(fresh, settings))
    found["grad-cam's road"] = _timed(
        lambda: _peers_road(explainer.module, picture, fresh.heatmap, fresh.index)
    )
    return found | _imputations(picture, fresh.heatmap)


def _bare(module: nn.Module, variants: Tensor, size: int) -> None:
    with torch.no_grad():
        for part in variants.split(size):
            module(part.contiguous(memory_format=torch.channels_last))


def _peers_road(module: nn.Module, picture: Tensor, heatmap: Tensor, index: int) -> Any:
    targets: list[Callable[..., Any]] = [ClassifierOutputSoftmaxTarget(index)]
    return ROADCombined(percentiles=[20, 40, 60, 80])(picture[None], heatmap.numpy()[None], targets, module)


def _imputations(picture: Tensor, heatmap: Tensor) -> dict[str, float]:
    """The equations alone, for one half of the pixels."""
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    from camlucida.metrics.road import impute

    gone = heatmap >= heatmap.median()
    theirs = NoisyLinearImputer(noise=0)
    return {
        "imputation": _timed(lambda: impute(picture.numpy(), gone.numpy())),
        "grad-cam's imputation": _timed(lambda: theirs(picture, (~gone).float())),
    }


def _nine(explainer: Explainer, picture: Tensor) -> dict[str, int]:
    """Pictures that the model sees when nine methods are measured together, and one by one."""
    sources = map_sources(METHODS, controls=False)
    measures = metrics_of(NINE)
    options = {"scorecam": {"channels": 32}}
    explainer.explain(picture, METHODS, options=options)  # layers are looked at once, whoever asks
    together = _seen(explainer, lambda: [Evaluator(explainer, sources, measures, 0, options)], picture)
    alone = _seen(
        explainer,
        lambda: [Evaluator(explainer, [source], [one], 0, options) for source in sources for one in measures],
        picture,
    )
    return {"together": together, "one by one": alone, "saved": alone - together}


def _seen(explainer: Explainer, judges: Callable[[], list[Evaluator]], picture: Tensor) -> int:
    """How many pictures go through the whole model."""
    seen = 0

    def count(_: nn.Module, given: tuple[Any, ...], __: Any) -> None:
        nonlocal seen
        seen += len(given[0])

    handle = explainer.module.register_forward_hook(count)
    try:
        for evaluator in judges():
            evaluator._seconds = dict.fromkeys(
                evaluator.sources, 0.0
            )  # a map is not made once more to be timed
            evaluator.rows(TensorItem("photo", picture))
    finally:
        handle.remove()
    return seen


def _timed(run: Callable[[], Any]) -> float:
    gc.collect()
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _ratio(seconds: dict[str, list[float]], one: str, other: str) -> float:
    return median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


if __name__ == "__main__":
    main()
