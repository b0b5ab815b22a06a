"""Every layer of a model: its outputs, and how the score depends on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from camlucida.capture.borrow import borrowed
from camlucida.capture.layout import Layout
from camlucida.capture.random_draws import DrawWatch
from camlucida.images import Size, size_of
from camlucida.layers.paths import Graph, Numbered, Paths
from camlucida.layers.run_mode import RUN_MODES, Refused, RunMode, base_input, refusal, run_model
from camlucida.layers.shape_layouts import layouts_of
from camlucida.layers.trace import CallRecord, Shape, traced

BATCH = 2

Logits = Callable[[Any], Tensor]


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer, and how the score depends on it.

    ``value_ids`` number its outputs, ``takes`` its inputs: equal numbers mean equal values. ``finished_before``
    counts the calls that had finished when this one began. ``layouts`` are those that the shape of its one
    output allows. ``paths`` counts the paths from the logits to the input that run through its output, or,
    for a normalisation, through its input; ``edge`` is that tensor's edge in autograd's graph. ``parameters``
    is its share of the model's parameters. ``hidden`` says why its output cannot be read, or is empty.
    """

    name: str
    module: str  # its type
    shapes: tuple[Shape, ...]
    value_ids: tuple[int, ...]
    takes: tuple[int, ...]
    finished_before: int
    calls: int
    layouts: tuple[Layout, ...]
    paths: int
    edge: Numbered | None
    parameters: float
    hidden: str = ""


@dataclass(frozen=True)
class Survey:
    """All calls of layers in the order in which they finished, for an input of one ``size``.

    ``paths`` counts those from the logits to the picture, which ``graph`` has. ``logits`` (classes,) are those
    of the first input shown, and ``run_mode`` is how the model was run; ``drew`` says that it draws random
    numbers.
    """

    layer_calls: tuple[LayerCall, ...]
    paths: int
    graph: Graph
    logits: Tensor
    size: Size
    run_mode: RunMode
    drew: bool

    @property
    def classes(self) -> int:
        return len(self.logits)


def shown(like: Tensor, count: int, run_mode: RunMode) -> Tensor:
    """Inputs (count, channels, height, width) like ``like``; the first is the same whatever ``count``."""
    generator = torch.Generator().manual_seed(3)
    noise = [torch.randn(like.shape, generator=generator, dtype=torch.float64) for _ in range(count)]
    return torch.stack([base_input(like.cpu(), one, run_mode) for one in noise]).to(like)


def survey(module: nn.Module, like: Tensor, logits_of: Logits) -> Survey:
    """Run ``module`` forwards once, on two inputs like ``like`` (channels, height, width), or as it can be run.

    Autograd records which operation leads to which and no tensors, so that it takes little memory.

    Raises:
        ModelError: the model cannot be run.
    """
    why = Refused("", "")
    with borrowed(module), torch.enable_grad():
        for run_mode in RUN_MODES:
            try:
                return _surveyed(module, like, logits_of, run_mode)
            except Refused as refused:
                why = refused
    raise refusal(module, like, why)


def _surveyed(module: nn.Module, like: Tensor, logits_of: Logits, run_mode: RunMode) -> Survey:
    size = size_of(like)
    batch = 1 if run_mode.single else BATCH
    inputs = source = shown(like, batch, run_mode).requires_grad_(True).clone()  # some write to their input
    light = (
        nullcontext() if run_mode.recording else _saving_nothing()
    )  # it may differentiate inside its forward
    with light, DrawWatch(module) as watch, traced(module) as records:
        logits = logits_of(run_model(module, inputs, run_mode))
        paths = Paths(logits, source)
    logits = logits.detach()
    if len(logits) != batch and not run_mode.single:
        raise Refused("nothing", f"it returns {len(logits)} rows for a batch of {batch}")
    if not run_mode.own and not bool(logits.isfinite().all()):
        raise Refused("nothing", "it returns NaN or infinity on noise")
    calls = Counter(record.name for record in records)
    total = max(1, sum(parameter.numel() for parameter in module.parameters()))
    found = layouts_of(records, batch, size)
    layer_calls = [
        _layer_call(record, layouts, paths, (calls[record.name], total))
        for record, layouts in zip(records, found, strict=True)
    ]
    return Survey(
        tuple(layer_calls),
        paths.total,
        paths.graph,
        logits[0].float().cpu(),
        size,
        run_mode,
        watch.drew,
    )


def _saving_nothing() -> AbstractContextManager[None]:
    """While entered, autograd keeps its graph and none of the tensors that a backward would need."""

    def nothing(_: Any) -> Any:
        return None

    return saved_tensors_hooks(nothing, nothing)


def _layer_call(
    record: CallRecord, layouts: Sequence[Layout], paths: Paths, counts: tuple[int, int]
) -> LayerCall:
    calls, total = counts
    edge = _way(record, paths)
    return LayerCall(
        name=record.name,
        module=type(record.module).__name__,
        shapes=tuple(passed.shape for passed in record.returns),
        value_ids=tuple(passed.value_id for passed in record.returns),
        takes=tuple(passed.value_id for passed in record.takes),
        finished_before=record.finished_before,
        calls=calls,
        layouts=tuple(layouts),
        paths=paths.through(edge),
        edge=paths.numbered(edge),
        parameters=sum(parameter.numel() for parameter in record.module.parameters()) / total,
        hidden=record.hidden,
    )


def _way(record: CallRecord, paths: Paths) -> Any:
    """The edge of what the call returns, or of what it takes if it only normalises that.

    A normalisation has vectors for parameters and returns one tensor of the shape that it takes.
    """
    if len(record.returns) != 1:
        return None
    own = record.returns[0].edge
    parameters = list(record.module.parameters())
    if not parameters or len(record.takes) != 1 or record.takes[0].shape != record.returns[0].shape:
        return own
    taken = record.takes[0].edge
    vectors = all(one.numel() == max(one.shape, default=1) for one in parameters)
    return taken if vectors and paths.through(taken) > paths.through(own) else own
