"""What the peer's callers ask for, in this library's terms."""

from __future__ import annotations

import operator
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.capture.layout import readings
from camlucida.compat.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from camlucida.errors import LayerError, TargetError
from camlucida.images import Size

PeerTarget = Callable[[Any], Tensor]  # what the model returns for one picture → one number


@dataclass(frozen=True)
class Chosen:
    """A target of the peer's kind, fixed; ``scored`` is whether any score is looked at, else all are 0."""

    target: PeerTarget | None
    scored: bool = True

    @property
    def index(self) -> int | None:
        """The class, where the target has one."""
        category = getattr(self.target, "category", None)
        try:
            return None if category is None else operator.index(category)
        except TypeError:
            return None

    def __call__(self, outputs: Tensor) -> Tensor:
        if not self.scored or self.target is None:
            return outputs.new_zeros(len(outputs))
        scores = [self.target(one) for one in outputs]
        if any(getattr(score, "numel", lambda: 0)() != 1 for score in scores):
            came = tuple(getattr(scores[0], "shape", ())) or type(scores[0]).__name__
            raise TargetError(f"a target makes one number of what the model returns for a picture, got {came}")
        return torch.stack([score.reshape(()) for score in scores])


class Asked:
    """One target a picture: ``choose`` makes it of what the model returns for the plain picture.

    ``scored`` is whether the method looks at the score: else the target is kept and not asked.
    """

    def __init__(self, choose: Callable[[Tensor], PeerTarget]) -> None:
        self._choose = choose
        self.scored = True
        self.chosen: PeerTarget | None = None
        self.output: Tensor | None = None

    def bind(self, outputs: Tensor, picture: int) -> Chosen:
        """The target for this picture, kept for whoever asks again."""
        self.output = outputs[picture].detach()
        if self.scored or self.output.ndim == 1:
            self.chosen = self._choose(self.output)
        bound = Chosen(self.chosen, self.scored)
        if not self.scored and bound.index is not None and self.output.ndim == 1:
            self.output[bound.index]  # a class that does not exist is an IndexError all the same
        return bound


def top_class(output: Tensor) -> ClassifierOutputTarget:
    """The class that scores highest."""
    if output.ndim != 1:
        raise TargetError(
            f"this model returns {tuple(output.shape)} for a picture, not one score a class, so that there is "
            "no top class: give targets"
        )
    return ClassifierOutputTarget(int(output.argmax()))


def asked_for(targets: Sequence[PeerTarget | Asked] | None, count: int) -> list[Asked]:
    """A target for each of ``count`` pictures, the top class where none is given.

    Raises:
        TargetError: there is another number of them.
    """
    if targets is None:
        return [Asked(top_class) for _ in range(count)]
    one_each(targets, count)
    return [one if isinstance(one, Asked) else Asked(partial(_as_given, one)) for one in targets]


def one_each(targets: Sequence[object], count: int) -> None:
    """Refuse another number of targets than of pictures.

    Raises:
        TargetError: it is.
    """
    if len(targets) != count:
        raise TargetError(f"there is a target for each picture, got {len(targets)} for {count} pictures")


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


def is_channels_second(shape: tuple[int, ...], size: Size) -> bool:
    """Whether an output can only be (batch, channels, height, width), for an input of ``size``."""
    if len(shape) != 4:
        return False
    kinds = {layout.kind for layout in readings(shape, shape[0], size)}
    if kinds:
        return kinds == {"NCHW"}
    fits_last = shape[1] <= size[0] and shape[2] <= size[1]  # strides may differ: then no reading has both
    return shape[2:] == (1, 1) or (shape[2] <= size[0] and shape[3] <= size[1] and not fits_last)


def in_older_order(third: Any, fourth: Any) -> tuple[dict[str, Any], Any, Any]:
    """What older releases put in third and fourth place, ``use_cuda`` and ``reshape_transform``.

    Gives the older arguments by name, the reshape function, and what is left for the fourth place.
    """
    if not isinstance(third, bool):
        return {}, third, fourth
    function = callable(fourth) and not isinstance(fourth, nn.Module)
    return {"use_cuda": third}, fourth if function else None, None if function else fourth


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


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Say it at the nearest line outside this library, since Python hides or merges those of libraries."""
    frame, level = sys._getframe(), 1
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == "camlucida":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
