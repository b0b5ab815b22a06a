"""The tutorial's explaining part through camlucida's drop-in and through grad-cam 1.5.7, and the whole script.

python benchmarks/compat.py [--parts gradcam ablationcam script] [--models resnet50 …] [--rounds 3] [--share 64]
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pytorch_grad_cam as peer
import timm
import torch
from PIL import Image
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from rich.console import Console
from rich.table import Table
from skimage import data
from torch import Tensor, nn

import measure

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / "tests"), str(HERE.parent / "examples")]

import tutorial  # noqa: E402 - the example
import zoo  # noqa: E402 - it lies beside the tests

Results = dict[str, Any]
Make = Callable[[], Any]  # a cam of either package

OURS, THEIRS = "camlucida", "grad-cam"
NETWORKS = {network.name: network for network in tutorial.NETWORKS}
TARGETS = {"gradcam": 2.5, "ablationcam": 15.0}  # times grad-cam's speed on the four together, at least
TIMES = {"gradcam": 5, "ablationcam": 1}  # how often in a round: the first is short
AGREE = 0.999  # correlation of Grad-CAM's maps below which the figures mean nothing


class Job(NamedTuple):
    """A network made ready, with the tutorial's layer and input."""

    module: nn.Module
    layer: nn.Module
    picture: Tensor
    channels: int
    correlation: float  # of the two packages' Grad-CAM


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    console = Console(width=None if sys.stdout.isatty() else 130)
    report: Results = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "rounds": options.rounds}
    report |= {"machine": measure.machine(options.threads), "targets": TARGETS, "share": options.share}
    methods = [part for part in options.parts if part in TARGETS]
    for model in options.models if methods else ():
        job = _job(model)
        for method in methods:
            console.log(f"{model}: {method}")
            part = report.setdefault(method, {"models": {}})
            part["models"][model] = _race(method, job, options)
            _total(method, part)
            _write(report, options.out)  # each time: a run that is cut short leaves its part
    if "script" in options.parts:
        console.log("the whole script")
        report["script"] = _script(options)
        _write(report, options.out)
    console.print(_table(report, methods), f"written: {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=(parts := [*TARGETS, "script"]), default=parts)
    parser.add_argument(
        "--models", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="but for the script"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each is timed, gradcam 5 times that (3)"
    )
    parser.add_argument("--share", type=int, default=64, help="channels that grad-cam's AblationCAM runs (64)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (1)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "compat.json")
    return parser.parse_args()


def _job(model: str) -> Job:
    """The network with weights re-drawn until there is a map to see, on which both packages must agree."""
    module = timm.create_model(model)
    layer = NETWORKS[model].layer(module)
    photo = Image.fromarray(data.chelsea()).resize((tutorial.SIDE, tutorial.SIDE))
    picture = tutorial.preprocess_image(np.float32(photo) / 255, mean=[0.5] * 3, std=[0.5] * 3)
    cams = _cams("gradcam", job := Job(module, layer, picture, 0, 0.0), 0)
    for seed in range(20):
        zoo.redraw(module, seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the map is blank")
            _, ours, channels = _explained(cams[OURS], job)
        if ours.any():
            break
    theirs = _explained(cams[THEIRS], job)[1]
    correlation = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    if not correlation >= AGREE:
        sys.exit(f"{model}: the maps of camlucida and grad-cam do not agree (correlation {correlation:.4f})")
    return job._replace(channels=channels, correlation=correlation)


def _cams(method: str, job: Job, share: int) -> dict[str, Make]:
    """Both packages' cam, to be made as the tutorial does.

    Its AblationLayerVit, given for all four, takes a ResNet's columns for its channels and fails: grad-cam
    gets its plain layer there.
    """
    given = {"model": job.module, "target_layers": [job.layer], "reshape_transform": tutorial.reshape_transform}
    ours = partial(tutorial.METHODS[method], **given)
    if method == "gradcam":
        return {OURS: ours, THEIRS: partial(peer.GradCAM, **given)}
    ablated = AblationLayer() if isinstance(job.module, timm.models.resnet.ResNet) else AblationLayerVit()

    def chosen(activations: np.ndarray, _ratio: float) -> np.ndarray:
        ablated.indices = np.linspace(0, len(activations) - 1, share).astype(np.int32)
        return ablated.indices

    ablated.activations_to_be_ablated = chosen
    ours = partial(ours, ablation_layer=tutorial.AblationLayerVit())
    return {OURS: ours, THEIRS: partial(peer.AblationCAM, **given, ablation_layer=ablated)}


def _explained(make: Make, job: Job) -> tuple[float, np.ndarray, int]:
    """Seconds from nothing but a network to maps, the maps, and how many channels the layer has."""
    gc.collect()
    gc.disable()
    with redirect_stderr(io.StringIO()):  # grad-cam's progress bars
        start = time.perf_counter()
        cam = make()
        cam.batch_size = 32
        maps = cam(input_tensor=job.picture, targets=None)
        taken = time.perf_counter() - start
    gc.enable()
    held = cam.activations_and_grads
    channels = held.activations[0].shape[1]
    held.activations, held.gradients = [], []
    held.release()
    for parameter in job.module.parameters():  # which grad-cam's backward() has filled
        parameter.grad = None
    return taken, maps, channels


def _race(method: str, job: Job, options: argparse.Namespace) -> Results:
    """Each once a round, beginning with the other one each round; ratios are within a round."""
    share = min(options.share, job.channels)
    cams = _cams(method, job, share)
    taken: dict[str, list[float]] = {"forward": [], OURS: [], THEIRS: []}
    for i in range(TIMES[method] * options.rounds):
        for name in list(cams)[:: (1, -1)[i % 2]]:
            if method == "gradcam":  # an untimed one first, so that each is in its own steady state
                _explained(cams[name], job)
            taken[name].append(_explained(cams[name], job)[0])
        taken["forward"].append(_forward(job))
    found: Results = {"layer": type(job.layer).__name__, "correlation of gradcam": job.correlation}
    if method == "ablationcam":
        found |= {"channels": job.channels, "grad-cam's share": share, "grad-cam_share_s": taken[THEIRS]}
        # two forwards come before grad-cam's first channel, and do not multiply
        pairs = zip(taken["forward"], taken[THEIRS], strict=True)
        taken[THEIRS] = [2 * plain + (part - 2 * plain) * job.channels / share for plain, part in pairs]
    ratios = [theirs / ours for ours, theirs in zip(taken[OURS], taken[THEIRS], strict=True)]
    medians = {f"{name}_s": median(seconds) for name, seconds in taken.items()}
    return found | {"medians": medians, "ratio": median(ratios), "seconds": taken}


def _forward(job: Job) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        job.module(job.picture)
    return time.perf_counter() - start


def _total(method: str, part: Results) -> None:
    """The medians' sums over models so far; the target is of all four."""
    medians = [found["medians"] for found in part["models"].values()]
    part["total"] = {key: sum(one[key] for one in medians) for key in medians[0]}
    part["ratio"] = part["total"][f"{THEIRS}_s"] / part["total"][f"{OURS}_s"]
    part["met"] = part["ratio"] >= TARGETS[method] if len(medians) == len(NETWORKS) else None


def _script(options: argparse.Namespace) -> Results:
    """The example as a user runs it, with all its imports, networks and pictures."""
    taken = []
    command = [sys.executable, tutorial.__file__, "--weights", "random", "--no-use-cuda"]
    command += ["--image-path", ".", "--image-name", "cat.png"]
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(data.chelsea()).save(Path(folder, "cat.png"))
        for _ in range(options.rounds):
            start = time.perf_counter()
            done = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
                capture_output=True,
                text=True,
                check=False,
            )
            taken.append(time.perf_counter() - start)
            if done.returncode:
                sys.exit(f"the script failed:\n{done.stderr}")
    return {"method": "gradcam", "weights": "random", "median_s": median(taken), "seconds": taken}


def _write(report: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _table(report: Results, methods: list[str]) -> Table:
    where = "{cpu}, {threads} thread(s)".format(**report["machine"])
    table = Table("method", "network", title=f"The tutorial's explaining part\n{where}")
    for name in ("forward", OURS, THEIRS, "times", "target"):
        table.add_column(name, justify="right")
    for method in methods:
        part = report[method]
        marks = {True: " [green]met[/]", False: " [bold red]MISSED[/]", None: ""}
        rows = [(model, found["medians"], found["ratio"], "") for model, found in part["models"].items()]
        target = f"≥ {TARGETS[method]:g}{marks[part['met']]}"
        for model, medians, ratio, wanted in (*rows, ("together", part["total"], part["ratio"], target)):
            table.add_row(
                method, model, *(f"{one:.3f} s" for one in medians.values()), f"{ratio:.2f} ×", wanted
            )
    if "script" in report:
        table.add_row("whole script", "all four", "", f"{report['script']['median_s']:.1f} s", "", "", "")
    return table


if __name__ == "__main__":
    main()
