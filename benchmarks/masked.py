"""What the methods that try every channel cost, beside grad-cam 1.5.7; and the seven others together.

python benchmarks/masked.py [--parts gradients scorecam ablationcam] [--rounds 3] [--share 64]
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import interpolate

import camlucida.capture.variants
import measure
from camlucida import Explainer
from camlucida.models.inputs import prepare

Results = dict[str, Any]
# Title, raw figures, what they are held against.
Part = Iterator[tuple[str, Results, list[tuple[str, Results]]]]

SEVEN = ("gradcam", "gradcam++", "xgradcam", "eigencam", "eigengradcam", "layercam", "fullgrad")
GRADIENTS = {"seven": 3.0, "fullgrad": 2.5}  # forwards, at most
PHOTOS = ("chelsea", "coffee", "astronaut", "rocket")
SCORECAM = {"exact": {"chelsea": 5, "astronaut": 3}, "fast": {"chelsea": 18}}  # × grad-cam's speed, at least
AGREE = 0.99  # correlation of the fast map with the exact one, at least
ABLATION = dict(zip(measure.MODELS, (500, 8, 25, 25), strict=True))  # times grad-cam's speed, at least


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    console = Console(width=None if sys.stdout.isatty() else 130)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    report: Results = {"date": now, "rounds": options.rounds, "machine": measure.machine(options.threads)}
    report |= {"measured": dict.fromkeys(options.parts, now), "checks": [], "raw": {}}
    measure.keep(report, options.out)
    for name in options.parts:
        for title, found, checks in PARTS[name](options):
            console.log(f"{name}: {title}")
            report["raw"].setdefault(name, {})[title] = found
            report["checks"] += [{"part": name, "what": title + what, **one} for what, one in checks]
            options.out.parent.mkdir(parents=True, exist_ok=True)  # each time: a run cut short leaves its part
            options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(_table(report), f"written: {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", nargs="+", choices=ABLATION, default=list(ABLATION), help="for ablationcam")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed (3)")
    parser.add_argument("--share", type=int, default=64, help="channels that grad-cam's AblationCAM runs (64)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "masked.json")
    return parser.parse_args()


def _check(value: float, sense: str, target: float, **seconds: float) -> Results:
    met = value >= target if sense == "≥" else value <= target
    return {"value": value, "target": target, "sense": sense, "met": met, **seconds}


def _taken(run: Callable[..., Any], *given: Any) -> tuple[float, Any]:
    start, result = time.perf_counter(), run(*given)
    return time.perf_counter() - start, result


@contextmanager
def chunks() -> Iterator[list[tuple[int, float]]]:
    """Every chunk that camlucida runs meanwhile: variants, seconds."""
    seen, real = list[tuple[int, float]](), camlucida.runs.in_chunks

    def spy(run: Callable[[range], Tensor], *rest: Any) -> Tensor:
        def timed(indices: range) -> Tensor:
            taken, result = _taken(run, indices)
            seen.append((len(indices), taken))
            return result

        return real(timed, *rest)

    camlucida.runs.in_chunks = spy
    try:
        yield seen
    finally:
        camlucida.runs.in_chunks = real


def gradients(options: argparse.Namespace) -> Part:
    job, picture = measure.job_for("resnet50"), measure.pictures(1)
    seven, one = (partial(measure.camlucida, methods=names) for names in (SEVEN, ("fullgrad",)))
    contenders = {"forward": measure.forward, "seven": seven, "fullgrad": one}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(5 * options.rounds):  # these are short
        for name, contender in contenders.items():
            taken[name].append(measure.seconds(contender, job, picture))
    checks = []
    for name, most in GRADIENTS.items():
        ratio = median(a / b for a, b in zip(taken[name], taken["forward"], strict=True))
        checks.append((f": {name}, in forwards", _check(ratio, "≤", most)))
    yield "resnet50", {"methods": SEVEN, "seconds": taken}, checks


def ablation(options: argparse.Namespace) -> Part:
    """All channels by camlucida against a share of them by grad-cam, times all ÷ share, in each round."""
    for model in options.models:
        job, picture = measure.job_for(model), measure.pictures(1)
        channels = len(_activations(job, picture))
        share = min(options.share, channels)
        rounds: list[tuple[float, ...]] = []
        ways = (measure.camlucida(job, ("ablationcam",)), measure.forward(job), _peer_ablation(job, share))
        with ways[0] as ours, ways[1] as forward, ways[2] as peer, chunks() as seen:
            for _ in range(options.rounds):
                forward(picture)
                rounds.append(tuple(_taken(run, picture)[0] for run in (ours, forward, peer)))
        # two forwards come before grad-cam's first channel, and do not multiply
        whole = [2 * plain + (part - 2 * plain) * channels / share for _, plain, part in rounds]
        mine, plain, part = (list(column) for column in zip(*rounds, strict=True))
        found = {"layer": job.layer, "channels": channels, "grad-cam's share": share, "camlucida_s": mine}
        found |= {"grad-cam_share_s": part, "grad-cam_extrapolated_s": whole, "forward_s": plain}
        found["chunks"] = seen
        ratio = median(a / b for a, b in zip(whole, mine, strict=True))
        seconds = {"camlucida_s": median(mine), "other_s": median(whole)}
        yield model, found, [(f" ({share} of {channels})", _check(ratio, "≥", ABLATION[model], **seconds))]


@contextmanager
def _peer_ablation(job: measure.Job, share: int) -> Iterator[measure.Run]:
    """grad-cam's AblationCAM, with ``share`` channels spread over all of them.

    Its layer for transformers swaps the first and last axes behind the batch's, which suits NHWC as well.
    """
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit

    def chosen(activations: np.ndarray, _ratio: float) -> np.ndarray:
        ablated.indices = np.linspace(0, len(activations) - 1, share).astype(np.int32)
        return ablated.indices

    ablated = AblationLayer() if job.reshape is None else AblationLayerVit()
    ablated.activations_to_be_ablated = chosen
    with _peer(partial(AblationCAM, ablation_layer=ablated), job) as run:
        yield run


@contextmanager
def _peer(make: Callable[..., Any], job: measure.Job) -> Iterator[measure.Run]:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = make(job.module, [job.target_layer], job.reshape)
    try:
        with redirect_stderr(io.StringIO()):  # its progress bars
            yield lambda batch: cam(batch, [ClassifierOutputTarget(job.index)])
    finally:
        held = cam.activations_and_grads
        held.activations, held.gradients = [], []  # its release() fails on reshaped ones
        held.release()


def _activations(job: measure.Job, picture: Tensor) -> Tensor:
    """What the layer returns, (channels, height, width)."""
    found: list[Tensor] = []
    handle = job.target_layer.register_forward_hook(lambda *given: found.append(given[-1]))
    with torch.no_grad():
        job.module(picture)
    handle.remove()
    return (job.reshape(found[0]) if job.reshape else found[0])[0]


def scores(options: argparse.Namespace) -> Part:
    """Exact and fast Score-CAM of photos, by a network with real weights; grad-cam runs whole, once a photo."""
    from pytorch_grad_cam import ScoreCAM
    from skimage import data

    explainer = Explainer("efficientnet_lite0")
    for photo in PHOTOS:
        one = prepare(Image.fromarray(getattr(data, photo)()), explainer.adapter, explainer.preprocess)
        picture = one.tensor[None]
        (layer,), index = explainer.layer_names(None, one.tensor), explainer.explain(picture)[0].index
        target_layer = explainer.module.get_submodule(layer)
        job = measure.Job(explainer, explainer.module, layer, target_layer, None, index)
        spread = _activations(job, picture).flatten(1).std(dim=1, correction=0)
        live = int(spread.count_nonzero())
        found: Results = {"layer": layer, "class": index, "channels": len(spread), "live": live}
        compared = photo in SCORECAM["exact"]
        exact, fast = _exact_and_fast(job, picture, options.rounds if compared else 1, found)
        checks = [(", fast: correlation with exact", _check(_correlation(fast, exact), "≥", AGREE))]
        if compared:
            with _peer(ScoreCAM, job) as peer:
                taken, theirs = _taken(peer, picture)
            large = interpolate(exact[None, None], size=picture.shape[-2:], mode="bilinear")
            agree = _correlation(large, torch.as_tensor(theirs))
            found |= {"grad-cam_s": taken, "exact's correlation with grad-cam": agree}
        for name, targets in SCORECAM.items():
            if photo in targets:
                mine = median(found[f"{name}_s"])
                seconds = {"camlucida_s": mine, "other_s": taken}
                checks.append((f", {name} ({live} live)", _check(taken / mine, "≥", targets[photo], **seconds)))
        yield photo, found, checks


def _exact_and_fast(job: measure.Job, picture: Tensor, rounds: int, found: Results) -> list[Tensor]:
    maps: dict[str, Tensor] = {}
    for _ in range(rounds):
        for name, channels in (("exact", 0), ("fast", 128)):
            with chunks() as seen:
                run = partial(job.explainer.explain, options={"scorecam": {"channels": channels}})
                taken, made = _taken(run, picture, ["scorecam"], [job.index])
            found.setdefault(f"{name}_s", []).append(taken)
            maps[name], found[f"{name}_chunks"] = made[0].heatmap, seen
    return list(maps.values())


def _correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]).clamp(min=0).double())[0, 1])


PARTS = {"gradients": gradients, "scorecam": scores, "ablationcam": ablation}


def _table(report: Results) -> Table:
    table = Table("part", "what", title="{cpu}, {threads} thread(s)".format(**report["machine"]))
    for name in ("camlucida", "grad-cam", "figure", "target"):
        table.add_column(name, justify="right")
    for one in report["checks"]:
        seconds = [f"{one[key]:.2f} s" if key in one else "" for key in ("camlucida_s", "other_s")]
        mark = "[green]met[/]" if one["met"] else "[bold red]MISSED[/]"
        figures = f"{one['value']:.4g} {mark}", f"{one['sense']} {one['target']}"
        table.add_row(one["part"], one["what"], *seconds, *figures)
    return table


if __name__ == "__main__":
    main()
