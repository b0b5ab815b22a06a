"""Run only what follows a layer, for many variants of what it returns.

Nothing before the layer changes, so that part runs once and is recorded; for a variant, the modules that had
finished before the layer return what they returned then, the layer returns the variant, and everything else
runs as it always does. Modules are replayed as large as possible: one that finished before the layer stands
for all its children.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

_TOLERANCE = 1e-3  # of the difference that the check's two variants make


@dataclass
class _Call:
    """One finished call of a module: what it returned, in copies.

    ``axes`` are those along which each tensor grows with the batch, None for one that does not; the check
    finds them. Copies are handed out as long as ``copied`` says so, until the check has seen that no replay
    has ``written`` to them.
    """

    module: nn.Module
    output: Any
    axes: list[int | None] = field(default_factory=list)
    copied: bool = True
    written: bool = False
    handed: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Recording:
    """What had finished before the layer, in order, for one picture.

    ``output`` is what the layer returned, ``tensor`` the one tensor in it, ``model_output`` the model's own.
    """

    layer: nn.Module
    calls: list[_Call]
    output: Any
    tensor: Tensor
    model_output: Any
    input_written: bool


def record(module: nn.Module, layer: str, picture: Tensor) -> Recording:
    """Run the lent ``module`` on ``picture`` (channels, height, width); keep what finished before ``layer``."""
    target = module.get_submodule(layer)
    done: list[_Call] = []
    open_at: list[int] = []  # how much was done when each module now running began
    found: list[Any] = []

    def before(_part: nn.Module, _args: Any) -> None:
        open_at.append(len(done))

    def after(part: nn.Module, _args: Any, output: Any) -> None:
        begun = open_at.pop()
        if found:
            return
        if part is target:
            found.append(tree_map(_copy, output))
            return
        del done[begun:]  # its children, for which it stands
        done.append(_Call(part, tree_map(_copy, output)))

    handles = [part.register_forward_pre_hook(before) for part in module.modules()]
    handles += [part.register_forward_hook(after) for part in module.modules()]
    try:
        inputs = picture[None].clone()
        model_output = module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return Recording(target, done, found[0], _floating(found[0]), model_output, inputs._version > 0)


def check(module: nn.Module, recording: Recording, picture: Tensor, logits_of: Callable[[Any], Tensor]) -> bool:
    """Whether replaying gives what full runs give, for the layer's own output and a changed one, side by side.

    The full run, in which a hook sets the layer's output, also shows which axes grow with the batch.
    """
    own = recording.tensor
    changed = own * torch.linspace(0.5, 1.5, own[0].numel(), device=own.device).to(own.dtype).view_as(own)
    both = torch.cat([own, changed])
    with _watching(recording), _returning(recording, both.clone()):
        full = logits_of(module(torch.stack([picture, picture])))
    plain = logits_of(recording.model_output)
    try:
        resumed = replay(module, recording, both.clone(), picture, logits_of)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # shapes that do not fit: something grows with the batch in another way
        return False
    for call in recording.calls:
        call.copied = call.written
    apart = (full[0] - full[1]).abs().max()
    if not bool(apart > 0) or resumed.shape != full.shape:
        return False
    wrong = torch.maximum((resumed - full).abs().max(), (full[:1] - plain).abs().max())
    return bool(wrong <= _TOLERANCE * apart + 1e-6 * full.abs().max())


def replay(
    module: nn.Module,
    recording: Recording,
    variants: Tensor,
    picture: Tensor,
    logits_of: Callable[[Any], Tensor],
) -> Tensor:
    """Logits (variants, classes) where the layer returns ``variants``, running only what follows it.

    Code behind the layer may write to ``variants``. To be called once ``check`` has been.
    """
    with _replaying(recording, variants):
        inputs = picture.expand(len(variants), *picture.shape)
        return logits_of(module(inputs.clone() if recording.input_written else inputs))


def run_in_full(
    module: nn.Module,
    recording: Recording,
    variants: Tensor,
    picture: Tensor,
    logits_of: Callable[[Any], Tensor],
) -> Tensor:
    """The same, running everything: slow, and right where replaying is not. One variant at a time."""
    rows = []
    for variant in variants:
        with _returning(recording, variant[None]):
            rows.append(logits_of(module(picture[None].clone())))
    return torch.cat(rows)


@contextmanager
def _replaying(recording: Recording, variants: Tensor) -> Iterator[None]:
    waiting: dict[nn.Module, list[_Call]] = {}
    for call in recording.calls:
        waiting.setdefault(call.module, []).append(call)
    saved = {part: part.__dict__.get("forward") for part in (*waiting, recording.layer)}

    def stand_in(part: nn.Module) -> Callable[..., Any]:
        calls, real = iter(waiting[part]), part.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            call = next(calls, None)  # a call after those recorded runs for real
            return real(*args, **kwargs) if call is None else _expanded(call, len(variants))

        return forward

    try:
        for part in waiting:
            part.__dict__["forward"] = stand_in(part)
        recording.layer.__dict__["forward"] = lambda *_args, **_kwargs: _with(recording, variants)
        yield
    finally:
        for call in recording.calls:
            call.written = any(tensor._version for tensor in call.handed)
            call.handed.clear()
        for part, forward in saved.items():
            del part.__dict__["forward"]
            if forward is not None:
                part.__dict__["forward"] = forward


@contextmanager
def _returning(recording: Recording, variants: Tensor) -> Iterator[None]:
    """The layer returns ``variants``, whatever it computed."""
    handle = recording.layer.register_forward_hook(lambda *_: _with(recording, variants))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _watching(recording: Recording) -> Iterator[None]:
    """See, in a run with a batch of two, along which axis each recorded tensor has grown."""
    waiting: dict[nn.Module, list[_Call]] = {}
    for call in recording.calls:
        waiting.setdefault(call.module, []).append(call)

    def watch(part: nn.Module, _args: Any, output: Any) -> None:
        calls = waiting[part]
        if calls:
            call = calls.pop(0)
            call.axes = [_grown(a, b) for a, b in zip(_tensors(call.output), _tensors(output), strict=True)]

    handles = [part.register_forward_hook(watch) for part in waiting]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _grown(one: Tensor, two: Tensor) -> int | None:
    axes = [axis for axis, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if b == 2 * a]
    return axes[0] if axes else None


def _expanded(call: _Call, count: int) -> Any:
    """What the call returned, for ``count`` variants: views, or copies where somebody writes to them."""
    axes = iter(call.axes)

    def expand(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        axis = next(axes, None)
        if axis is None:
            grown = leaf
        elif leaf.shape[axis] == 1:
            grown = leaf.expand(*leaf.shape[:axis], count, *leaf.shape[axis + 1 :])
        else:
            grown = leaf.repeat(*(count if i == axis else 1 for i in range(leaf.ndim)))
        if call.copied:
            call.handed.append(grown.clone())
            return call.handed[-1]
        return grown

    return tree_map(expand, call.output)


def _with(recording: Recording, variants: Tensor) -> Any:
    """The layer's output with ``variants`` in the place of its tensor."""
    return tree_map(lambda leaf: variants if leaf is recording.tensor else leaf, recording.output)


def _copy(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _floating(value: Any) -> Tensor:
    return next(tensor for tensor in _tensors(value) if tensor.is_floating_point())
