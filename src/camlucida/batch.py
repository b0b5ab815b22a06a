"""One batch of pictures through a model that is ready: Explanations out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch

from camlucida.capture import Capture, Reading, capturing
from camlucida.errors import ModelError, is_out_of_memory
from camlucida.explanation import Explanation, Provenance, versions
from camlucida.health import Finding
from camlucida.models.adapter import Adapter
from camlucida.models.labels import check_count
from camlucida.pipeline import Key, Mapped, maps_of, merged
from camlucida.prepare import Prepared, visible
from camlucida.smoothing import VIEWS
from camlucida.work import Work


@dataclass(frozen=True)
class Ready:
    """A model to be explained. ``reading`` says how its numbers are read for an input like the one given."""

    adapter: Adapter
    preprocess_name: str
    reading: Callable[[torch.Tensor], Reading]


def explain_batch(ready: Ready, work: Work) -> list[Explanation]:
    """The explanations in the order pictures × layers × methods × targets; where memory ends, by halves.

    Raises:
        ModelError: memory ends at one picture.
    """
    try:
        maps, caught = _maps(ready, work)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(work.pictures) == 1:
            raise ModelError(
                "one picture is more than this device's memory: use a smaller model, or another device"
            ) from None
        return [one for half in work.halves() for one in explain_batch(ready, half)]
    if ready.adapter.labels_given and ready.adapter.labels is not None:
        check_count(ready.adapter.labels, caught.outputs.shape[1])
    step = VIEWS if "aug" in work.smooth else 1  # a picture's plain view is its first
    probabilities = caught.outputs.float().softmax(dim=1)[::step]
    explanations = []
    for i, one in enumerate(work.pictures):
        drawn_on = one.picture or visible(one.tensor, ready.adapter)
        for place, m in product(range(len(work.layers)), range(len(work.methods))):
            provenance = _provenance(ready, work, caught, (place, m), one)
            for t, row in enumerate(caught.bound[: len(work.targets)]):
                index = row[i * step].index
                mapped = maps[place, m, t][i]
                explanations.append(
                    Explanation(
                        heatmap=mapped.heatmap,
                        index=index,
                        label=ready.adapter.label(index),
                        score=float(caught.scores[t][i * step]),
                        probability=_probability(probabilities[i], index),
                        provenance=provenance,
                        frame=one.frame,
                        shown=drawn_on,
                        source=one.source,
                        spread=mapped.spread,
                        notes=(*one.notes, *mapped.notes, *_layer_notes(work, place, m), *work.notes),
                    )
                )
    return explanations


def _maps(ready: Ready, work: Work) -> tuple[dict[Key, list[Mapped]], Capture]:
    """The maps by layer asked for, method and target, and the capture that they come from."""
    tensors, targets = work.inputs()
    reading = ready.reading(tensors[0])
    with capturing(ready.adapter.module, tensors, work.names, targets, reading, work.needs) as caught:
        single = maps_of(caught, work.methods, work.aims, "eigen" in work.smooth)
    with torch.inference_mode(False), torch.no_grad():  # whatever the caller's mode is
        maps = {
            (place, m, t): merged(
                [single[work.names.index(name), m, t] for name in layer], entry, "aug" in work.smooth
            )
            for place, layer in enumerate(work.layers)
            for m, (entry, _) in enumerate(work.methods)
            for t in range(len(work.targets))
        }
    return maps, caught


def _probability(probabilities: torch.Tensor, index: int | None) -> float | None:
    """That of a class, of a softmax (classes,); a single output has none, nor have classes at each place."""
    none = index is None or probabilities.ndim != 1 or len(probabilities) == 1
    return None if none else float(probabilities[index])


def _layer_notes(work: Work, place: int, m: int) -> tuple[Finding, ...]:
    """What there is to know of the layers that a method looks at, if it looks at any."""
    names = work.layers[place] if "activations" in work.methods[m][0].needs else ()
    return tuple(dict.fromkeys(note for name in names for note in work.layer_notes.get(name, ())))


def _provenance(ready: Ready, work: Work, caught: Capture, which: tuple[int, int], one: Prepared) -> Provenance:
    place, m = which
    entry, settings = work.methods[m]
    layouts = [str(caught.layouts[work.names.index(name)]) for name in work.layers[place]]
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
        versions=versions(),
    )
