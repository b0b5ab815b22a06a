"""Hooks that catch what layers return, and hand on something that nobody else holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from camlucida.custody import in_this_thread
from camlucida.errors import LayerError


@contextmanager
def tapped(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Catch what each layer returns in this thread, in the order of its calls.

    With grad mode on, a caught tensor that records no gradients yet becomes a leaf that does, and grad mode
    is switched on from there, also where the model itself has switched it off. What is caught is a clone,
    and the model goes on with another, so that nothing can rewrite it in place.
    """
    recording = torch.is_grad_enabled()
    caught: dict[str, list[Tensor]] = {name: [] for name in layers}

    def tap(name: str) -> Callable[..., Any]:
        def hook(_layer: nn.Module, _args: Any, output: Any) -> Any:
            tensor = _only_tensor(name, output)
            kept = tensor.clone()
            if recording and not kept.requires_grad:
                kept = kept.detach().requires_grad_(True)
            caught[name].append(kept)
            if recording:
                torch.set_grad_enabled(True)
            handed = kept.clone()
            return tree_map(lambda leaf: handed if leaf is tensor else leaf, output)

        return hook

    handles = [module.get_submodule(name).register_forward_hook(in_this_thread(tap(name))) for name in layers]
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


def once(name: str, tensors: list[Tensor], batch: int) -> Tensor:
    """The one tensor that a layer returned, with the pictures along its first axis."""
    if len(tensors) != 1:
        times = "never runs" if not tensors else f"runs {len(tensors)} times"
        raise LayerError(
            f"layer {name!r} {times} in a forward and must run once: choose another "
            "(`camlucida layers MODEL` lists those that do)"
        )
    if batch not in tensors[0].shape[:2]:
        raise LayerError(
            f"layer {name!r} returns {tuple(tensors[0].shape)} for a batch of {batch}, whose first axis is "
            "not the pictures: choose another (`camlucida layers MODEL` lists those that work)"
        )
    return tensors[0]
