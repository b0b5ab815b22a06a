"""Noise with one band after another changed, and the changes that a layer shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from camlucida.layers.run_mode import RUN_MODES, RunMode, base_input

BANDS = 3  # in each direction
PICTURES = 1 + 2 * BANDS
_STEP = 0.1  # of the noise's deviation: a larger change would drown small grids in chaos
_SIGNAL = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def pictures(like: Tensor, draw: int = 0, run_mode: RunMode = RUN_MODES[0]) -> Tensor:
    """(PICTURES, channels, height, width): noise, then with a little more in each row band and column band.

    Another ``draw`` is other noise. In place of noise it may be the picture itself, as the ``run_mode`` says.
    """
    generator = torch.Generator().manual_seed(7 + draw)
    noise = partial(torch.randn, *like.shape, generator=generator, dtype=torch.float64)
    step = _STEP * float(like.detach().double().std()) if run_mode.own else _STEP
    base, found = base_input(like.detach().cpu(), noise(), run_mode), []
    for axis in (1, 2):
        for number in range(BANDS):
            edges = [like.shape[axis] * step // BANDS for step in (number, number + 1)]
            changed, other = base.clone(), noise()
            band = [slice(None)] * 3
            band[axis] = slice(*edges)
            changed[tuple(band)] += step * other[tuple(band)]
            changed = changed.clamp(base.min(), base.max()) if run_mode.own else changed
            found.append(changed)
    return torch.stack([base, *found]).to(like)


@dataclass(frozen=True)
class Changes:
    """How much each band changed each token, (2 · BANDS, tokens).

    ``local`` is the share of it that is not common to all tokens.
    """

    strength: Tensor
    local: float


def changes(tokens: Tensor) -> Changes | None:
    """What the bands changed in what a layer returns for ``pictures``, (PICTURES, tokens, channels).

    None where it is lost in rounding.
    """
    smallest = _SIGNAL.get(tokens.dtype, 1e-6)
    tokens = tokens.cpu().double()
    changed = tokens[1:] - tokens[:1]
    local = changed - changed.mean(dim=1, keepdim=True)
    strength = local.norm(dim=2)
    scale = tokens[0].norm(dim=1).mean()
    if not bool(strength.isfinite().all()) or not bool((strength.mean(dim=1) > smallest * scale).all()):
        return None
    share = float(strength.mean() / changed.norm(dim=2).mean())
    return Changes(strength / strength.mean(dim=1, keepdim=True), share)


def mean_of(draws: Sequence[Changes | None]) -> Changes | None:
    """The mean over several draws; None where one of them is lost in rounding."""
    told = [one for one in draws if one is not None]
    if not told or len(told) < len(draws):
        return None
    strength = torch.stack([one.strength for one in told]).mean(dim=0)
    return Changes(strength, sum(one.local for one in told) / len(told))
