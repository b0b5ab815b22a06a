"""Whether a model returns the same logits for the same input: again, and in another batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from camlucida.capture.borrow import borrowed
from camlucida.findings import Finding, draws_lots, leans_on_batch
from camlucida.layers.run_mode import RunMode, run_model
from camlucida.layers.survey import BATCH, Logits, shown

_APART = 1e-3  # of the logits' spread


def repeats(module: nn.Module, like: Tensor, logits_of: Logits, run_mode: RunMode) -> tuple[bool, bool]:
    """Whether the same input, run again alone, and run beside another, gives the same logits."""
    with borrowed(module), torch.no_grad():
        alone, again = (logits_of(run_model(module, shown(like, 1, run_mode), run_mode))[0] for _ in range(2))
        beside = (
            alone
            if run_mode.single
            else logits_of(run_model(module, shown(like, BATCH, run_mode), run_mode))[0]
        )
    return alike(alone, again), alike(alone, beside)


def not_the_same(
    module: nn.Module, like: Tensor, logits_of: Logits, run_mode: RunMode
) -> tuple[tuple[Finding, ...], bool]:
    """Why the same input has given two outputs, as findings, and whether pictures are to be run alone."""
    again, beside = repeats(module, like, logits_of, run_mode)
    if not again:
        return (draws_lots(),), False
    return ((), False) if beside else ((leans_on_batch(),), True)


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two runs gave the same logits, but for rounding."""
    spread = max(float(one.max() - one.min()), float(one.abs().max()) * 1e-3)
    return one.shape == other.shape and float((one - other).abs().max()) <= _APART * spread + 1e-12
