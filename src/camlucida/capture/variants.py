"""The score of many variants of a picture, or of what a layer returned for it, all targets at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from camlucida.capture.chunks import in_chunks, one_at_a_time
from camlucida.capture.extra_inputs import of_one
from camlucida.capture.model_errors import ADVICE, VARIANT, own_errors
from camlucida.capture.replay import Tail, check, replay, run_in_full
from camlucida.findings import Finding, memory_ended, resume_fallback

if TYPE_CHECKING:
    from camlucida.capture.custom_layout import Reshaped
    from camlucida.capture.layout import Layout
    from camlucida.capture.recording import Recording
    from camlucida.targets.base import Bound
    from camlucida.types import Make


class Runs:
    """A lent module, to be run again and again on the pictures of one batch.

    ``read`` are the batch's logits (batch, classes) and its targets; ``recording`` is what preceded the layer,
    where variants of what that returns will be run. What is learned while running is kept: the pace, and
    whether what follows the layer can be run alone.
    """

    def __init__(
        self,
        module: nn.Module,
        pictures: Sequence[Tensor] | Tensor,
        read: tuple[Tensor, Sequence[Sequence[Bound]]],
        logits_of: Callable[[Any], Tensor],
        recording: Recording | None = None,
        single: bool = False,
    ) -> None:
        self._module, self._pictures, self._recording = module, pictures, recording
        (self._outputs, self._bound), self._logits_of = read, logits_of
        self._single = single
        self._pace, self._resume_pace = one_at_a_time(single), one_at_a_time(single)
        self._tails: dict[int, Tail] = {}
        self._works: dict[int, bool] = {}  # whether replaying is right, for each picture that was tried

    def score(self, make: Make, count: int, picture: int) -> Tensor:
        """(count, targets) for variants of the input, by the whole network."""
        channels_last = self._pictures[picture].device.type == "cpu"  # where convolutions are faster so

        def run(indices: range) -> Tensor:
            variants = make(indices)
            if channels_last:
                variants = variants.contiguous(memory_format=torch.channels_last)
            with own_errors(self._module, VARIANT, ADVICE):
                outputs = self._module(variants)
            return self._targets(self._logits_of(outputs), picture)

        with of_one(picture):
            return in_chunks(run, count, self._pace)

    def resume(self, layout: Layout | Reshaped, make: Make, count: int, picture: int) -> Tensor:
        """(count, targets) for variants of the layer's maps, running what follows it alone where that works."""
        with of_one(picture):
            tail = self._tail(picture, layout.batch_axis)
        go = replay if self._works[picture] else run_in_full

        def run(indices: range) -> Tensor:
            return self._targets(go(tail, layout.from_maps(make(indices), tail.own)), picture)

        with of_one(picture):
            return in_chunks(run, count, self._resume_pace)

    def notes(self, needs: Sequence[str], picture: int) -> tuple[Finding, ...]:
        """What came up while variants of this picture were run for a method with such ``needs``."""
        found = []
        if "resume" in needs and not self._works.get(picture, True):
            found.append(resume_fallback())
        paces = {"score": self._pace, "resume": self._resume_pace}
        if any(name in needs and pace.retreated for name, pace in paces.items()):
            found.append(memory_ended("fewer variants of a picture"))
        return tuple(found)

    def _tail(self, picture: int, axis: int) -> Tail:
        if picture not in self._tails:
            assert self._recording is not None, "resume is asked for through Captured, and so recorded"
            shown = self._pictures[picture].detach()
            tail = Tail(self._module, self._recording, shown, picture, self._logits_of, axis)
            self._works[picture] = not self._single and check(tail, self._outputs[picture : picture + 1])
            self._tails[picture] = tail
        return self._tails[picture]

    def _targets(self, outputs: Tensor, picture: int) -> Tensor:
        """(variants, targets) of logits (variants, classes)."""
        return torch.stack([row[picture](outputs) for row in self._bound], dim=1).cpu().double()
