"""The peer's calls, run by this library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from camlucida.capture.custom_layout import reading_by
from camlucida.capture.layout import Layout
from camlucida.capture.logits import logits_of
from camlucida.compat.pytorch_grad_cam._arguments import Asked, UnclearError, is_channels_second, names_of
from camlucida.compat.pytorch_grad_cam._messages import warn
from camlucida.errors import ModelError, PictureError
from camlucida.heatmaps.examine import examine
from camlucida.images import Size
from camlucida.methods.registry import Method
from camlucida.pipeline.explainer import Explainer
from camlucida.registry import Paper
from camlucida.targets.base import PerPicture

if TYPE_CHECKING:
    from camlucida.compat.pytorch_grad_cam._formulas import Array
    from camlucida.compat.pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
    from camlucida.findings import Finding
    from camlucida.pipeline.explanation import Explanation

_ADVICE = "explain another class, or look at its map uncut, by camlucida.Explainer"  # here there is no colormap
_WORTH_A_WARNING = ("negative-only", "zero-gradient", "constant", "not-finite", "eigen-smooth-not-applied")


class Engine:
    """An Explainer of the model, and what its target layers are called."""

    def __init__(
        self, model: nn.Module, layers: Sequence[nn.Module], reshape: Callable[[Tensor], Tensor] | None
    ) -> None:
        self._explainer = Explainer(model, cache=False)
        self._explainer.adapter = replace(self._explainer.adapter, logits_of=as_it_is)
        self.names: list[str | None] = [*names_of(layers, self._explainer.module)]
        self.module = self._explainer.module
        self._found: dict[tuple[str, Size], Layout] = {}
        self._prober = self._explainer.with_module(self.module, None, None)
        self._explainer = self._explainer.with_module(self.module, None, reading_by(reshape) or self._read)

    def run(
        self,
        pictures: Tensor,
        asked: Sequence[Asked],
        method: tuple[Method, Mapping[str, Any]],
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
        for one in asked:
            one.scored = set(entry.needs) != {"activations"}
        self._explainer.batch_size = len(pictures)
        while True:
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
            except UnclearError as error:  # then the probe shall say
                self._probe(error.name, pictures[0])
            else:
                break
        kept.activations = self._by_layer(kept.activations, len(pictures))
        kept.gradients = self._by_layer(kept.gradients, len(pictures))
        return found

    def _read(self, name: str, tensor: Tensor, size: Size) -> Layout:
        """Where its shape leaves no doubt, what the layer returns; else what the probe has said."""
        shape = tuple(tensor.shape)
        if is_channels_second(shape, size):
            return Layout("NCHW", (shape[2], shape[3]))
        if (name, size) not in self._found:
            raise UnclearError(name)
        return self._found[name, size]

    def _probe(self, name: str, picture: Tensor) -> None:
        verdict = self._prober.inspector.verdict_of(name, picture)
        if verdict is None:
            raise UnclearError(name)
        self._found[name, (int(picture.shape[-2]), int(picture.shape[-1]))] = verdict.layout

    def _by_layer(self, seen: list[Tensor], pictures: int) -> list[Tensor]:
        """One tensor a target layer of all pictures, which were explained in parts where memory ended."""
        if not seen:
            return []
        names = list(dict.fromkeys(self.names))
        whole = {name: _joined(seen[place :: len(names)]) for place, name in enumerate(names)}
        if any(len(one) != pictures for one in whole.values()):
            raise ModelError("the device's memory ended on the way: give fewer pictures at once")
        return [whole[name] for name in self.names]


def captured(needs: Sequence[str]) -> Method:
    """A method that is there for what it sees."""
    return Method(
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


def as_it_is(output: Any) -> Tensor:
    """What targets are given: a tensor whatever its axes, else the logits in it."""
    if isinstance(output, Sequence) and output and isinstance(output[0], Mapping):
        raise ModelError(
            "the model returned a list with boxes for each picture, and camlucida explains classifiers: "
            "explain detectors with pytorch-grad-cam itself"
        )
    if isinstance(output, Tensor):
        return output if output.ndim > 1 else output.reshape(-1, 1)
    if isinstance(output, (list, tuple)) and output and isinstance(output[0], Tensor):
        return output[0]  # which is what the peer hands to the target of a single picture
    try:
        return logits_of(output)
    except ModelError:
        raise ModelError(
            f"targets are given what the model returns for a picture, and it returned {type(output).__name__}: "
            "wrap it in a module whose forward returns a tensor"
        ) from None


def _joined(parts: list[Tensor]) -> Tensor:
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).cpu()


def _recording(entry: Method, kept: ActivationsAndGradients) -> Method:
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
