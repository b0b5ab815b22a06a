"""One forward, one short backward: what the methods need of a model, and nothing of it touched.

Everything before the layers of interest is free: with parameters frozen while the model is lent, autograd
records from the layers' outputs to the logits only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from camlucida.custody import lent
from camlucida.errors import LayerError, ModelError

if TYPE_CHECKING:
    from camlucida.layers.layout import Layout
    from camlucida.targets import Bound, Target
    from camlucida.types import Activations, Gradients


@dataclass(frozen=True)
class Captured:
    """What a method can ask for, of one layer and one target; only what somebody asked for is filled."""

    activations: Activations
    gradients: Gradients | None


@dataclass(frozen=True)
class Capture:
    """One run of the model on a batch: logits (batch, classes), and what was caught on the way.

    ``bound[t][i]`` is target t fixed for picture i and ``scores[t][i]`` its value; ``captured[l][t]`` and
    ``layouts[l]`` belong to layer l.
    """

    outputs: Tensor
    bound: list[list[Bound]]
    scores: list[Tensor]
    layouts: list[Layout]
    captured: list[list[Captured]]


@dataclass(frozen=True)
class Reading:
    """How a model's numbers are read: output → logits (batch, classes); (layer name, its output) → layout."""

    logits_of: Callable[[Any], Tensor]
    layout_of: Callable[[str, Tensor], Layout]


def capture(
    module: nn.Module,
    pictures: Sequence[Tensor] | Tensor,
    layers: Sequence[str],
    targets: Sequence[Sequence[Target]],
    reading: Reading,
    gradients: bool = True,
) -> Capture:
    """Run ``module`` once on a batch of ``pictures`` and catch activations and gradients of ``layers``.

    Each picture is (channels, height, width), all of one size; ``targets[t][i]`` is target t for picture i.
    Half-precision tensors are returned as float32.

    Raises:
        LayerError: a layer does not run exactly once, or the score does not depend on it.
        ModelError: the model returns NaN.
    """
    with lent(module), torch.set_grad_enabled(gradients), tapped(module, layers) as taps:
        # A copy, since some models normalise their input in place, and gone before the backward.
        outputs = reading.logits_of(module(torch.stack([picture.detach() for picture in pictures])))
        kept = [_once(name, tensors, len(pictures)) for name, tensors in taps.items()]
        if outputs.isnan().any():
            raise ModelError(
                f"{type(module).__name__} returns NaN for this picture: check its weights, its dtype "
                "(half precision overflows in some models) and the input's normalisation"
            )
        bound = [[target.bind(outputs, i) for i, target in enumerate(row)] for row in targets]
        scores = [torch.cat([b(outputs[i : i + 1]) for i, b in enumerate(row)]) for row in bound]
        gradients_of = [_gradients(scores, t, layers, kept) if gradients else None for t in range(len(scores))]
    layouts = [reading.layout_of(name, tensor) for name, tensor in zip(layers, kept, strict=True)]
    captured = []
    for place, (layout, tensor) in enumerate(zip(layouts, kept, strict=True)):
        activations = _maps(layout, tensor.detach())
        captured.append(
            [Captured(activations, None if row is None else _maps(layout, row[place])) for row in gradients_of]
        )
    return Capture(outputs.detach(), bound, [score.detach() for score in scores], layouts, captured)


@contextmanager
def tapped(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Catch what each layer returns in this thread, in the order of its calls.

    With grad mode on, a caught tensor that records no gradients yet becomes a leaf that does, and grad mode
    is switched on from there, also where the model itself has switched it off. What is caught is a clone,
    and the model goes on with another, so that nothing can rewrite it in place.
    """
    thread, recording = threading.get_ident(), torch.is_grad_enabled()
    caught: dict[str, list[Tensor]] = {name: [] for name in layers}

    def tap(name: str) -> Callable[..., Any]:
        def hook(_layer: nn.Module, _args: Any, output: Any) -> Any:
            if threading.get_ident() != thread:
                return None
            tensor = _only_tensor(name, output)
            kept = tensor.clone()
            if recording and not kept.requires_grad:
                kept = kept.detach().requires_grad_(True)
            caught[name].append(kept)
            torch.set_grad_enabled(recording)
            handed = kept.clone()
            return tree_map(lambda leaf: handed if leaf is tensor else leaf, output)

        return hook

    handles = [module.get_submodule(name).register_forward_hook(tap(name)) for name in layers]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def _only_tensor(name: str, output: Any) -> Tensor:
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if len(tensors) != 1:
        raise LayerError(
            f"layer {name!r} returns {len(tensors)} tensors and one is needed: choose a layer inside it"
        )
    found: Tensor = tensors[0]
    return found


def _once(name: str, tensors: list[Tensor], batch: int) -> Tensor:
    if len(tensors) != 1:
        times = "never runs" if not tensors else f"runs {len(tensors)} times"
        raise LayerError(
            f"layer {name!r} {times} in a forward and must run once: choose another "
            "(`camlucida layers MODEL` lists those that do)"
        )
    if tensors[0].shape[:1] != (batch,):
        raise LayerError(
            f"layer {name!r} returns {tuple(tensors[0].shape)} for a batch of {batch}, whose first axis is "
            "not the pictures: choose another (`camlucida layers MODEL` lists those that work)"
        )
    return tensors[0]


def _gradients(scores: list[Tensor], target: int, layers: Sequence[str], kept: list[Tensor]) -> list[Tensor]:
    """The gradient of one target's score, summed over the batch, with respect to each layer."""
    score = scores[target]
    gradients: Sequence[Tensor | None] = [None] * len(kept)
    if score.requires_grad:
        last = target == len(scores) - 1
        gradients = torch.autograd.grad(score.sum(), kept, retain_graph=not last, allow_unused=True)
    for name, gradient in zip(layers, gradients, strict=True):
        if gradient is None:
            raise LayerError(
                f"the score does not depend on layer {name!r}, or the model switches gradients off behind it: "
                "choose a layer on the way to the logits (`camlucida layers MODEL` lists them)"
            )
    return [gradient for gradient in gradients if gradient is not None]


def _maps(layout: Layout, tensor: Tensor) -> Tensor:
    maps = layout.to_maps(tensor)
    return maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps
