"""One batch of pictures through a model that is ready: Explanations out."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch

from camlucida.capture.capture import BatchCapture
from camlucida.errors import ModelError, NotFinite, is_out_of_memory
from camlucida.findings import Finding, memory_ended, under_autocast
from camlucida.heatmaps.smoothing import VIEWS
from camlucida.models.inputs import ModelInput, denormalised_pixels
from camlucida.models.labels import check_count
from camlucida.pipeline.batch_maps import PreparedModel, batch_maps
from camlucida.pipeline.explanation import Explanation
from camlucida.pipeline.job import BatchJob
from camlucida.pipeline.maps import LayerMap, MapKey
from camlucida.pipeline.provenance import Provenance, versions
from camlucida.targets.base import Contrast
from camlucida.targets.probabilities import probabilities
from camlucida.targets.resolve import said


def explain_batch(ready: PreparedModel, work: BatchJob) -> list[Explanation]:
    """The explanations in the order pictures × layers × methods × targets.

    Where memory ends by halves, and by views at last; one by one where the model takes a single picture. A
    picture for which the model returns NaN gets a map of NaN with that finding, beside others.

    Raises:
        ModelError: memory ends at one picture.
        NotFinite: the model returns NaN for all of them.
    """
    single = ready.reading(work.pictures[0].tensor).single
    if single and len(work.pictures) > 1:
        return [one for part in work.split(1) for one in explain_batch(ready, part)]
    kind = work.pictures[0].tensor.device.type
    if torch.is_autocast_enabled(kind):
        dtype = str(torch.get_autocast_dtype(kind)).removeprefix("torch.")
        work = _noted(work, under_autocast(dtype))
    found, failed = _tried(ready, work, single)
    if isinstance(failed, NotFinite):
        return _without(ready, work, failed)
    if failed is not None and len(work.pictures) > 1:
        smaller = _noted(work, memory_ended("fewer pictures"))
        halves = smaller.split(-(-len(work.pictures) // 2))
        return [one for half in halves for one in explain_batch(ready, half)]
    if failed is not None and not single:  # the views of one picture are a batch as well
        work = _noted(work, memory_ended("fewer views"))
        found, failed = _tried(ready, work, one_by_one=True)
    if found is None:
        raise ModelError(
            "one picture is more than this device's memory: use a smaller model, or another device"
        )
    return _explanations(ready, work, *found)


def _noted(work: BatchJob, note: Finding) -> BatchJob:
    """The work with a finding for all of its maps, once."""
    return replace(work, findings=tuple(dict.fromkeys((*work.findings, note))))


def _tried(
    ready: PreparedModel, work: BatchJob, one_by_one: bool
) -> tuple[tuple[dict[MapKey, list[LayerMap]], BatchCapture] | None, BaseException | None]:
    """The maps, or why there are none; what the failed try held in memory is let go before the next."""
    try:
        return batch_maps(ready, work, one_by_one), None
    except NotFinite as error:
        return None, error.with_traceback(None)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, MemoryError()


def _without(ready: PreparedModel, work: BatchJob, failed: NotFinite) -> list[Explanation]:
    """The explanations of the other pictures, and maps of NaN for those of the failed rows."""
    step = VIEWS if "aug" in work.smooth else 1
    bad = {row // step for row in failed.rows}
    if len(bad) == len(work.pictures):
        raise failed
    explanations = []
    for i, part in enumerate(work.split(1)):
        explanations += not_finite(ready, part) if i in bad else explain_batch(ready, part)
    return explanations


def not_finite(ready: PreparedModel, work: BatchJob) -> list[Explanation]:
    """Maps of NaN for the one picture of ``work``, with the finding that says so."""
    one = work.pictures[0]
    found = "the model returns NaN for this picture"
    advice = (
        "check its weights, its dtype (half precision overflows in some models) and the input's normalisation"
    )
    whole = BatchCapture(torch.empty(1, 0), [], [], [], [])
    return [
        Explanation(
            heatmap=torch.full((1, 1), float("nan")),
            index=None,
            label=None,
            score=float("nan"),
            probability=None,
            provenance=_provenance(ready, work, whole, (place, m), one),
            frame=one.frame,
            shown=one.picture or denormalised_pixels(one.tensor.nan_to_num(), ready.adapter),
            source=one.source,
            findings=(Finding("not-finite", found, advice),),
        )
        for place, m, _ in product(range(len(work.layers)), range(len(work.methods)), range(len(work.targets)))
    ]


def _explanations(
    ready: PreparedModel, work: BatchJob, maps: dict[MapKey, list[LayerMap]], caught: BatchCapture
) -> list[Explanation]:
    if ready.adapter.labels_given and ready.adapter.labels is not None:
        check_count(ready.adapter.labels, caught.outputs.shape[1])
    step = len(caught.outputs) // len(work.pictures)  # a picture's plain view is its first
    outputs = caught.outputs[::step]
    known = probabilities(outputs, ready.adapter.activation, caught.last)
    if ready.adapter.outputs == "embedding":
        known = None
    explanations = []
    for i, one in enumerate(work.pictures):
        drawn_on = one.picture or denormalised_pixels(one.tensor, ready.adapter)
        names = [said(row[i * step], ready.adapter.labels) for row in caught.bound[: len(work.targets)]]
        for place, m in product(range(len(work.layers)), range(len(work.methods))):
            provenance = _provenance(ready, work, caught, (place, m), one)
            for t, row in enumerate(caught.bound[: len(work.targets)]):
                bound, index = row[i * step], row[i * step].index
                of_one = known is not None and index is not None and not isinstance(bound, Contrast)
                mapped = maps[place, m, t][i]
                explanations.append(
                    Explanation(
                        heatmap=mapped.heatmap,
                        index=index,
                        label=ready.adapter.label(index),
                        score=float(caught.scores[t][i * step]),
                        probability=float(known[i, index]) if known is not None and of_one else None,
                        provenance=provenance,
                        frame=replace(one.frame, cells=mapped.cells),
                        shown=drawn_on,
                        source=one.source,
                        target=names[t],
                        spread=mapped.spread,
                        findings=(
                            *one.findings,
                            *mapped.findings,
                            *_layer_notes(work, place, m),
                            *work.findings,
                        ),
                    )
                )
    return explanations


def _layer_notes(work: BatchJob, place: int, m: int) -> tuple[Finding, ...]:
    """What there is to know of the layers that a method looks at, if it looks at any."""
    names = work.layers[place] if "activations" in work.methods[m][0].needs else ()
    return tuple(dict.fromkeys(note for name in names for note in work.layer_findings.get(name, ())))


def _provenance(
    ready: PreparedModel, work: BatchJob, caught: BatchCapture, which: tuple[int, int], one: ModelInput
) -> Provenance:
    place, m = which
    entry, settings = work.methods[m]
    known = dict(zip(work.names, caught.layouts, strict=False))
    layouts = [str(known[name]) if name in known else "unknown" for name in work.layers[place]]
    whole = "activations" not in entry.needs
    return Provenance(
        model=ready.adapter.name,
        weights=ready.adapter.weights,
        layer="all layers" if whole else "+".join(work.layers[place]),
        layout="input" if whole else " + ".join(layouts),
        method=entry.name,
        options=settings,
        smooth=work.smooth,
        preprocess="none" if one.picture is None else ready.preprocess_name,
        preprocessing={} if one.picture is None else ready.adapter.preprocess.recipe.facts(),
        versions=versions(),
    )
