"""Every layer of a model: what it returns, and how the score depends on that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.custody import lent
from camlucida.errors import ModelError, is_out_of_memory
from camlucida.images import Size
from camlucida.layers.graph import Edge, Paths
from camlucida.layers.layout import Layout, readings
from camlucida.layers.trace import Record, Shape, traced

BATCH = 2

Logits = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Place:
    """One call of a layer, for a batch of BATCH pictures, and how the score depends on it.

    ``same`` numbers what it returns: equal numbers mean equal values; ``takes`` has the numbers of what it
    takes, and ``begun`` how many calls had finished before it began. ``layouts`` are those that the shape of
    its one output allows. ``paths`` counts those from the logits to the picture that run through it, or through
    what it takes if it normalises that. ``alive`` is the share of its positions on which the score depends
    where it has ``layouts``, 1 where nothing is known of it. ``parameters`` is its share of the model's.
    """

    name: str
    module: str  # its type
    shapes: tuple[Shape, ...]
    same: tuple[int, ...]
    takes: tuple[int, ...]
    begun: int
    calls: int
    layouts: tuple[Layout, ...]
    paths: int
    alive: float
    parameters: float


@dataclass(frozen=True)
class Survey:
    """All calls of layers in the order in which they finished, for an input of one ``size``.

    ``paths`` counts those from the logits to the picture.
    """

    places: tuple[Place, ...]
    paths: int
    classes: int
    size: Size


def survey(module: nn.Module, like: Tensor, logits_of: Logits) -> Survey:
    """Run ``module`` forwards and backwards once, on two inputs like ``like`` (channels, height, width)."""
    size = (int(like.shape[-2]), int(like.shape[-1]))
    with lent(module), torch.enable_grad():
        try:
            seen = _seen(module, like, logits_of, size, copies=False)
        except RuntimeError as error:
            if "modified by an inplace operation" not in str(error):
                raise
            seen = _seen(module, like, logits_of, size, copies=True)
    records, paths, alive, classes = seen
    calls = Counter(record.name for record in records)
    total = max(1, sum(parameter.numel() for parameter in module.parameters()))
    places = []
    for record in records:
        found = _readings(record, size)
        edge = record.returns[0].edge if found else None
        places.append(
            Place(
                name=record.name,
                module=type(record.module).__name__,
                shapes=tuple(passed.shape for passed in record.returns),
                same=tuple(passed.same for passed in record.returns),
                takes=tuple(passed.same for passed in record.takes),
                begun=record.begun,
                calls=calls[record.name],
                layouts=found,
                paths=_paths(record, paths),
                alive=alive.get(edge, 0.0) if edge else 1.0,
                parameters=sum(parameter.numel() for parameter in record.module.parameters()) / total,
            )
        )
    return Survey(tuple(places), paths.total, classes, size)


def _seen(
    module: nn.Module, like: Tensor, logits_of: Logits, size: Size, copies: bool
) -> tuple[list[Record], Paths, dict[Edge, float], int]:
    """The calls of one forward, the paths through its graph, where its backward arrives, how many classes."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(BATCH, *like.shape, generator=generator, dtype=torch.float64).to(like)
    leaf = noise.requires_grad_(True)
    inputs = source = leaf.clone()  # some models normalise their input in place
    with traced(module, copies) as records:
        logits = logits_of(_run(module, inputs))
    paths = Paths(logits, source)
    weights = torch.randn(logits.shape, generator=generator, dtype=torch.float64).to(logits)
    with _gradients_of([record for record in records if _readings(record, size)]) as alive:
        if logits.requires_grad:
            torch.autograd.grad((logits * weights).sum(), leaf, allow_unused=True)
    return records, paths, alive, logits.shape[1]


def _run(module: nn.Module, inputs: Tensor) -> Any:
    """The model's output; what it raises at the first sight of an input of this kind is said with advice."""
    try:
        return module(inputs)
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise
        size = "×".join(map(str, inputs.shape[1:]))
        raise ModelError(
            f"{type(module).__name__} raises {type(error).__name__} on an input of {size} ({error}): give it "
            "the size and channels that it takes, and what it takes beside the picture by "
            "Explainer(args=…, kwargs=…)"
        ) from error


def _readings(record: Record, size: Size) -> tuple[Layout, ...]:
    return tuple(readings(record.returns[0].shape, BATCH, size)) if len(record.returns) == 1 else ()


def _paths(record: Record, paths: Paths) -> int:
    """Through what the call returns, or through what it takes if it only normalises that.

    A normalisation has vectors for parameters and returns one tensor of the shape that it takes.
    """
    if len(record.returns) != 1:
        return 0
    own = paths.through(record.returns[0].edge)
    parameters = list(record.module.parameters())
    if not parameters or len(record.takes) != 1 or record.takes[0].shape != record.returns[0].shape:
        return own
    vectors = all(one.numel() == max(one.shape, default=1) for one in parameters)
    return max(own, paths.through(record.takes[0].edge)) if vectors else own


@contextmanager
def _gradients_of(records: list[Record]) -> Iterator[dict[Edge, float]]:
    """While entered, a backward notes for what each call returned at how many places it has a gradient."""
    alive: dict[Edge, float] = {}
    wanted: dict[Any, set[int]] = {}
    for record in records:
        for passed in record.returns:
            if passed.edge:
                wanted.setdefault(passed.edge[0], set()).add(passed.edge[1])

    def note(node: Any, outputs: set[int]) -> Callable[..., None]:
        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            for output in outputs:
                gradient = gradients[output]
                alive[node, output] = 0.0 if gradient is None else _alive(gradient)

        return hook

    handles = [node.register_prehook(note(node, outputs)) for node, outputs in wanted.items()]
    try:
        yield alive
    finally:
        for handle in handles:
            handle.remove()


def _alive(gradient: Tensor) -> float:
    """The share of places at which the gradient is not zero for all channels, wherever those lie."""
    found = gradient != 0
    shares = [found.any(dim=axis).float().mean() for axis in range(1, max(2, gradient.ndim))]
    return float(torch.stack(shares).min())
