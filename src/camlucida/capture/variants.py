"""The score of many variants of a picture, or of what a layer returned for it, all targets at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from camlucida.capture.chunks import in_chunks, one_at_a_time
from camlucida.capture.extra_inputs import variants_of_row
from camlucida.capture.model_errors import ADVICE, VARIANT, own_errors
from camlucida.capture.replay import ReplayPoint, check, replay, run_in_full
from camlucida.findings import Finding, memory_ended, resume_fallback

if TYPE_CHECKING:
    from camlucida.capture.custom_layout import CustomLayout
    from camlucida.capture.layout import Layout
    from camlucida.capture.recording import Recording
    from camlucida.targets.base import Bound
    from camlucida.types import MakeVariants


class VariantRunner:
    """A borrowed module, run again and again on the inputs of one batch.

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
        self._tails: dict[int, ReplayPoint] = {}
        self._works: dict[int, bool] = {}  # whether replaying is right, for each picture that was tried

    def score(self, make: MakeVariants, count: int, row: int) -> Tensor:
        """(count, targets) for variants of the input, by the whole network."""
        channels_last = self._pictures[row].device.type == "cpu"  # where convolutions are faster so

        def run(indices: range) -> Tensor:
            variants = make(indices)
            if channels_last:
                variants = variants.contiguous(memory_format=torch.channels_last)
            with own_errors(self._module, VARIANT, ADVICE):
                outputs = self._module(variants)
            return self._targets(self._logits_of(outputs), row)

        with variants_of_row(row):
            return in_chunks(run, count, self._pace)

    def resume(self, layout: Layout | CustomLayout, make: MakeVariants, count: int, row: int) -> Tensor:
        """(count, targets) for variants of the layer's maps, running what follows it alone where that works."""
        with variants_of_row(row):
            tail = self._tail(row, layout.batch_axis)
        go = replay if self._works[row] else run_in_full

        def run(indices: range) -> Tensor:
            return self._targets(go(tail, layout.from_maps(make(indices), tail.own)), row)

        with variants_of_row(row):
            return in_chunks(run, count, self._resume_pace)

    def findings(self, needs: Sequence[str], row: int) -> tuple[Finding, ...]:
        """What came up while variants of this picture were run for a method with such ``needs``."""
        found = []
        if "resume" in needs and not self._works.get(row, True):
            found.append(resume_fallback())
        paces = {"score": self._pace, "resume": self._resume_pace}
        if any(name in needs and pace.retreated for name, pace in paces.items()):
            found.append(memory_ended("fewer variants of a picture"))
        return tuple(found)

    def _tail(self, row: int, axis: int) -> ReplayPoint:
        if row not in self._tails:
            assert self._recording is not None, "resume is asked for through Captured, and so recorded"
            shown = self._pictures[row].detach()
            tail = ReplayPoint(self._module, self._recording, shown, row, self._logits_of, axis)
            self._works[row] = not self._single and check(tail, self._outputs[row : row + 1])
            self._tails[row] = tail
        return self._tails[row]

    def _targets(self, outputs: Tensor, row: int) -> Tensor:
        """(variants, targets) of logits (variants, classes)."""
        return torch.stack([bound[row](outputs) for bound in self._bound], dim=1).cpu().double()
