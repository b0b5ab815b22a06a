"""The arrays of one batch: maps, scores, probabilities and findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camlucida.capture.capture import capturing
from camlucida.capture.captures import BatchCapture, OutputReaders
from camlucida.capture.extra_inputs import rows_in_batch
from camlucida.findings import saturated
from camlucida.heatmaps.examine import Flag, findings_by_image
from camlucida.heatmaps.smoothing import VIEWS
from camlucida.models.adapter import Adapter
from camlucida.models.labels import check_count
from camlucida.pipeline.job import BatchJob
from camlucida.pipeline.maps import LayerMaps, MapKey, combine_layers, host_copies, maps_of, on_host
from camlucida.pipeline.prepared_model import PreparedModel
from camlucida.targets.base import Bound, ClassProbability, Contrast, Target
from camlucida.targets.probabilities import probabilities


@dataclass(frozen=True)
class BatchMaps:
    """What came of a batch, on the CPU, a row for each image.

    ``maps`` are by layer, method and target of the request. ``bound[t][i]`` is target t as fixed for image i,
    ``scores[t][i]`` its value, and ``probabilities[t][i]`` that of the class it speaks of, None where there is
    none. ``layouts`` are by layer name.
    """

    maps: dict[MapKey, LayerMaps]
    bound: list[list[Bound]]
    scores: list[list[float]]
    probabilities: list[list[float | None]]
    layouts: dict[str, str]

    def findings(self, key: MapKey) -> tuple[tuple[str, ...], ...]:
        """The codes of the findings of a map, for each image."""
        rows = findings_by_image(self.maps[key].flags, len(self.maps[key].heatmaps))
        return tuple(tuple(finding.code for finding in row) for row in rows)


@dataclass(frozen=True)
class _Fixed:
    """A target that is bound already, by the plain view that was run before."""

    bound: Bound

    def bind(self, outputs: Tensor, row: int) -> Bound:
        """Whatever the outputs are."""
        del outputs, row
        return self.bound


def batch_maps(model: PreparedModel, job: BatchJob, at_once: int | None = None) -> BatchMaps:
    """The arrays of the job's batch.

    ``at_once`` runs the views of a single image in parts of at most so many.

    Raises:
        NotFinite: the model returns NaN for an image.
        OptionError: the user's labels are too few or too many.
    """
    tensors, targets = job.tensors(), job.targets(model.adapter.activation)
    readers = model.readers(tensors[0])
    readers = replace(readers, parts=frozenset(name for part in job.parts for name in part))
    if at_once is None:
        numbers = [one.number for one in job.inputs for _ in range(len(tensors) // len(job.inputs))]
        by_layer, capture = _captured(model, job, (tensors, targets, numbers), readers)
    else:
        by_layer, capture = _in_parts(model, job, (tensors, targets), readers, at_once)
    if model.adapter.labels_given and model.adapter.labels is not None:
        check_count(model.adapter.labels, capture.outputs.shape[1])
    with torch.inference_mode(False), torch.no_grad():  # whatever the caller's mode is
        maps = {
            (layer, m, t): combine_layers(
                [by_layer[job.names.index(name), m, t] for name in names], method, job.aug, names in job.parts
            )
            for layer, names in enumerate(job.layers)
            for m, (method, _) in enumerate(job.request.methods)
            for t in range(len(job.request.targets))
        }
        return _arrays(model.adapter, job, on_host(maps), capture)


def _captured(
    model: PreparedModel,
    job: BatchJob,
    batch: tuple[list[Tensor], list[list[Target]], list[int]],
    readers: OutputReaders,
) -> tuple[dict[MapKey, LayerMaps], BatchCapture]:
    """The maps of each layer for one run of the model, and its capture without what only methods need."""
    tensors, targets, numbers = batch
    with (
        rows_in_batch(numbers),
        capturing(model.adapter.module, tensors, job.names, targets, readers, job.request.needs) as capture,
    ):
        maps = maps_of(capture, job.request.methods, job.target_rows, "eigen" in job.request.smooth)
    return maps, replace(capture, captured=[], findings=lambda *_: ())


def _in_parts(
    model: PreparedModel,
    job: BatchJob,
    batch: tuple[list[Tensor], list[list[Target]]],
    readers: OutputReaders,
    at_once: int,
) -> tuple[dict[MapKey, LayerMaps], BatchCapture]:
    """The same for the views of one image, in parts; the first one, with the plain view, fixes the targets."""
    tensors, targets = batch
    assert len(job.inputs) == 1
    parts: list[dict[MapKey, LayerMaps]] = []
    first: BatchCapture | None = None
    for start in range(0, len(tensors), at_once):
        part = tensors[start : start + at_once]
        own = targets
        if first is not None:
            own = [[_Fixed(row[0]) for _ in part] for row in first.bound]
        numbers = [job.inputs[0].number] * len(part)
        maps, capture = _captured(model, job, (part, [row[: len(part)] for row in own], numbers), readers)
        parts.append(maps)
        first = first or capture
    assert first is not None
    whole = {
        key: replace(maps, heatmaps=torch.cat([part[key].heatmaps for part in parts]))
        for key, maps in parts[0].items()
    }
    return whole, first


def _arrays(adapter: Adapter, job: BatchJob, maps: dict[MapKey, LayerMaps], capture: BatchCapture) -> BatchMaps:
    step = VIEWS if job.aug else 1  # an image's plain view is its first
    count = len(job.request.targets)
    bound = [row[::step] for row in capture.bound[:count]]
    outputs, *scores = host_copies(
        [capture.outputs[::step], *(row.detach()[::step] for row in capture.scores[:count])]
    )
    score_rows = [row.tolist() for row in scores]
    known = None
    if adapter.outputs != "embedding":
        known = probabilities(outputs, adapter.activation, capture.last)
    table = None if known is None else known.tolist()
    by_target = [[_probability(one, i, table) for i, one in enumerate(row)] for row in bound]
    layouts = dict(zip(job.names, map(str, capture.layouts), strict=False))
    flagged = {
        key: replace(one, flags=(*one.flags, *_saturated(job, key, bound[key[2]], score_rows[key[2]])))
        for key, one in maps.items()
    }
    return BatchMaps(flagged, bound, score_rows, by_target, layouts)


def _probability(bound: Bound, row: int, table: Sequence[Sequence[float]] | None) -> float | None:
    """The probability of the class that a target speaks of; None for a contrast of two."""
    if table is None or bound.index is None or isinstance(bound, Contrast):
        return None
    return table[row][bound.index]


def _saturated(job: BatchJob, key: MapKey, bound: Sequence[Bound], scores: Sequence[float]) -> list[Flag]:
    """Findings for probabilities that are next to one, by which a class's map depends on noise."""
    if job.request.methods[key[1]][0].classless:
        return []
    return [
        (finding, torch.arange(len(bound)) == i)
        for i, (one, score) in enumerate(zip(bound, scores, strict=True))
        if isinstance(one, ClassProbability)
        for finding in saturated(score)
    ]
