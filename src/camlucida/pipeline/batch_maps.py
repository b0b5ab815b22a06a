"""The maps of one batch: captured at once, or one input at a time where the model or memory wants it so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from camlucida.capture.capture import BatchCapture, OutputReaders, capturing
from camlucida.capture.extra_inputs import rows_in_batch
from camlucida.heatmaps.smoothing import VIEWS, AnchoredTarget
from camlucida.models.adapter import Adapter
from camlucida.pipeline.job import BatchJob
from camlucida.pipeline.maps import LayerMap, MapKey, combine_layers, maps_of
from camlucida.targets.base import Bound, Target


@dataclass(frozen=True)
class PreparedModel:
    """A model to be explained. ``reading`` says how its numbers are read for an input like the one given."""

    adapter: Adapter
    preprocess_name: str
    reading: Callable[[Tensor], OutputReaders]


@dataclass(frozen=True)
class _Fixed:
    """A target that is bound already, by the plain view that was run before."""

    bound: Bound

    def bind(self, outputs: Tensor, picture: int) -> Bound:
        """Whatever the outputs are."""
        del outputs, picture
        return self.bound


def batch_maps(
    ready: PreparedModel, work: BatchJob, one_by_one: bool
) -> tuple[dict[MapKey, list[LayerMap]], BatchCapture]:
    """The maps by layer asked for, method and target, and the capture that they come from.

    ``one_by_one`` runs each view of a picture by itself; the capture is then that of the plain view.
    """
    tensors, targets = work.inputs(ready.adapter.activation)
    reading = replace(ready.reading(tensors[0]), parts=frozenset(name for part in work.parts for name in part))
    numbers = [one.number for one in work.pictures for _ in range(len(tensors) // len(work.pictures))]
    if one_by_one:
        single, caught = _views_one_by_one(ready, work, (tensors, targets), reading)
    else:
        with (
            rows_in_batch(numbers),
            capturing(ready.adapter.module, tensors, work.names, targets, reading, work.needs) as caught,
        ):
            single = maps_of(caught, work.methods, work.target_rows, "eigen" in work.smooth)
    with torch.inference_mode(False), torch.no_grad():  # whatever the caller's mode is
        maps = {
            (place, m, t): combine_layers(
                [single[work.names.index(name), m, t] for name in layer],
                entry,
                "aug" in work.smooth,
                layer in work.parts,
            )
            for place, layer in enumerate(work.layers)
            for m, (entry, _) in enumerate(work.methods)
            for t in range(len(work.targets))
        }
    return maps, caught


def _views_one_by_one(
    ready: PreparedModel,
    work: BatchJob,
    inputs: tuple[list[Tensor], list[list[Target]]],
    reading: OutputReaders,
) -> tuple[dict[MapKey, list[LayerMap]], BatchCapture]:
    """The same for the one picture of ``work``, each of its views by itself; targets are bound by the first."""
    tensors, targets = inputs
    assert len(work.pictures) == 1
    maps: dict[MapKey, list[LayerMap]] = {}
    first: BatchCapture | None = None
    for view, tensor in enumerate(tensors):
        own: list[list[Target]] = [
            [_Fixed(first.bound[t][0]) if first else _plain(row[view])] for t, row in enumerate(targets)
        ]
        with (
            rows_in_batch([work.pictures[0].number]),
            capturing(ready.adapter.module, [tensor], work.names, own, reading, work.needs) as caught,
        ):
            for key, found in maps_of(caught, work.methods, work.target_rows, "eigen" in work.smooth).items():
                maps.setdefault(key, []).extend(found)
            first = first or replace(caught, captured=[], findings=lambda *_: ())
    assert first is not None
    assert len(tensors) in (1, VIEWS)
    return maps, first


def _plain(target: Target) -> Target:
    return target.target if isinstance(target, AnchoredTarget) else target
