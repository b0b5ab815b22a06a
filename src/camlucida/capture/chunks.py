"""Run many variants of one input in chunks, as large as is fastest and as memory allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from camlucida.errors import ModelError, is_out_of_memory

FIRST, LARGEST = 4, 64
_TRIALS = 3  # whole chunks of one size before it is judged: the first is slow, and machines do other things
_WORTH_IT = 0.97  # a larger chunk is kept if it takes at most this share of the time per variant


@dataclass
class ChunkSize:
    """The chunk size in use, learned from the work itself: doubled while that pays, halved when memory ends."""

    size: int = FIRST
    largest: int = LARGEST
    best: float = float("inf")  # seconds a variant at the size before
    settled: bool = False
    retreated: bool = False  # memory has ended before
    tried: list[float] = field(default_factory=list)  # seconds a variant at this size

    def learn(self, seconds: float) -> None:
        """Learn from the time per variant in a full chunk of this size; the best of several counts.

        Under ``torch.use_deterministic_algorithms`` the size stays, since rounding depends on it.
        """
        if self.settled or torch.are_deterministic_algorithms_enabled():
            return
        self.tried.append(seconds)
        if len(self.tried) < _TRIALS:
            return
        seconds = min(self.tried)
        self.tried.clear()
        if seconds > self.best * _WORTH_IT:
            self.size, self.settled = max(1, self.size // 2), True
            return
        self.best = seconds
        if self.size * 2 > self.largest:
            self.settled = True
        else:
            self.size *= 2

    def retreat(self) -> None:
        """Take half as many, for good.

        Raises:
            ModelError: a single variant was too much.
        """
        if self.size == 1:
            raise ModelError(
                "one variant of the picture is more than this device's memory: use a smaller model or input, "
                "or another device"
            )
        self.size, self.settled, self.retreated = self.size // 2, True, True


def one_at_a_time(single: bool, largest: int = LARGEST) -> ChunkSize:
    """The chunk size of a model that takes a ``single`` input at a time, else as many as is fastest."""
    return ChunkSize(size=1, largest=1, settled=True) if single else ChunkSize(largest=largest)


def in_chunks(run: Callable[[range], Tensor], count: int, pace: ChunkSize) -> Tensor:
    """``run(range)`` for 0 … count-1, in chunks; it gives (chunk, …), and all are (count, …) on the CPU."""
    results: list[Tensor] = []
    start = 0
    while start < count:
        indices = range(start, min(start + pace.size, count))
        begun = time.perf_counter()
        try:
            results.append(run(indices).cpu())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            pace.retreat()
            continue
        if len(indices) == pace.size:
            pace.learn((time.perf_counter() - begun) / len(indices))
        start = indices.stop
    return torch.cat(results)
