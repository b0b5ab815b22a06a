"""Whether the grid covers the input evenly: models may pad, crop or move their input.

Read off an early layer, whose positions look at little of the picture, in the runs of the probe. Where a row
answers to two bands alike lies the edge between them, which two such edges tell for the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.capture.borrow import borrowed, in_this_thread
from camlucida.capture.hooks import add_forward_hook, float_tensors_in
from camlucida.capture.layout import Layout
from camlucida.layers.perturbation import BANDS, PICTURES
from camlucida.layers.probe import LayoutVerdict, probe
from camlucida.layers.run_mode import RunMode
from camlucida.layers.survey import LayerCall, Survey

_FEWEST = 8  # rows or columns from which on the edges are told well enough
_FEW = 8  # channels that are looked at: a first layer's output is large
_APART = 0.08  # share of the grid by which the picture may seem to end before or behind it
_CELLS = 1.3  # the same in rows


def probe_evenly(
    module: nn.Module,
    like: Tensor,
    layouts: Mapping[str, Sequence[Layout]],
    draws: int,
    seen: Survey,
    run_mode: RunMode,
) -> tuple[dict[str, LayoutVerdict], str]:
    """``probe``, and in its runs how the picture lies in the grid, in words; "" where it fills that evenly.

    Raises:
        Refused: the model cannot be run so.
    """
    early = _early(seen)
    if early is None:
        return probe(module, like, layouts, draws, run_mode), ""
    with borrowed(module), _kept(module, early) as kept:
        verdicts = probe(module, like, layouts, draws, run_mode)
    return verdicts, _said(kept[:PICTURES])


def _early(seen: Survey) -> LayerCall | None:
    """The first layer with weights and a clear grid, if that is fine enough; past any that keep the size."""
    fit = [
        place
        for place in seen.layer_calls
        if place.parameters and place.calls == 1 and len(place.layouts) == 1 and place.layouts[0].kind == "NCHW"
    ]
    other = [place for place in fit if place.layouts[0].grid != seen.size]
    first = next(iter(other or fit), None)
    return first if first and min(first.layouts[0].grid) >= _FEWEST else None


@contextmanager
def _kept(module: nn.Module, place: LayerCall) -> Iterator[list[Tensor]]:
    """While entered, what the layer returns of each picture, (channels, height, width) of a few channels."""
    kept: list[Tensor] = []

    def keep(_part: nn.Module, _args: Any, output: Any) -> None:
        if len(kept) < PICTURES:
            kept.append(float_tensors_in(output)[0].detach()[0, :_FEW].float().cpu())

    handle = add_forward_hook(module.get_submodule(place.name), in_this_thread(keep))
    try:
        yield kept
    finally:
        handle.remove()


def _said(kept: Sequence[Tensor]) -> str:
    if len(kept) < PICTURES:
        return ""
    changed = (torch.stack(list(kept[1:])) - kept[0]).norm(dim=1)  # (2 · BANDS, height, width)
    rows, columns = _span(changed[:BANDS].mean(dim=2)), _span(changed[BANDS:].mean(dim=1))
    told = [
        _lies(name, *span[:2])
        for name, span in (("in height", rows), ("in width", columns))
        if span and max(abs(span[0]), abs(span[1] - 1)) > max(_APART, _CELLS / span[2])
    ]
    return ", ".join(told)


def _lies(axis: str, low: float, high: float) -> str:
    if high - low < 1:
        return f"{axis} it lies from {max(low, 0):.0%} to {min(high, 1):.0%} of the grid"
    first, last = (max(0.0, -low) / (high - low), min(1.0, (1 - low) / (high - low)))
    return f"{axis} only {first:.0%} to {last:.0%} of it lie in the grid"


def _span(changed: Tensor) -> tuple[float, float, int] | None:
    """Where the picture begins and ends, as shares of the axis, and how many cells that has.

    ``changed`` (BANDS, cells) is what each band changed. None where the edges of the bands are not clear.
    """
    cells = changed.shape[1]
    edges = []
    for one, other in pairwise(changed):
        apart = one / one.sum().clamp(min=1e-12) - other / other.sum().clamp(min=1e-12)
        crossed = [i for i in range(cells - 1) if apart[i] > 0 >= apart[i + 1]]
        if len(crossed) != 1:
            return None
        before, after = float(apart[crossed[0]]), float(apart[crossed[0] + 1])
        edges.append((crossed[0] + 0.5 + before / (before - after)) / cells)
    step = (edges[-1] - edges[0]) / (BANDS - 2)
    return edges[0] - step, edges[-1] + step, cells
