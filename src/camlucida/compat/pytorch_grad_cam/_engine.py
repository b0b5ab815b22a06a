"""The peer's calls, run by this library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._asked import Asked, UnclearError, channels_second, names_of
from camlucida.compat.pytorch_grad_cam._said import warn
from camlucida.errors import ModelError, PictureError
from camlucida.explainer import Explainer
from camlucida.health import examine
from camlucida.models.adapter import logits_of
from camlucida.registry import Entry, Paper
from camlucida.targets import PerPicture

if TYPE_CHECKING:
    from camlucida.compat.pytorch_grad_cam._formulas import Array
    from camlucida.compat.pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
    from camlucida.explanation import Explanation
    from camlucida.health import Finding

_ADVICE = "explain another class, or look at its map uncut, by camlucida.Explainer"  # here there is no colormap
_WORTH_A_WARNING = ("negative-only", "zero-gradient", "constant", "not-finite", "eigen-smooth-not-applied")


class Engine:
    """An Explainer of the model, and what its target layers are called."""

    def __init__(
        self, model: nn.Module, layers: Sequence[nn.Module], reshape: Callable[[Tensor], Tensor] | None
    ) -> None:
        self._size = [0, 0]  # of the input, once there is one
        self._made = partial(Explainer, model, cache=False, logits_of=_as_it_is)
        self._explainer = self._made(reshape=reshape or partial(channels_second, size=self._size))
        self.names: list[str | None] = [*names_of(layers, self._explainer.module)]

    def run(
        self,
        pictures: Tensor,
        asked: Sequence[Asked],
        method: tuple[Entry, Mapping[str, Any]],
        eigen: bool,
        kept: ActivationsAndGradients,
    ) -> list[Explanation]:
        """Explanations in the order pictures × layers; ``kept`` gets what the method has seen."""
        entry, options = method
        if pictures.ndim != 4:
            raise PictureError(
                f"pictures are (batch, channels, height, width), got {tuple(pictures.shape)}: explain volumes "
                "with pytorch-grad-cam itself"
            )
        self._size[:] = pictures.shape[-2:]
        self._explainer.batch_size = len(pictures)
        kept.clear()
        try:
            found = self._explainer.explain(
                pictures,
                [_recording(entry, kept)],
                [PerPicture(asked)],
                self.names,
                {entry.name: options},
                ("eigen",) if eigen else (),
            )
        except UnclearError:  # then the probe shall say
            self._explainer = self._made(reshape=None)
            return self.run(pictures, asked, method, eigen, kept)
        kept.activations = _by_layer(kept.activations, len(self.names), len(pictures))
        kept.gradients = _by_layer(kept.gradients, len(self.names), len(pictures))
        return found


def captured(needs: Sequence[str]) -> Entry:
    """A method that is there for what it sees."""
    return Entry(
        name="own",
        function=(lambda activations, gradients: activations)
        if len(needs) > 1
        else (lambda activations: activations),
        family="own",
        needs=tuple(needs),
        options={},
        paper=Paper("", 0, "", ""),
        returns="contributions",
        signed=True,
        cost="1 forward",
    )


def stacked(found: Sequence[Explanation], count: int) -> list[Array]:
    """For each layer its raw maps (``count``, height, width)."""
    layers = len(found) // count
    return [np.stack([one.heatmap.numpy() for one in found[place::layers]]) for place in range(layers)]


def warn_of(found: Sequence[Explanation]) -> None:
    """Say why maps are blank."""
    _warn([finding for one in found for finding in one.health])


def warn_of_maps(raw: Sequence[Array]) -> None:
    """Say why raw maps, (batch, height, width) a layer, are blank."""
    _warn([finding for maps in raw for one in maps for finding in examine(torch.from_numpy(np.asarray(one)))])


def _warn(findings: Sequence[Finding]) -> None:
    for one in dict.fromkeys(one for one in findings if one.code in _WORTH_A_WARNING):
        warn(f"{one.found}: {_ADVICE}" if one.code == "negative-only" else str(one))


def _as_it_is(output: Any) -> Tensor:
    """What targets are given: a tensor whatever its axes, else the logits in it."""
    if isinstance(output, Sequence) and output and isinstance(output[0], Mapping):
        raise ModelError(
            "the model returned a list with boxes for each picture, and camlucida explains classifiers: "
            "explain detectors with pytorch-grad-cam itself"
        )
    return output if isinstance(output, Tensor) else logits_of(output)


def _recording(entry: Entry, kept: ActivationsAndGradients) -> Entry:
    """The method, which leaves behind what it has seen of each layer."""

    @wraps(entry.function)
    def function(*fields: Any, **options: Any) -> Any:
        result = entry.function(*fields, **options)
        seen = dict(zip(entry.needs, fields, strict=True))
        if "activations" in seen:
            kept.activations.append(seen["activations"])
        if "gradients" in seen:
            kept.gradients.append(seen["gradients"])
        return result

    return replace(entry, function=function)


def _by_layer(seen: list[Tensor], layers: int, pictures: int) -> list[Tensor]:
    """One tensor a layer of all pictures, which have been explained in parts where memory ended."""
    if not seen:
        return []
    whole = [torch.cat(seen[place::layers]) for place in range(layers)]
    if any(len(one) != pictures for one in whole):
        raise ModelError("the device's memory ended on the way: give fewer pictures at once")
    return whole
