"""What is compared, and the instruments: one call's time, one call's peak memory, what machine it was."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from camlucida import Explainer

Run = Callable[[Tensor], Any]  # an input (batch, channels, height, width), explained
Reshape = Callable[[Tensor], Tensor]

PACKAGES = ("camlucida", "grad-cam", "torchcam", "captum", "torch", "torchvision", "timm", "numpy")
EIGHT = (
    "gradcam",
    "gradcam++",
    "xgradcam",
    "hirescam",
    "eigencam",
    "eigengradcam",
    "layercam",
    "gradcam_elementwise",
)


def _tokens(prefix: int, side: int) -> Reshape:
    """A square of positions behind ``prefix`` tokens, as (batch, channels, height, width)."""
    return lambda tensor: tensor[:, prefix:].reshape(len(tensor), side, side, -1).permute(0, 3, 1, 2)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2)


MODELS: dict[str, tuple[str, Reshape | None]] = {  # the tutorial's four and their layers, with what peers need
    "resnet50": ("layer4", None),
    "vit_base_patch16_224": ("blocks.11.norm1", _tokens(prefix=1, side=14)),
    "swin_base_patch4_window7_224": ("layers.3.blocks.1.norm2", _tokens(prefix=0, side=7)),
    "convnext_base": ("stages.3.blocks.2.norm", _channels_last),
}


@dataclass(frozen=True)
class Job:
    """A model made ready, its layer and the class to explain; every contender gets the same."""

    explainer: Explainer
    module: nn.Module
    layer: str
    target_layer: nn.Module
    reshape: Reshape | None
    index: int


def job_for(model: str, index: int | None = None) -> Job:
    """The model with seeded random weights; by default a class whose map is not blank after the ReLU."""
    layer, reshape = MODELS[model]
    explainer = Explainer(f"{model}#{layer}", weights="random")
    if index is None:
        index = _visible_class(explainer)
    target_layer = explainer.module.get_submodule(layer)
    return Job(explainer, explainer.module, layer, target_layer, reshape, index)


def _visible_class(explainer: Explainer) -> int:
    image = pictures(1)
    with torch.no_grad():
        classes = explainer.module(image)[0].argsort(descending=True)[:20].tolist()
    maps = [one.heatmap.clamp(min=0) for one in explainer.explain(image, targets=classes)]
    return next(index for index, heatmap in zip(classes, maps, strict=True) if heatmap.std() > 0)


def pictures(count: int) -> Tensor:
    """Smooth patches under fine noise, seeded, as a ready input."""
    generator = torch.Generator().manual_seed(0)
    coarse = interpolate(torch.randn(count, 3, 8, 8, generator=generator), size=224, mode="bicubic")
    return coarse + 0.2 * torch.randn(count, 3, 224, 224, generator=generator)


@contextmanager
def forward(job: Job) -> Iterator[Run]:
    def run(batch: Tensor) -> Tensor:
        with torch.no_grad():
            return job.module(batch)

    yield run


@contextmanager
def camlucida(job: Job, methods: tuple[str, ...] = ("gradcam",)) -> Iterator[Run]:
    yield lambda batch: job.explainer.explain(list(batch), methods, [job.index])


@contextmanager
def grad_cam(job: Job) -> Iterator[Run]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = GradCAM(job.module, [job.target_layer], reshape_transform=job.reshape)
    try:
        yield lambda batch: cam(batch, [ClassifierOutputTarget(job.index)] * len(batch))
    finally:
        held = cam.activations_and_grads
        held.activations, held.gradients = [], []  # its release() fails on reshaped ones
        held.release()
        for parameter in job.module.parameters():  # which its backward() has filled
            parameter.grad = None


@contextmanager
def torchcam(job: Job) -> Iterator[Run]:
    from torchcam.methods import GradCAM

    with GradCAM(job.module, job.target_layer, reshape_transform=job.reshape) as cam:
        yield lambda batch: cam(job.index, job.module(batch))[0]


@contextmanager
def captum(job: Job) -> Iterator[Run]:
    from captum.attr import LayerGradCam

    cam = LayerGradCam(job.module, job.target_layer)

    def run(batch: Tensor) -> Tensor:
        return cam.attribute(batch, target=job.index).detach()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Input Tensor 0 did not already require gradients")
        yield run


Contender = Callable[[Job], AbstractContextManager[Run]]
CONTENDERS: dict[str, Contender] = {
    "forward": forward,
    "camlucida": camlucida,
    "grad-cam": grad_cam,
    "torchcam": torchcam,
    "captum": captum,
    "camlucida ×8": partial(camlucida, methods=EIGHT),
}


def agreement(job: Job) -> dict[str, float]:
    """The correlation of camlucida's map with each peer's, where the peer's is one of this layer's positions.

    Captum pools over the wrong dimensions where the layer's output is not NCHW, and cannot be told.
    """
    batch = pictures(1)
    heatmap = job.explainer.explain(batch, targets=[job.index])[0].heatmap.clamp(min=0)
    large = interpolate(heatmap[None, None], size=224, mode="bilinear")[0, 0]
    found = {}
    for name in ("grad-cam", "torchcam", "captum"):
        if name == "captum" and job.reshape is not None:
            continue
        with CONTENDERS[name](job) as run:
            theirs = torch.as_tensor(run(batch)).squeeze().clamp(min=0)
        ours = heatmap if theirs.shape == heatmap.shape else large
        found[name] = float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1])
    return found


def seconds(contender: Contender, job: Job, batch: Tensor) -> float:
    """One call's time, right behind an untimed one of the same, so that each is in its own steady state."""
    with contender(job) as run:
        run(batch)
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        run(batch)
        taken = time.perf_counter() - start
        gc.enable()
    return taken


ALLOCATOR = {  # what is freed goes back to the system at once: peaks are of what is in use
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}


def peak_megabytes(model: str, contender: str, batch_size: int) -> float:
    """The process's peak memory during one call, above what model and inputs take; Linux only.

    A call on one picture goes before, so that what libraries set up on first use does not count.
    """
    job, batch = job_for(model, index=0), pictures(batch_size)
    with CONTENDERS[contender](job) as run:
        run(batch[:1])
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with CONTENDERS[contender](job) as run:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
        before = _status("VmRSS")
        run(batch)
        return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """A figure of this process in KiB."""
    lines = map(str.split, Path("/proc/self/status").read_text().splitlines())
    return next(int(line[1]) for line in lines if line[0] == f"{key}:")


def machine(threads: int) -> dict[str, Any]:
    """What the figures were taken on."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": next(names, platform.processor()),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_at_start": os.getloadavg()[0],
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "packages": {name: version(name) for name in PACKAGES if _installed(name)},
    }


def _installed(package: str) -> bool:
    """Not all figures need all packages."""
    return any(True for _ in distributions(name=package))


def keep(report: dict[str, Any], out: Path) -> None:
    """The parts that are not measured now, as they were measured before, if they were."""
    if not out.is_file():
        return
    before = json.loads(out.read_text(encoding="utf-8"))
    kept = {part for part in before["raw"] if part not in report["measured"]}
    report["measured"] |= {part: before.get("measured", {}).get(part, before["date"]) for part in kept}
    report["checks"] += [check for check in before["checks"] if check["part"] in kept]
    report["raw"] |= {part: before["raw"][part] for part in kept}
