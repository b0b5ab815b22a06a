"""What the peer's callers ask for, in this library's terms."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._said import warn
from camlucida.compat.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from camlucida.errors import LayerError, TargetError
from camlucida.layers.layout import readings

PeerTarget = Callable[[Any], Tensor]  # what the model returns for one picture → one number


class UnclearError(LayerError):
    """A layer's output is read in more than one way."""


@dataclass(frozen=True)
class Chosen:
    """A target of the peer's kind, fixed."""

    target: PeerTarget

    @property
    def index(self) -> int | None:
        """The class, where the target has one."""
        category = getattr(self.target, "category", None)
        try:
            return None if category is None else operator.index(category)
        except TypeError:
            return None

    def bind(self, outputs: Tensor, picture: int) -> Chosen:
        del outputs, picture
        return self

    def __call__(self, outputs: Tensor) -> Tensor:
        scores = [self.target(one) for one in outputs]
        if any(getattr(score, "numel", lambda: 0)() != 1 for score in scores):
            came = tuple(getattr(scores[0], "shape", ())) or type(scores[0]).__name__
            raise TargetError(f"a target makes one number of what the model returns for a picture, got {came}")
        return torch.stack([score.reshape(()) for score in scores])


class Asked:
    """One target a picture: ``choose`` makes it of what the model returns for the plain picture."""

    def __init__(self, choose: Callable[[Tensor], PeerTarget]) -> None:
        self._choose = choose
        self.chosen: PeerTarget | None = None
        self.output: Tensor | None = None

    def bind(self, outputs: Tensor, picture: int) -> Chosen:
        """The target for this picture, kept for whoever asks again."""
        self.output = outputs[picture].detach()
        self.chosen = self._choose(self.output)
        return Chosen(self.chosen)


class Later:
    """A target of the peer's kind that is made of what the model returns for the plain picture."""

    def __init__(self, choose: Callable[[Tensor], PeerTarget]) -> None:
        self.choose = choose


def top_class(output: Tensor) -> ClassifierOutputTarget:
    """The class that scores highest."""
    if output.ndim != 1:
        raise TargetError(
            f"this model returns {tuple(output.shape)} for a picture, not one score a class, so that there is "
            "no top class: give targets"
        )
    return ClassifierOutputTarget(int(output.argmax()))


def asked_for(targets: Sequence[PeerTarget | Later] | None, count: int) -> list[Asked]:
    """A target for each of ``count`` pictures, the top class where none is given.

    Raises:
        TargetError: there is another number of them.
    """
    if targets is None:
        return [Asked(top_class) for _ in range(count)]
    if len(targets) != count:
        raise TargetError(f"there is a target for each picture, got {len(targets)} for {count} pictures")
    return [Asked(one.choose if isinstance(one, Later) else partial(_as_given, one)) for one in targets]


def _as_given(target: PeerTarget, _: Tensor) -> PeerTarget:
    return target


def names_of(layers: Sequence[nn.Module], module: nn.Module) -> list[str]:
    """What the layers are called in ``module``.

    Raises:
        LayerError: one is no part of it.
    """
    names = {id(part): name for name, part in module.named_modules() if name}
    strange = [layer for layer in layers if id(layer) not in names]
    if strange:
        raise LayerError(
            f"target layer {type(strange[0]).__name__} is no part of the model {type(module).__name__}: choose "
            "one of its modules, such as model.layer4"
        )
    return [names[id(layer)] for layer in layers]


def channels_second(tensor: Tensor, size: Sequence[int]) -> Tensor:
    """A layer's output as it is, where it cannot be anything but (batch, channels, height, width).

    Raises:
        UnclearError: it can.
    """
    found = readings(tuple(tensor.shape), len(tensor), (size[0], size[1]))
    if tensor.ndim != 4 or any(layout.kind != "NCHW" for layout in found):
        raise UnclearError(f"a layer returns {tuple(tensor.shape)}: give a reshape_transform")
    return tensor


def of_older_releases(older: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    """Arguments that were taken once, each with a warning that says what to write now.

    Raises:
        TypeError: one never was.
    """
    for name in older:
        if name not in known:
            raise TypeError(f"got an unexpected keyword argument {name!r}")
        warn(f"{name} is of an older release: {known[name]}", DeprecationWarning)
    return {name: older.get(name) for name in known}
