"""From what was captured to maps: every method, layer and target of one batch, smoothed and fused as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from camlucida.health import Finding, Noted, no_component, saturated, with_sign_notes, zero_gradient
from camlucida.heatmap import fuse, principal_component, reduce, sign_clarity
from camlucida.smoothing import VIEWS, merge
from camlucida.targets import ClassProbability

if TYPE_CHECKING:
    from camlucida.capture import Capture, Captured
    from camlucida.registry import Entry

Key = tuple[int, int, int]  # layer, method, target
Methods = Sequence[tuple["Entry", Mapping[str, Any]]]


@dataclass(frozen=True)
class Mapped:
    """The map of one picture (height, width), its spread over views if there are any, and what was noted."""

    heatmap: Tensor
    notes: tuple[Finding, ...]
    spread: Tensor | None = None


def maps_of(caught: Capture, methods: Methods, eigen: bool) -> dict[Key, list[Mapped]]:
    """A map for each picture of the batch, by layer, method and target; each computed once."""
    found: dict[Key, list[Mapped]] = {}
    for place, row in enumerate(caught.captured):
        for m, (entry, settings) in enumerate(methods):
            result: Any = None
            for t, captured in enumerate(row):
                if t and entry.classless:
                    found[place, m, t] = found[place, m, 0]
                    continue
                if t == 0 or entry.returns != "weights":  # weights are of all targets at once
                    result = entry.function(*(getattr(captured, need) for need in entry.needs), **settings)
                values, noted = _heatmaps(entry, result, captured.activations, t, eigen)
                notes = [
                    (*noted[i], *_notes(caught, entry, captured, (place, t, i))) for i in range(len(values))
                ]
                found[place, m, t] = [
                    Mapped(one, note) for one, note in zip(values.float(), notes, strict=True)
                ]
    return found


def _heatmaps(
    entry: Entry, result: Any, activations: Tensor, target: int, eigen: bool
) -> tuple[Tensor, tuple[tuple[Finding, ...], ...]]:
    """The maps (batch, height, width) in a method's result, and its findings for each picture."""
    noted = result if isinstance(result, Noted) else Noted(result, ((),) * len(result))
    if entry.returns == "heatmap":
        more = (no_component(entry.name),) if eigen else ()
        return noted.values, tuple((*one, *more) for one in noted.notes)
    values = noted.values
    contributions = values[:, target, :, None, None] * activations if entry.returns == "weights" else values
    summed = reduce(contributions)
    if not eigen:
        return summed, noted.notes
    component = principal_component(contributions, summed)
    signed = with_sign_notes(component, sign_clarity(component, summed))
    return component, tuple((*a, *b) for a, b in zip(noted.notes, signed.notes, strict=True))


def _notes(caught: Capture, entry: Entry, captured: Captured, which: Key) -> tuple[Finding, ...]:
    """What is known of a map from how it came about."""
    place, t, i = which
    notes: list[Finding] = []
    if "gradients" in entry.needs and captured.gradients is not None and not bool(captured.gradients[i].any()):
        notes.append(zero_gradient())
    if isinstance(caught.bound[t][i], ClassProbability) and not entry.classless:
        notes += saturated(float(caught.scores[t][i]))
    return (*notes, *caught.notes(place, entry.needs, i))


def of_views(maps: list[Mapped]) -> list[Mapped]:
    """The maps of pictures from those of their views, six to a picture."""
    merged = []
    for start in range(0, len(maps), VIEWS):
        mean, spread = merge(torch.stack([one.heatmap for one in maps[start : start + VIEWS]]))
        merged.append(replace(maps[start], heatmap=mean, spread=spread))
    return merged


def of_layers(by_layer: Sequence[list[Mapped]]) -> list[Mapped]:
    """One map a picture from those of several layers, each scaled to its largest value first."""
    if len(by_layer) == 1:
        return by_layer[0]
    fused = []
    for maps in zip(*by_layer, strict=True):
        spreads = [one.spread for one in maps if one.spread is not None]
        notes = tuple(dict.fromkeys(note for one in maps for note in one.notes))
        heatmap = fuse([one.heatmap for one in maps], "mean", "picture")
        fused.append(Mapped(heatmap, notes, fuse(spreads) if spreads else None))
    return fused
