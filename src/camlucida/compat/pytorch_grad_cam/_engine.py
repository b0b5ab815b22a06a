"""The peer's calls, run by this library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from camlucida.capture.custom_layout import CustomLayout, reading_by
from camlucida.capture.layout import Layout
from camlucida.capture.logits import logits_of
from camlucida.compat.pytorch_grad_cam._arguments import Asked, is_channels_second, names_of, warn
from camlucida.errors import LayerError, ModelError, OptionError, PictureError, is_out_of_memory
from camlucida.heatmaps.examine import examine, findings_by_image
from camlucida.images import Size
from camlucida.layers.inspector import LayerInspector
from camlucida.methods.registry import Method, method_of
from camlucida.pipeline.explainer import Explainer
from camlucida.pipeline.maps import LayerMaps, maps_of, on_host
from camlucida.targets.base import PerPicture

if TYPE_CHECKING:
    from camlucida.capture.captures import BatchCapture

_ADVICE = "explain another class, or look at its map uncut, by camlucida.Explainer"  # here there is no colormap
_WORTH_A_WARNING = ("negative-only", "zero-gradient", "constant", "not-finite", "eigen-smooth-not-applied")


@dataclass(frozen=True)
class Found:
    """What came of a call: the maps, activations and gradients of each layer, and the scores (batch,)."""

    maps: list[LayerMaps] = field(default_factory=list)
    activations: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    scores: Tensor = field(default_factory=lambda: torch.empty(0))


class Engine:
    """An Explainer of the model, and what its target layers are called."""

    def __init__(
        self, model: nn.Module, layers: Sequence[nn.Module], reshape: Callable[[Tensor], Tensor] | None
    ) -> None:
        self._explainer = Explainer(model, cache=False)
        self.module = self._explainer.module
        self.names: list[str | None] = [*names_of(layers, self.module)]
        self._inspector = LayerInspector(self.module, as_it_is)
        self._like = torch.empty(0)
        reader = reading_by(reshape) or self._layout
        self._explainer.adapter = replace(self._explainer.adapter, logits_of=as_it_is)
        self._explainer.inspector = LayerInspector(self.module, as_it_is, None, reader)

    def run(
        self, inputs: Tensor, asked: Sequence[Asked], method: Method, options: Mapping[str, Any], eigen: bool
    ) -> Found:
        """What the method sees and makes of the inputs (batch, channels, height, width)."""
        if inputs.ndim != 4:
            raise PictureError(
                f"pictures are (batch, channels, height, width), got {tuple(inputs.shape)}: explain volumes "
                "with pytorch-grad-cam itself"
            )
        for one in asked:
            one.scored = set(method.needs) != {"activations"}
        self._like = inputs[0]
        names = (self.names[:1] or [None]) if method.scope == "network" else self.names
        request = ([method], [PerPicture(asked)], list(dict.fromkeys(names)), {method.name: options})
        try:
            with self._explainer.capturing(inputs, *request) as (job, capture):
                maps = on_host(maps_of(capture, job.request.methods, job.target_rows, eigen))
                return _found(
                    capture, maps, [str(name or job.names[0]) for name in names], job.target_rows[0][0]
                )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        raise ModelError("the device's memory ended on the way: give fewer pictures at once")

    def _layout(self, name: str, tensor: Tensor, size: Size) -> Layout | CustomLayout:
        """The layout that a layer's output can only have by its shape, else the one that the probe finds."""
        shape = tuple(tensor.shape)
        if is_channels_second(shape, size):
            return Layout("NCHW", (shape[2], shape[3]))
        verdict = self._inspector.verdict_of(name, self._like)
        if verdict is None:
            raise LayerError(f"layer {name!r} is read in more than one way: give a reshape_transform")
        return verdict.layout


class ActivationsAndGradients:
    """Activations and gradients of the last call, a tensor (batch, channels, height, width) for each layer.

    ``gradients`` is empty for methods without. There are no hooks to release: none is left on the model.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module],
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        detach: bool = True,
    ) -> None:
        self.model, self.target_layers = model, target_layers
        self.reshape_transform, self.detach = reshape_transform, detach
        self.handles: list[Any] = []
        self.activations: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        """Not to be called: the peer runs the model here.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            "the model is run by forward(…) here, and this holds what was seen: in a class of your own call "
            "super().forward(input_tensor, targets, eigen_smooth)"
        )

    def clear(self) -> None:
        """Forget both."""
        self.activations, self.gradients = [], []

    def release(self) -> None:
        """Forget both."""
        self.clear()


def _found(
    capture: BatchCapture, maps: Mapping[tuple[int, int, int], LayerMaps], names: Sequence[str], row: int
) -> Found:
    """By target layer, one of which may be named twice."""
    places = [list(capture.names).index(name) for name in names]
    captured = [capture.captured[place][row] for place in places]
    return Found(
        [maps[place, 0, 0] for place in places],
        [one.activations.cpu() for one in captured],
        [one.gradients.cpu() for one in captured if one.gradients is not None],
        capture.scores[0].cpu(),
    )


# For classes of the user's own, with and without gradients: methods that are there for what is captured.
SEEN = {
    False: method_of(lambda activations: activations, "own"),
    True: method_of(lambda activations, gradients: activations, "own"),
}


def warn_of(maps: Sequence[LayerMaps]) -> None:
    """Say why maps are blank."""
    for layer in maps:
        rows = zip(layer.heatmaps, findings_by_image(layer.flags, len(layer.heatmaps)), strict=True)
        findings = dict.fromkeys(one for heatmap, own in rows for one in (*own, *examine(heatmap)))
        for one in findings:
            if one.code in _WORTH_A_WARNING:
                warn(f"{one.found}: {_ADVICE}" if one.code == "negative-only" else str(one))


def as_it_is(output: Any) -> Tensor:
    """What targets are given: a tensor whatever its axes, else the logits in it."""
    if isinstance(output, Sequence) and output and hasattr(output[0], "keys"):
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
