"""Forward hooks that record layer outputs, and pass on copies that nothing else can modify."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from camlucida.capture.borrow import in_this_thread
from camlucida.errors import LayerError


@contextmanager
def record_outputs(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Record the outputs of each layer in this thread, in the order of its calls.

    With grad mode on, a recorded tensor that records no gradients yet becomes a leaf that does, and grad mode
    is switched on from there, also where the model itself has switched it off. Each record is a clone,
    and the model goes on with another, so that nothing can modify it in place.
    """
    for name in layers:
        _refuse_scripted(module, name)
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

    handles = [add_forward_hook(module.get_submodule(name), in_this_thread(tap(name))) for name in layers]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def _refuse_scripted(module: nn.Module, name: str) -> None:
    parts = name.split(".")
    above = [".".join(parts[:end]) for end in range(1, len(parts))]
    outer = next((one for one in above if isinstance(module.get_submodule(one), torch.jit.ScriptModule)), None)
    if outer:
        raise LayerError(
            f"layer {name!r} lies inside {outer!r}, which is TorchScript and runs its parts unseen: choose "
            f"{outer!r}"
        )


def add_forward_hook(part: nn.Module, hook: Callable[..., Any], **how: Any) -> Any:
    """Register a forward hook; TorchScript's own method refuses, though Python calls its stages."""
    return nn.Module.register_forward_hook(part, hook, **how)


def why_hidden(output: Any) -> str:
    """Why a layer's output cannot be read; empty if it can."""
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    if any(map(is_mapped, tensors)):
        return (
            "runs inside torch.vmap, which hides the pictures from hooks: write that part of the forward for "
            "a whole batch, or choose a layer outside"
        )
    if any(one.is_quantized for one in tensors):
        return (
            "returns quantised tensors, whole numbers without gradients: explain the floating-point model that "
            "this one was made from"
        )
    return ""


def is_mapped(tensor: Tensor) -> bool:
    """Whether a tensor stands for many, inside ``torch.vmap``."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def _only_tensor(name: str, output: Any) -> Tensor:
    reason = why_hidden(output)
    if reason:
        raise LayerError(f"layer {name!r} {reason}")
    tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if len(tensors) != 1:
        raise LayerError(
            f"layer {name!r} returns {len(tensors)} tensors and one is needed: choose a layer inside it"
        )
    found: Tensor = tensors[0]
    return found


def single_output(name: str, tensors: list[Tensor], batch: int) -> Tensor:
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


def float_tensors_in(value: Any) -> list[Tensor]:
    """The floating-point tensors inside tuples, dicts and the like, but for those inside ``torch.vmap``."""
    tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    return [one for one in tensors if not is_mapped(one)]
