"""Verify a layout: which token responds to which part of the input.

Bands of a noise picture are replaced one at a time. What changed in a token tells where it looks: its row is
the mean of the bands' rows, weighted by how much each band changed it, and likewise its column. What reaches
all positions alike is subtracted first, so that global pools and attention do not hide the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from camlucida.capture.borrow import borrowed, in_this_thread
from camlucida.capture.hooks import add_forward_hook, float_tensors_in
from camlucida.capture.layout import Kind, Layout
from camlucida.layers.perturbation import BANDS, Changes, changes, mean_of, pictures
from camlucida.layers.position_orders import ORDERS, Order, columns, rows
from camlucida.layers.run_mode import RUN_MODES, RunMode, run_model

Verdict = Literal["verified", "weak", "contradicted", "no-signal", "unverified"]

_VERIFIED, _WEAK = 0.6, 0.3  # scores from which on
_MANY = 6  # positions
_TIE = 0.01  # scores that differ by less are equal
_CLEARLY = 0.1  # by how much a less likely reading or order must score higher
_LOCAL = 0.1  # share of the change below which it is next to the same for all tokens


@dataclass(frozen=True)
class LayoutVerdict:
    """A layout, what the probe says of it, and how well it explains what changed (1 at best).

    ``live_fraction`` is the share of the positions on which the score depends.
    """

    layout: Layout
    verdict: Verdict
    score: float
    live_fraction: float = 1.0


def probe(
    module: nn.Module,
    like: Tensor,
    layouts: Mapping[str, Sequence[Layout]],
    draws: int = 1,
    run_mode: RunMode = RUN_MODES[0],
) -> dict[str, LayoutVerdict]:
    """Verdicts of layers by name, each among the layouts that its shape allows, by one forward per band.

    Only those are judged that return one tensor, once. ``like`` is an input (channels, height, width).

    Raises:
        Refused: the model cannot be run so.
    """
    changes_by_kind: dict[str, dict[Kind, list[Changes | None]]] = {name: {} for name in layouts}
    with borrowed(module):
        for draw in range(draws):
            seen = _seen(module, pictures(like, draw, run_mode), layouts, run_mode)
            for (name, kind), changed in seen.items():
                changes_by_kind[name].setdefault(kind, []).append(changed)
    verdicts = {name: _best(changes_by_kind[name], layouts[name]) for name in layouts}
    return {name: one for name, one in verdicts.items() if one is not None}


def _seen(
    module: nn.Module, shown: Tensor, layouts: Mapping[str, Sequence[Layout]], run_mode: RunMode
) -> dict[tuple[str, Kind], Changes | None]:
    """What changes in each layer, by the kind of its layout.

    Pictures run one at a time: all at once would need several times the memory of an explanation.
    """
    found: dict[tuple[str, Kind], Changes | None] = {}
    kept: dict[str, list[Tensor]] = {name: [] for name in layouts}

    def keeping(name: str) -> Callable[..., None]:
        by_kind = {layout.kind: layout for layout in reversed(layouts[name])}

        def hook(_part: nn.Module, _args: Any, output: Any) -> None:
            tensor = float_tensors_in(output)[0].detach()
            kept[name].append(tensor.clone())
            if len(kept[name]) == len(shown):
                parts = kept.pop(name)
                for kind, layout in by_kind.items():
                    if tensor.shape[layout.batch_axis] == 1:
                        found[name, kind] = changes(torch.cat([layout.to_tokens(part) for part in parts]))

        return hook

    handles = [add_forward_hook(module.get_submodule(name), in_this_thread(keeping(name))) for name in layouts]
    try:
        for one in shown:
            run_model(module, one[None].clone(), run_mode)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _best(
    changes_by_kind: Mapping[Kind, list[Changes | None]], layouts: Sequence[Layout]
) -> LayoutVerdict | None:
    """Of the kinds of layout that a shape allows, the likeliest that none clearly surpasses."""
    best: LayoutVerdict | None = None
    for kind in dict.fromkeys(layout.kind for layout in layouts):
        if kind in changes_by_kind:
            one = score_layouts(
                mean_of(changes_by_kind[kind]), [layout for layout in layouts if layout.kind == kind]
            )
            clearly = best and one.score > best.score + _CLEARLY and _is_sure(one.score, one.layout)
            best = one if best is None or clearly else best
    return best


def score_layouts(changed: Changes | None, layouts: list[Layout]) -> LayoutVerdict:
    """The layout, among those that a shape allows (likeliest first), that explains the changes best."""
    if changed is None:
        return LayoutVerdict(layouts[0], "no-signal", 0.0)
    strength = changed.strength
    score, layout = _placed(strength, layouts[0])
    for other in layouts[1:] if changed.local >= _LOCAL else ():
        placed_score, placed = _placed(strength, other)
        if placed_score > score + _CLEARLY and _is_sure(placed_score, placed):
            score, layout = placed_score, placed
    image = layout.kind in ("NCHW", "NHWC")  # whose two axes speak for themselves, unless they are exchanged
    elsewhere = max(_score(strength, layout, order) for order in ([columns] if image else ORDERS))
    if elsewhere > max(score + _CLEARLY, _VERIFIED):
        return LayoutVerdict(layout, "contradicted", score)
    if score < _WEAK and changed.local < _LOCAL:
        return LayoutVerdict(layouts[0], "no-signal", score)
    if score < _WEAK:
        return LayoutVerdict(layout, "unverified" if image else "contradicted", score)
    return LayoutVerdict(layout, "verified" if score >= _VERIFIED else "weak", score)


def _is_sure(score: float, layout: Layout) -> bool:
    """Whether a less likely layout can be trusted: few positions fit anything by chance."""
    return score >= _VERIFIED and layout.grid[0] * layout.grid[1] >= _MANY


def _placed(strength: Tensor, layout: Layout) -> tuple[float, Layout]:
    """The layout with its other tokens where they fit best: before the positions, behind, or some of both."""
    others = layout.prefix
    placements = [replace(layout, prefix=others - behind, suffix=behind) for behind in range(others + 1)]
    scores = [_score(strength, one, rows) for one in placements]
    return next(pair for pair in zip(scores, placements, strict=True) if pair[0] > max(scores) - _TIE)


def _score(strength: Tensor, layout: Layout, order: Order) -> float:
    """How well the rows and columns that the changes tell fit those of ``order``: the worse correlation."""
    positions = strength[:, layout.prefix : strength.shape[1] - layout.suffix]
    if positions.shape[1] != layout.grid[0] * layout.grid[1]:
        return -1.0
    scores = []
    for part, true in zip((positions[:BANDS], positions[BANDS:]), order(layout), strict=True):
        if true.min() < true.max():
            scores.append(_correlation(_centres(part), true.to(part)))
    return min(scores)


def _centres(part: Tensor) -> Tensor:
    """The band, from 0 to BANDS - 1, at which the changes (BANDS, positions) of each position centre."""
    centre = torch.arange(BANDS, dtype=part.dtype, device=part.device)[:, None]
    return (part * centre).sum(dim=0) / part.sum(dim=0).clamp(min=1e-12)


def responding_positions(
    module: nn.Module, like: Tensor, name: str, layout: Layout, run_mode: RunMode = RUN_MODES[0]
) -> Tensor | None:
    """The row and the column that each position of a layer answers to, (2, height, width), from 0 to 1.

    None where the changes are lost in rounding.
    """
    with borrowed(module):
        seen = _seen(module, pictures(like, 0, run_mode), {name: [layout]}, run_mode)
    changed = seen[name, layout.kind]
    if changed is None:
        return None
    strength = changed.strength
    positions = strength[:, layout.prefix : strength.shape[1] - layout.suffix]
    centres = torch.stack([_centres(positions[:BANDS]), _centres(positions[BANDS:])])
    low, high = centres.amin(dim=1, keepdim=True), centres.amax(dim=1, keepdim=True)
    return ((centres - low) / (high - low).clamp(min=1e-12)).view(2, *layout.grid)


def _correlation(one: Tensor, other: Tensor) -> float:
    a, b = one - one.mean(), other - other.mean()
    size = a.norm() * b.norm()
    return float((a @ b) / size) if size > 0 else 0.0
