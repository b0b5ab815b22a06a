"""The class's probability and logit for many variants of one picture, each run once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.capture.borrow import borrowed
from camlucida.capture.chunks import ChunkSize, in_chunks
from camlucida.models.fingerprint import fingerprint
from camlucida.targets.probabilities import last_activation


@dataclass
class RunCount:
    """Counts of variants requested and run."""

    asked: int = 0
    run: int = 0
    pace: ChunkSize = field(default_factory=ChunkSize)


class VariantScores:
    """A model on variants of one picture; what has been run once is remembered.

    Methods and metrics share variants: the plain picture, the baseline, a map's imputations.
    """

    def __init__(
        self, module: nn.Module, logits_of: Callable[[Any], Tensor], input: Tensor, count: RunCount
    ) -> None:
        self._module, self._logits_of, self._like, self._count = module, logits_of, input, count
        self._known: dict[bytes, Tensor] = {}

    def logits(self, make: Callable[[range], Tensor], count: int) -> Tensor:
        """(count, classes) in float64, for variants (channels, height, width) that ``make(indices)`` gives."""
        with borrowed(self._module):
            return in_chunks(lambda indices: self._chunk(make(indices)), count, self._count.pace)

    def last_activation(self) -> str | None:
        """The activation in which the model ends, as far as autograd sees it."""
        with borrowed(self._module), torch.enable_grad():
            return last_activation(self._logits_of(self._module(self._like[None].clone().requires_grad_())))

    def _chunk(self, variants: Tensor) -> Tensor:
        keys = [fingerprint(one) for one in variants]
        new = {key: place for place, key in enumerate(keys) if key not in self._known}
        self._count.asked += len(keys)
        self._count.run += len(new)
        if new:
            chosen = variants[list(new.values())].to(self._like)
            if chosen.device.type == "cpu":
                chosen = chosen.contiguous(memory_format=torch.channels_last)  # convolutions are faster so
            outputs = self._logits_of(self._module(chosen)).cpu().double()
            self._known.update(zip(new, outputs, strict=True))
        return torch.stack([self._known[key] for key in keys])
