"""On how many positions of a layer the score depends, and whether the layer is a class map."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from camlucida.capture.borrow import borrowed
from camlucida.capture.hooks import record_outputs
from camlucida.capture.layout import Layout
from camlucida.errors import is_out_of_memory
from camlucida.layers.repeatability import alike
from camlucida.layers.run_mode import RunMode, run_model
from camlucida.layers.survey import Logits, Survey, shown
from camlucida.layers.trace import traced

_APART = 1e-3  # of the logits' spread, by which a pooled map may differ by rounding


@dataclass(frozen=True)
class LivePositions:
    """``live_fraction`` is the share of a layer's positions on which the score depends.

    ``class_map`` says that the channels are the classes: pooled over positions they are the output.
    """

    live_fraction: float
    class_map: bool = False


@dataclass
class SurveyedModel:
    """A model at one input size: its survey, and live positions of some layers."""

    survey: Survey
    looks: dict[str, LivePositions] = field(default_factory=dict)


@dataclass(frozen=True)
class LivePositionsOfLayers:
    """By the names of layers; ``apart`` says that the logits were others than before, for the same input."""

    layers: dict[str, LivePositions]
    apart: bool


def find_live_positions(
    module: nn.Module, like: Tensor, logits_of: Logits, seen: Survey, names: Collection[str], run_mode: RunMode
) -> LivePositionsOfLayers:
    """Run ``module`` once more, on one input, and back to the earliest of these layers.

    Raises:
        Refused: the model cannot be run in this ``run_mode``.
    """
    layouts = {call.name: call.layouts for call in seen.layer_calls if call.name in names}
    scoring = _scoring(seen)
    with borrowed(module), torch.enable_grad():
        try:
            found = _look(module, shown(like, 1, run_mode), logits_of, (seen, run_mode), layouts)
        except RuntimeError as error:
            if "modified by an inplace operation" not in str(error):
                raise
            with traced(module, copies=True):
                found = _look(module, shown(like, 1, run_mode), logits_of, (seen, run_mode), layouts)
    value_ids = {call.name: call.value_ids for call in seen.layer_calls}
    layers = {
        name: replace(one, class_map=one.class_map and value_ids[name] in scoring)
        for name, one in found.layers.items()
    }
    return replace(found, layers=layers)


def _look(
    module: nn.Module,
    inputs: Tensor,
    logits_of: Logits,
    seen: tuple[Survey, RunMode],
    layouts: Mapping[str, Sequence[Layout]],
) -> LivePositionsOfLayers:
    with record_outputs(module, list(layouts)) as caught:
        logits = logits_of(run_model(module, inputs, seen[1]))
    kept = {name: tensors[0] for name, tensors in caught.items() if len(tensors) == 1}
    gradients = _gradients(logits, kept, {call.name for call in seen[0].layer_calls if call.paths})
    plain = logits.detach()[0]
    found = {
        name: LivePositions(
            _live_fraction(gradients.get(name)), _is_class_map(kept[name].detach(), layouts[name][0], plain)
        )
        for name in kept
    }
    return LivePositionsOfLayers(found, apart=not alike(seen[0].logits.to(plain), plain))


def _scoring(seen: Survey) -> set[tuple[int, ...]]:
    """What a convolution or a linear layer returns, as it is or behind an activation, by the numbers of values.

    A map of class scores is made so; what a backbone without a head pools ends in a sum or a normalisation.
    """
    of_weights = {call.value_ids for call in seen.layer_calls if call.module.startswith(("Conv", "Linear"))}
    behind = {
        call.value_ids
        for call in seen.layer_calls
        if not call.parameters and len(call.takes) == 1 and tuple(call.takes) in of_weights
    }
    return of_weights | behind


def _gradients(logits: Tensor, kept: dict[str, Tensor], joined: Collection[str]) -> dict[str, Tensor | None]:
    """Of a weighted sum of all logits; ones where an operation has no backward, or the model's own fails.

    Then the capture will tell, and methods without gradients work. ``joined`` layers have paths to the score.
    """
    if not logits.requires_grad or not kept:
        return {}
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(logits)
    try:
        found = torch.autograd.grad((logits * weights).sum(), list(kept.values()), allow_unused=True)
    except RuntimeError as error:
        if is_out_of_memory(error) or "modified by an inplace operation" in str(error):
            raise
        return {name: torch.ones_like(tensor) for name, tensor in kept.items()}
    if all(one is None for one in found) and set(joined).issuperset(kept):
        return {name: torch.ones_like(tensor) for name, tensor in kept.items()}
    return dict(zip(kept, found, strict=True))


def _live_fraction(gradient: Tensor | None) -> float:
    """The share of places at which the gradient is not zero for all channels, wherever those lie."""
    if gradient is None:
        return 0.0
    found = gradient != 0
    shares = [found.any(dim=axis).float().mean() for axis in range(1, max(2, gradient.ndim))]
    return float(torch.stack(shares).min())


def _is_class_map(tensor: Tensor, layout: Layout, logits: Tensor) -> bool:
    """Whether the mean or the maximum over positions is the output, as it is or behind an activation."""
    maps = layout.to_maps(tensor)[0].flatten(1).float()
    if len(maps) != len(logits):
        return False
    logits = logits.float()
    for pooled in (maps.mean(dim=1), maps.amax(dim=1)):
        for output in (pooled, pooled.softmax(dim=0), pooled.log_softmax(dim=0), pooled.sigmoid()):
            if bool((output - logits).abs().max() <= _APART * (logits.max() - logits.min()) + 1e-9):
                return True
    return False
