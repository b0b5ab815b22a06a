"""The score of many variants of a picture, or of what a layer returned for it, all targets at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from camlucida.chunks import Pace, in_chunks
from camlucida.health import Finding
from camlucida.resume import Recording, check, record, replay, run_in_full

if TYPE_CHECKING:
    from camlucida.layers.layout import Layout
    from camlucida.targets import Bound
    from camlucida.types import Make


class Runs:
    """A lent module, to be run again and again on the pictures of one batch.

    What is learned while running is kept: the pace, and for each picture what precedes the layer.
    """

    def __init__(
        self,
        module: nn.Module,
        layer: str,
        pictures: Sequence[Tensor] | Tensor,
        bound: Sequence[Sequence[Bound]],
        logits_of: Callable[[Any], Tensor],
    ) -> None:
        self._module, self._layer, self._pictures = module, layer, pictures
        self._bound, self._logits_of = bound, logits_of
        self._pace, self._resume_pace = Pace(), Pace()
        self._recordings: dict[int, Recording] = {}
        self._works: dict[int, bool] = {}  # whether replaying is right, for each picture that was recorded

    def score(self, make: Make, count: int, picture: int) -> Tensor:
        """(count, targets) for variants of the input, by the whole network."""
        channels_last = self._pictures[picture].device.type == "cpu"  # where convolutions are faster so

        def run(indices: range) -> Tensor:
            variants = make(indices)
            if channels_last:
                variants = variants.contiguous(memory_format=torch.channels_last)
            return self._targets(self._logits_of(self._module(variants)), picture)

        return in_chunks(run, count, self._pace)

    def resume(self, layout: Layout, make: Make, count: int, picture: int) -> Tensor:
        """(count, targets) for variants of the layer's maps, running what follows it alone where that works."""
        recording = self._recorded(picture)
        go = replay if self._works[picture] else run_in_full
        own = self._pictures[picture].detach()

        def run(indices: range) -> Tensor:
            variants = layout.from_maps(make(indices), recording.tensor)
            return self._targets(go(self._module, recording, variants, own, self._logits_of), picture)

        return in_chunks(run, count, self._resume_pace)

    def notes(self, picture: int) -> tuple[Finding, ...]:
        """What came up while variants of this picture were run."""
        if self._works.get(picture, True):
            return ()
        found = "what follows the layer could not be run alone, so the whole network ran for each channel"
        return (
            Finding("resume-fallback", found, "the map is right; choose a later layer if it takes too long"),
        )

    def _recorded(self, picture: int) -> Recording:
        if picture not in self._recordings:
            own = self._pictures[picture].detach()
            recording = record(self._module, self._layer, own)
            self._works[picture] = check(self._module, recording, own, self._logits_of)
            self._recordings = {picture: recording}  # one at a time: they are as large as a forward
        return self._recordings[picture]

    def _targets(self, outputs: Tensor, picture: int) -> Tensor:
        """(variants, targets) of logits (variants, classes)."""
        return torch.stack([row[picture](outputs) for row in self._bound], dim=1).double()
