"""One batch of images through a model: explanations out, whatever its memory allows."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch

from camlucida.errors import ModelError, NotFinite, is_out_of_memory
from camlucida.findings import Finding, memory_ended, under_autocast
from camlucida.heatmaps.examine import findings_by_image
from camlucida.heatmaps.smoothing import VIEWS
from camlucida.models.inputs import ModelInput, denormalised_pixels
from camlucida.pipeline.batch_maps import BatchMaps, batch_maps
from camlucida.pipeline.explanation import Explanation
from camlucida.pipeline.job import BatchJob
from camlucida.pipeline.prepared_model import PreparedModel
from camlucida.pipeline.provenance import Provenance, versions
from camlucida.targets.resolve import caption_of


def explain_batch(model: PreparedModel, job: BatchJob, batch_size: int) -> list[Explanation]:
    """The explanations in the order images × layers × methods × targets.

    ``batch_size`` counts the model's inputs, so that the six views of an image may be run in parts. Where
    memory ends the batch is halved, and views are run one by one at last; a model that takes one input at a
    time gets them so. An image for which the model returns NaN gets a map of NaN with that finding.

    Raises:
        ModelError: one input is more than the device's memory.
        NotFinite: the model returns NaN for all images.
    """
    single = model.readers(job.inputs[0].tensor).single
    if single and len(job.inputs) > 1:
        return [one for part in job.split(1) for one in explain_batch(model, part, batch_size)]
    job = _with_autocast(job)
    at_once = 1 if single else batch_size if job.aug and batch_size < VIEWS else None
    found, failed = _tried(model, job, at_once)
    if isinstance(failed, NotFinite):
        return _around(model, job, failed, batch_size)
    if failed is not None and len(job.inputs) > 1:
        halves = job.noted(memory_ended("fewer pictures")).split(-(-len(job.inputs) // 2))
        return [one for half in halves for one in explain_batch(model, half, batch_size)]
    if failed is not None and job.aug and at_once != 1:
        job = job.noted(memory_ended("fewer views"))
        found, failed = _tried(model, job, 1)
    if found is None:
        raise ModelError(
            "one picture needs more memory than this device has: use a smaller model, or another device"
        )
    with torch.inference_mode(False):  # so that maps can be written to afterwards
        return _explanations(model, job, found)


def _with_autocast(job: BatchJob) -> BatchJob:
    kind = job.inputs[0].tensor.device.type
    if not torch.is_autocast_enabled(kind):
        return job
    return job.noted(under_autocast(str(torch.get_autocast_dtype(kind)).removeprefix("torch.")))


def _tried(
    model: PreparedModel, job: BatchJob, at_once: int | None
) -> tuple[BatchMaps | None, BaseException | None]:
    """The arrays, or why there are none; what the failed try held in memory is let go before the next."""
    try:
        return batch_maps(model, job, at_once), None
    except NotFinite as error:
        return None, error.with_traceback(None)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, MemoryError()


def _around(model: PreparedModel, job: BatchJob, failed: NotFinite, batch_size: int) -> list[Explanation]:
    """The explanations of the other images, and maps of NaN for those of the failed rows."""
    step = VIEWS if job.aug else 1
    bad = {row // step for row in failed.rows}
    if len(bad) == len(job.inputs):
        raise failed
    explanations = []
    for i, part in enumerate(job.split(1)):
        explanations += not_finite(model, part) if i in bad else explain_batch(model, part, batch_size)
    return explanations


def not_finite(model: PreparedModel, job: BatchJob) -> list[Explanation]:
    """Maps of NaN for the images of ``job``, with the finding that says so."""
    advice = (
        "check its weights, its dtype (half precision overflows in some models) and the input's normalisation"
    )
    finding = Finding("not-finite", "the model returns NaN for this picture", advice)
    request = job.request
    whole = range(len(job.layers)), range(len(request.methods)), range(len(request.targets))
    return [
        Explanation(
            heatmap=torch.full((1, 1), float("nan")),
            index=None,
            label=None,
            score=float("nan"),
            probability=None,
            provenance=_provenance(model, job, {}, (layer, m), one),
            frame=one.frame,
            shown=one.picture or denormalised_pixels(one.tensor.nan_to_num(), model.adapter),
            source=one.source,
            findings=(finding,),
            picture_id=one.name,
        )
        for one in job.inputs
        for layer, m, _ in product(*whole)
    ]


def _explanations(model: PreparedModel, job: BatchJob, found: BatchMaps) -> list[Explanation]:
    """A view of each row of the batch's arrays."""
    adapter, count = model.adapter, len(job.inputs)
    findings = {key: findings_by_image(maps.flags, count) for key, maps in found.maps.items()}
    explanations = []
    for i, one in enumerate(job.inputs):
        drawn_on = one.picture or denormalised_pixels(one.tensor, adapter)
        for layer, m in product(range(len(job.layers)), range(len(job.request.methods))):
            provenance = _provenance(model, job, found.layouts, (layer, m), one)
            layer_findings = _layer_findings(job, layer, m)
            for t, row in enumerate(found.bound):
                maps = found.maps[layer, m, t]
                own = (*one.findings, *findings[layer, m, t][i], *layer_findings, *job.findings)
                explanations.append(
                    Explanation(
                        heatmap=maps.heatmaps[i].clone(),
                        index=row[i].index,
                        label=adapter.label(row[i].index),
                        score=found.scores[t][i],
                        probability=found.probabilities[t][i],
                        provenance=provenance,
                        frame=replace(one.frame, cells=maps.cells),
                        shown=drawn_on,
                        source=one.source,
                        target=caption_of(row[i], adapter.labels),
                        spread=None if maps.spreads is None else maps.spreads[i].clone(),
                        findings=own,
                        picture_id=one.name,
                    )
                )
    return explanations


def _layer_findings(job: BatchJob, layer: int, m: int) -> tuple[Finding, ...]:
    """What there is to know of the layers that a method looks at, if it looks at any."""
    names = job.layers[layer] if job.request.methods[m][0].scope == "layer" else ()
    return tuple(dict.fromkeys(finding for name in names for finding in job.layer_findings.get(name, ())))


def _provenance(
    model: PreparedModel, job: BatchJob, layouts: dict[str, str], which: tuple[int, int], one: ModelInput
) -> Provenance:
    layer, m = which
    method, options = job.request.methods[m]
    names = job.layers[layer]
    whole = method.scope == "network"
    return Provenance(
        model=model.adapter.name,
        weights=model.adapter.weights,
        layer="all layers" if whole else "+".join(names),
        layout="input" if whole else " + ".join(layouts.get(name, "unknown") for name in names),
        method=method.name,
        options=options,
        smooth=job.request.smooth,
        preprocess="none" if one.picture is None else model.preprocess_name,
        preprocessing={} if one.picture is None else model.adapter.preprocess.recipe.facts(),
        versions=versions(),
    )
