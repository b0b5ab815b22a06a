"""One forward and one short backward per target: everything that methods need of a model.

Everything before the layers of interest is free: with parameters frozen while the model is borrowed, autograd
records from the layers' outputs to the logits only, unless a method needs the gradient of the input as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from camlucida.capture.bias_terms import BiasWatch
from camlucida.capture.borrow import borrowed
from camlucida.capture.captures import BatchCapture, LayerCapture, OutputReaders
from camlucida.capture.chunks import one_at_a_time
from camlucida.capture.derivatives import LARGEST, VariantGradients, double_backward, hessian_product
from camlucida.capture.gradients import check_finite, full_precision, gradients_of, reached
from camlucida.capture.hooks import record_outputs, single_output
from camlucida.capture.logits import check_rows
from camlucida.capture.recording import recorded
from camlucida.capture.strides import striding
from camlucida.capture.variants import VariantRunner
from camlucida.images import size_of
from camlucida.targets.probabilities import last_activation

if TYPE_CHECKING:
    from camlucida.capture.custom_layout import CustomLayout
    from camlucida.capture.layout import Layout
    from camlucida.findings import Finding
    from camlucida.targets.base import Target
    from camlucida.types import (
        Activations,
        VariantGradients,
    )

ALL_GRADIENTS = frozenset(("gradients",))


@contextmanager
def capturing(
    module: nn.Module,
    pictures: Sequence[Tensor] | Tensor,
    layers: Sequence[str],
    targets: Sequence[Sequence[Target]],
    reading: OutputReaders,
    needs: frozenset[str] = ALL_GRADIENTS,
) -> Iterator[BatchCapture]:
    """Run ``module`` once on a batch of ``pictures`` and record what is needed; it stays borrowed inside.

    Each picture is (channels, height, width), all of one size; ``targets[t][i]`` is target t for picture i.
    ``needs`` are fields of ``Captured``. Half-precision tensors are returned as float32.

    Raises:
        LayerError: a layer does not run exactly once, or the score does not depend on it.
        ModelError: the model returns NaN.
    """
    with borrowed(module):
        with recorded(module, layers if "resume" in needs else (), len(pictures)) as recordings:
            caught = _run(module, pictures, (layers, targets), reading, needs)
        shared: dict[str, Any] = {}
        if "scores" in needs:
            shared["scores"] = torch.stack(caught.scores, dim=1)
        if needs & {"inputs", "score", "bias_terms", "variant_gradients"}:
            shared["inputs"] = torch.stack(list(pictures)).detach()
        read = (caught.outputs, caught.bound)
        runs = [
            VariantRunner(module, pictures, read, reading.logits_of, recording, reading.single)
            for _, recording in zip_longest(layers, recordings)
        ]
        variants = [
            VariantGradients(
                module, name, layout, caught.bound, reading.logits_of, one_at_a_time(reading.single, LARGEST)
            )
            for name, layout in zip(layers, caught.layouts, strict=True)
        ]
        captured = []
        for run, variant, row in zip(runs, variants, caught.captured, strict=True):
            calls: dict[str, Any] = {"score": run.score, "variant_gradients": variant.variant_gradients}
            calls["resume"] = partial(run.resume, variant.layout)
            calls = {name: call for name, call in calls.items() if name in needs}
            captured.append([replace(one, **shared, **calls) for one in row])

        def findings(layer: int, needed: Sequence[str], picture: int) -> tuple[Finding, ...]:
            return (*runs[layer].findings(needed, picture), *variants[layer].findings(needed))

        yield replace(caught, captured=captured, findings=findings)


def _run(
    module: nn.Module,
    pictures: Sequence[Tensor] | Tensor,
    asked: tuple[Sequence[str], Sequence[Sequence[Target]]],
    reading: OutputReaders,
    needs: frozenset[str],
) -> BatchCapture:
    """The borrowed module's one forward, and the backward of each target."""
    layers, targets = asked
    whole, curved = "bias_terms" in needs, "hessian_products" in needs
    recording = whole or curved or "gradients" in needs
    watch = BiasWatch(module) if whole else None
    with (
        torch.set_grad_enabled(recording),
        record_outputs(module, layers) as taps,
        striding(module, size_of(pictures[0]), len(pictures), reading.strides) as strides,
    ):
        # A copy, since some models normalise their input in place, and gone before a short backward.
        inputs = [torch.stack([picture.detach() for picture in pictures]).requires_grad_(whole)]
        with watch or nullcontext(), double_backward(curved):
            outputs = reading.logits_of(module(inputs[0].clone() if whole else inputs.pop()))
        kept = [single_output(name, tensors, len(pictures)) for name, tensors in taps.items()]
        check_rows(outputs, len(pictures))
        check_finite(module, outputs)
        bound = [[target.bind(outputs, i) for i, target in enumerate(row)] for row in targets]
        scores = [torch.cat([b(outputs[i : i + 1]) for i, b in enumerate(row)]) for row in bound]
    rows = [_read(reading, name, tensor) for name, tensor in zip(layers, kept, strict=True)]
    wanted = [*kept, *inputs, *(one.edge for one in (watch.found if watch else []))] if recording else []
    by_target: list[list[LayerCapture]] = []
    for t, score in enumerate(scores):
        gradients = gradients_of(score, wanted, t < len(scores) - 1, curved) or [None] * len(kept)
        if "gradients" in needs:
            gradients = reached(layers, kept, gradients, reading.parts)
        extra = _whole(watch, gradients[len(kept) :], reading) if watch else {}
        by_target.append([_captured(*pair, extra, curved) for pair in zip(rows, gradients, strict=False)])
    return BatchCapture(
        outputs.detach(),
        bound,
        [score.detach() for score in scores],
        [row.layout for row in rows],
        [list(row) for row in zip(*by_target, strict=True)],
        last=last_activation(outputs),
        cells=strides.cells,
        names=tuple(layers),
    )


