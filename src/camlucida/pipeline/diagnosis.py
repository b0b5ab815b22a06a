"""Everything about one model: layer, layout, custody, speed, memory, and which methods work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import TYPE_CHECKING, Unpack

import torch
from PIL import Image
from torch import Tensor, nn

from camlucida.errors import CamlucidaError, setting
from camlucida.layers.probe import responding_positions
from camlucida.methods.registry import all_methods
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.models.device import device_and_dtype
from camlucida.models.fingerprint import of_model
from camlucida.models.inputs import input_size
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.settings import Settings

if TYPE_CHECKING:
    from camlucida.layers.default_layer import DefaultLayers

_PHOTO = (640, 480)  # width and height of a picture on which preprocessing is tried
_ROUNDS = 3
_QUICK = {"scorecam": {"channels": 8}}  # whether it works shows with few channels


@dataclass(frozen=True)
class MethodCheck:
    """How a method did: the codes of its findings, or why it was refused; ``forwards`` is its cost."""

    method: str
    refused: str = ""
    findings: tuple[str, ...] = ()
    forwards: float = 0.0

    def __str__(self) -> str:
        """The line that ``camlucida doctor`` prints."""
        codes = f" ({', '.join(self.findings)})" if self.findings else ""
        outcome = f"refused: {self.refused}" if self.refused else f"works, {self.forwards:.1f} forwards"
        return f"{self.method:20}{outcome}{codes}"


@dataclass(frozen=True)
class Diagnosis:
    """Everything about one model: facts as (name, text), and what each method does on it."""

    facts: list[tuple[str, str]]
    methods: list[MethodCheck]

    def __str__(self) -> str:
        """The lines that ``camlucida doctor`` prints."""
        lines = [f"{name:10}{text}" for name, text in self.facts]
        return "\n".join([*lines, *map(str, self.methods)])


def doctor(model: str | nn.Module | Explainer = DEFAULT_MODEL, **settings: Unpack[Settings]) -> Diagnosis:
    """Everything about one model: layer, layout, custody, speed, memory, and which methods work on noise.

    Raises:
        LayerError: the model has no layer to look at.
    """
    explainer = model if isinstance(model, Explainer) else Explainer(model, **settings)
    noise = noise_for(explainer)
    forward = forward_seconds(explainer, noise)
    known = list(facts(explainer, noise, forward))
    return Diagnosis(known, [check_method(explainer, noise, method, forward) for method in all_methods()])


def noise_for(explainer: Explainer) -> Tensor:
    """An input (channels, height, width) of noise, of the size that the model wants."""
    place = device_and_dtype(explainer.module)
    size = input_size(explainer.adapter)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, generator=generator, dtype=torch.float32).to(place.device, place.dtype)


def _seen(explainer: Explainer) -> str:
    """What the preprocessing makes of a photo, found out by running it on one."""
    try:
        tensor, frame = explainer.preprocess(Image.new("RGB", _PHOTO))
    except CamlucidaError as error:
        return str(error)
    left, top, right, bottom = (round(float(side)) for side in frame.box)
    return (
        f"one of {_PHOTO[0]}×{_PHOTO[1]} pixels is seen from {left}, {top} to "
        f"{right}, {bottom} and becomes {'×'.join(map(str, tensor.shape))}"
    )


def forward_seconds(explainer: Explainer, picture: Tensor) -> float:
    """The seconds of one plain forward."""
    with explainer.session(), explainer.extra_inputs(), torch.no_grad():
        return _taken(lambda: explainer.module(picture[None].clone()))


def facts(explainer: Explainer, picture: Tensor, forward: float) -> Iterator[tuple[str, str]]:
    """What there is to know beside the methods, a name and a text each.

    Raises:
        LayerError: the model has no layer to look at.
    """
    adapter = explainer.adapter
    yield "model", f"{adapter.name} ({adapter.library}), weights {adapter.weights}"
    yield "input", "×".join(map(str, picture.shape))
    yield "prepared", str(explainer.preprocess.recipe)
    yield "pictures", _seen(explainer)
    yield "classes", "named" if adapter.labels else f"not named: give {setting('labels', 'FILE')}"
    with explainer.extra_inputs():
        choice = explainer.inspector.default(picture)
        looked = explainer.inspector.survey(picture)
    yield "layer", "+".join(choice.verdicts)
    for name, verdict in choice.verdicts.items():
        yield "layout", f"{name}: {verdict.layout}, {verdict.verdict} ({verdict.score:.2f} of 1)"
    for remark in choice.remarks:
        yield "remark", remark
    yield (
        "layers",
        f"{len(looked.layer_calls)} calls, "
        f"{sum(bool(one.layouts) for one in looked.layer_calls)} with positions",
    )
    before = _fingerprint(explainer.module)
    explained = _taken(lambda: explainer.explain(picture))
    same = before == _fingerprint(explainer.module)
    yield "custody", "the model came back as it was" if same else "CHANGED: report this model"
    yield "speed", f"a forward {forward * 1e3:.0f} ms, Grad-CAM {explained / forward:.2f} forwards"
    weights = sum(one.numel() * one.element_size() for one in explainer.module.parameters())
    returned = sum(prod(shape) for call in looked.layer_calls for shape in call.shapes) * picture.element_size()
    kind = f"{picture.device}, {str(picture.dtype).removeprefix('torch.')}"
    yield (
        "memory",
        f"weights {weights / 2**20:.0f} MB, what all layers return {returned / 2**20:.0f} MB ({kind})",
    )


def check_method(explainer: Explainer, picture: Tensor, method: str, forward: float) -> MethodCheck:
    """Whether a method works on this model, tried on noise, where a plain forward takes ``forward`` seconds."""
    start = time.perf_counter()
    try:
        (found,) = explainer.explain(
            picture, [method], options={k: v for k, v in _QUICK.items() if k == method}
        )
    except CamlucidaError as error:
        return MethodCheck(method, refused=str(error))
    taken = time.perf_counter() - start
    return MethodCheck(method, findings=tuple(one.code for one in found.health), forwards=taken / forward)


def places(explainer: Explainer, picture: Tensor, choice: DefaultLayers) -> dict[str, Tensor]:
    """For each default layer the row and column that its positions answer to (2, height, width), 0 to 1."""
    with explainer.extra_inputs():
        found = {
            name: responding_positions(explainer.module, picture, name, verdict.layout)
            for name, verdict in choice.verdicts.items()
        }
    return {name: one.cpu() for name, one in found.items() if one is not None}


def _taken(run: Callable[[], object]) -> float:
    run()
    taken = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return median(taken)


def _fingerprint(module: nn.Module) -> list[object]:
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()]
    modes = [part.training for part in module.modules()]
    parameters = [(id(one), one._version, one.requires_grad, one.grad) for one in module.parameters()]
    names = sorted(key for part in module.modules() for key in part.__dict__)
    return [hooks, modes, parameters, of_model(module), names]
