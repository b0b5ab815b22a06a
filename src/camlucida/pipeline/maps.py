"""From what was captured to maps: every method, layer and target of one batch, smoothed and fused as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from camlucida.findings import Finding, no_component, saturated, single_layer, zero_gradient
from camlucida.heatmaps.combine import fuse, reduce
from camlucida.heatmaps.components import principal_component, sign_clarity
from camlucida.heatmaps.examine import WithFindings, with_sign_findings
from camlucida.heatmaps.scale import full_colour_values
from camlucida.heatmaps.smoothing import VIEWS, merge
from camlucida.images.frame import EVEN, Cells, size_of
from camlucida.targets.base import ClassProbability

if TYPE_CHECKING:
    from camlucida.capture.capture import BatchCapture, LayerCapture
    from camlucida.methods.registry import Method

MapKey = tuple[int, int, int]  # layer, method, target
Methods = Sequence[tuple["Method", Mapping[str, Any]]]


@dataclass(frozen=True)
class LayerMap:
    """The map of one picture (height, width), its spread over views if there are any, and what was noted.

    ``cells`` says where its cells lie on the input, as in ``images.Frame``.
    """

    heatmap: Tensor
    findings: tuple[Finding, ...]
    spread: Tensor | None = None
    cells: Cells = EVEN


def maps_of(
    caught: BatchCapture, methods: Methods, target_rows: Sequence[Sequence[int]], eigen: bool
) -> dict[MapKey, list[LayerMap]]:
    """A map for each picture of the batch, by layer, method and target; each computed once.

    ``target_rows[m][t]`` is the row of the capture's targets that method m explains for target t.
    """
    found: dict[MapKey, list[LayerMap]] = {}
    for place, row in enumerate(caught.captured):
        for m, (entry, settings) in enumerate(methods):
            result: Any = None
            for t, derive_target in enumerate(target_rows[m]):
                captured = row[derive_target]
                if t and entry.classless:
                    found[place, m, t] = found[place, m, 0]
                    continue
                if t == 0 or entry.returns != "weights":  # weights are of all targets at once
                    result = entry.run(captured, settings)
                values, noted = _heatmaps(entry, result, captured.activations, derive_target, eigen)
                findings = [
                    (*noted[i], *_notes(caught, entry, captured, (place, derive_target, i)))
                    for i in range(len(values))
                ]
                cells = caught.cells(size_of(values))
                found[place, m, t] = [
                    LayerMap(one, note, cells=cells)
                    for one, note in zip(values.cpu().float(), findings, strict=True)
                ]
    return found


def _heatmaps(
    entry: Method, result: Any, activations: Tensor, target: int, eigen: bool
) -> tuple[Tensor, tuple[tuple[Finding, ...], ...]]:
    """The maps (batch, height, width) in a method's result, and its findings for each picture."""
    noted = result if isinstance(result, WithFindings) else WithFindings(result, ((),) * len(result))
    if entry.returns == "heatmap":
        more = (no_component(entry.name),) if eigen else ()
        return noted.values, tuple((*one, *more) for one in noted.findings)
    values = noted.values
    contributions = values[:, target, :, None, None] * activations if entry.returns == "weights" else values
    summed = reduce(contributions)
    if not eigen:
        return summed, noted.findings
    component = principal_component(contributions, summed)
    signed = with_sign_findings(component, sign_clarity(component, summed))
    return component, tuple((*a, *b) for a, b in zip(noted.findings, signed.findings, strict=True))


def _notes(caught: BatchCapture, entry: Method, captured: LayerCapture, which: MapKey) -> tuple[Finding, ...]:
    """What is known of a map from how it came about."""
    place, t, i = which
    findings: list[Finding] = []
    if "gradients" in entry.needs and captured.gradients is not None and not bool(captured.gradients[i].any()):
        findings.append(zero_gradient())
    if isinstance(caught.bound[t][i], ClassProbability) and not entry.classless:
        findings += saturated(float(caught.scores[t][i]))
    return (*findings, *caught.findings(place, entry.needs, i))


def combine_layers(
    by_layer: Sequence[list[LayerMap]], entry: Method, aug: bool = False, parts: bool = False
) -> list[LayerMap]:
    """One map a picture from those of several layers and, with ``aug``, of six views of each picture.

    The layers' maps of each view are made one before the views are, so that the spread is that of the map.
    ``parts`` says that the layers carry the score together: then their contributions are added as they are.
    Layers in a row are scaled first, each to the largest magnitude of its mean over the views.
    """
    step = VIEWS if aug else 1
    found = []
    for start in range(0, len(by_layer[0]), step):
        views = [maps[start : start + step] for maps in by_layer]
        findings = tuple(dict.fromkeys(note for maps in views for note in maps[0].findings))
        if entry.fusion == "product" and len(views) == 1:
            findings = (*findings, single_layer(entry.name))
        cells = max((maps[0] for maps in views), key=lambda one: one.heatmap.numel()).cells
        fused = _of_layers(views, entry, parts)
        mean, spread = merge(torch.stack(fused), cells) if aug else (fused[0], None)
        # No view of its batch, nor shared with another target.
        found.append(LayerMap(mean.clone(), findings, spread, cells))
    return found


def _of_layers(mapped: Sequence[Sequence[LayerMap]], entry: Method, parts: bool) -> list[Tensor]:
    """One map for each view, from those of each layer.

    To a product what speaks against counts nothing: two such would make one that speaks for.
    """
    layers = [[one.heatmap for one in maps] for maps in mapped]
    boxes = [maps[0].cells.box for maps in mapped]
    if len(layers) == 1:
        return layers[0]
    if entry.fusion == "product":
        views = [[one.clamp(min=0) for one in view] for view in zip(*layers, strict=True)]
        return [fuse(view, "product", "picture", boxes) for view in views]
    if parts and not entry.classless:
        most = max(maps[0].numel() for maps in layers)
        scales = [most / maps[0].numel() / len(layers) for maps in layers]  # evidence an area, and a sum
    else:
        means = [merge(torch.stack(maps))[0] if len(maps) > 1 else maps[0] for maps in layers]
        scales = [one or 1.0 for one in full_colour_values(means, "picture", entry.signed)]
    return [
        fuse([one / scale for one, scale in zip(view, scales, strict=True)], boxes=boxes)
        for view in zip(*layers, strict=True)
    ]