class _Row(NamedTuple):
    """A layer, what it returned, how that is read, and as maps."""

    name: str
    kept: Tensor
    layout: Layout | CustomLayout
    activations: Activations


def _read(reading: OutputReaders, name: str, kept: Tensor) -> _Row:
    layout = reading.layout_of(name, kept)
    return _Row(name, kept, layout, _maps(layout, kept.detach()))


def _captured(row: _Row, gradient: Tensor | None, extra: dict[str, Any], curved: bool) -> LayerCapture:
    """The capture of one layer for one target, whose gradient is ``gradient``."""
    if curved:
        product = hessian_product(row.name, row.kept, gradient, row.layout)
        extra = {**extra, "hessian_products": _maps(row.layout, product)}
    gradients = None if gradient is None else _maps(row.layout, gradient.detach())
    return LayerCapture(row.activations, gradients, **extra)


def _whole(watch: BiasWatch, gradients: Sequence[Tensor | None], reading: OutputReaders) -> dict[str, Any]:
    """The input's gradient, and the bias terms that have positions, as maps."""
    terms, unplaced = [], watch.unseen
    for one, gradient in zip(watch.found, gradients[1:], strict=True):
        if gradient is None:
            continue
        of_pictures = gradients[0] is not None and len(gradient) == len(gradients[0])  # and not of windows
        layout = reading.grid_of(gradient, one.channels_last) if of_pictures else None
        if layout is not None:
            terms.append(_maps(layout, one.term(gradient)))
        elif gradient.numel() > len(gradient) * one.bias.numel():  # else it has no positions
            unplaced += 1
    own = None if gradients[0] is None else full_precision(gradients[0].detach())
    return {"input_gradients": own, "bias_terms": tuple(terms), "unplaced": unplaced}


def _maps(layout: Layout | CustomLayout, tensor: Tensor) -> Tensor:
    return full_precision(layout.to_maps(tensor))
