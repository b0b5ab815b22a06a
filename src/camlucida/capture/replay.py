"""Run only the part behind a layer, for many variants of its output.

Nothing before the layer changes, so that part runs once and is recorded; for a variant, the modules that had
finished before the layer return what they returned then, the layer returns the variant, and everything else
runs as it always does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from camlucida.capture.borrow import in_this_thread
from camlucida.capture.hooks import add_forward_hook
from camlucida.capture.recording import Recording, by_module, expanded, first_axes, measured
from camlucida.errors import is_out_of_memory

# Of the difference that the check's two variants make: what rounding leaves, which ablations of single channels
# must not drown in.
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}
_COARSE = 2e-2  # of half types


@dataclass
class ReplayPoint:
    """What follows the layer of ``recording``, for one ``picture`` of its batch.

    ``shown`` (channels, height, width) is that picture as the model's input, ``index`` its place.
    ``axis`` is along which the layer's pictures lie. ``input_written`` says that the model writes to its input;
    the check finds out.
    """

    module: nn.Module
    recording: Recording
    shown: Tensor
    index: int
    logits_of: Callable[[Any], Tensor]
    axis: int = 0
    input_written: bool = True

    @property
    def own(self) -> Tensor:
        """What the layer returned for the picture, as a batch of one."""
        return self.recording.tensor.narrow(self.axis, self.index, 1)


def check(tail: ReplayPoint, plain: Tensor) -> bool:
    """Whether replaying agrees with full runs, for the layer's own output and a changed one side by side.

    ``plain`` (1, classes) are the logits of the recorded run, of the layer's own output. Which axes grow with
    the batch shows in a run of another number of pictures. Where all that was recorded, of one picture, has
    a first axis of one, that is tried first: it spares a picture.
    """
    changed = tail.own * _ramp(tail.own)
    if first_axes(tail.recording) and _agrees(tail, plain, changed, changed):
        return True
    alone = tail.recording.batch == 1
    rows = torch.cat([tail.own, changed], dim=tail.axis) if alone else changed
    with measured(tail.recording):
        return _agrees(tail, plain, changed, rows)


def _ramp(own: Tensor) -> Tensor:
    ramp = torch.linspace(0.5, 1.5, own.numel(), device=own.device).to(own.dtype)
    return ramp.view_as(own)


def _agrees(tail: ReplayPoint, plain: Tensor, changed: Tensor, rows: Tensor) -> bool:
    """Compare a full run, in which a hook sets the layer's output to ``rows``, whose last is ``changed``."""
    recording = tail.recording
    for call in recording.calls:
        call.copied = True
    inputs = torch.stack([tail.shown] * rows.shape[tail.axis])
    with _returning(recording, rows.clone()):
        full = tail.logits_of(tail.module(inputs))
    tail.input_written = inputs._version > 0
    try:
        resumed = replay(tail, torch.cat([tail.own, changed], dim=tail.axis))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return False  # shapes that do not fit: something grows with the batch in another way
    for call in recording.calls:
        call.copied = call.written
    if resumed.shape != (2, *full.shape[1:]):
        return False
    expected = torch.cat([plain, full[-1:]])
    apart = (plain - full[-1:]).abs().max()
    wrong = torch.maximum((resumed - expected).abs().max(), (full - expected[-len(full) :]).abs().max())
    tolerance = _TOLERANCE.get(full.dtype, _COARSE)
    apart, wrong, largest = torch.stack([apart, wrong, full.abs().max()]).cpu().tolist()
    return bool(apart > 0 and wrong <= tolerance * apart + 1e-6 * largest)


def replay(tail: ReplayPoint, variants: Tensor) -> Tensor:
    """Logits (variants, classes) where the layer returns ``variants``, running only what follows it.

    Code behind the layer may write to ``variants``. To be called once ``check`` has been.
    """
    with _replaying(tail, variants):
        inputs = tail.shown.expand(variants.shape[tail.axis], *tail.shown.shape)
        return tail.logits_of(tail.module(inputs.clone() if tail.input_written else inputs))


def run_in_full(tail: ReplayPoint, variants: Tensor) -> Tensor:
    """The same, running everything: slow, and right where replaying is not. One variant at a time."""
    rows = []
    for variant in torch.split(variants, 1, dim=tail.axis):
        with _returning(tail.recording, variant):
            rows.append(tail.logits_of(tail.module(tail.shown[None].clone())))
    return torch.cat(rows)


@contextmanager
def _replaying(tail: ReplayPoint, variants: Tensor) -> Iterator[None]:
    recording = tail.recording
    waiting = by_module(recording.calls)
    saved = {part: part.__dict__.get("forward") for part in (*waiting, recording.layer)}

    def stand_in(part: nn.Module) -> Callable[..., Any]:
        calls, real = iter(waiting[part]), part.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            call = next(calls, None)  # a call after those recorded runs for real
            if call is None:
                return real(*args, **kwargs)
            return expanded(call, recording.batch, tail.index, variants.shape[tail.axis])

        return in_this_thread(forward, real)

    layer = recording.layer
    try:
        for part in waiting:
            part.__dict__["forward"] = stand_in(part)
        own = in_this_thread(lambda *_args, **_kwargs: _with(recording, variants), layer.forward)
        layer.__dict__["forward"] = own
        yield
    finally:
        for call in recording.calls:
            call.written = any(tensor._version for tensor in call.handed)
            call.handed.clear()
        for part, forward in saved.items():
            if forward is None:
                part.__dict__.pop("forward", None)
            else:
                part.__dict__["forward"] = forward


@contextmanager
def _returning(recording: Recording, variants: Tensor) -> Iterator[None]:
    """The layer returns ``variants``, whatever it computed."""
    handle = add_forward_hook(recording.layer, in_this_thread(lambda *_: _with(recording, variants)))
    try:
        yield
    finally:
        handle.remove()


def _with(recording: Recording, variants: Tensor) -> Any:
    """The layer's output with ``variants`` in the place of its tensor.

    Where gradients record, code behind the layer may ask for them.
    """
    if torch.is_grad_enabled() and not variants.requires_grad:
        variants = variants.detach().requires_grad_(True)
    return tree_map(lambda leaf: variants if leaf is recording.tensor else leaf, recording.output)
