"""Which token answers to which place in the picture: confirms a layout, or contradicts it.

Bands of a noise picture are replaced one at a time. What changed in a token tells where it looks: its row is
the mean of the bands' rows, weighted by how much each band changed it, and likewise its column. What reaches
all positions alike is subtracted first, so that global pools and attention do not hide the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from camlucida.custody import lent
from camlucida.errors import is_out_of_memory
from camlucida.layers.layout import Layout
from camlucida.layers.trace import tensors_in

Verdict = Literal["verified", "weak", "contradicted", "no-signal", "unverified"]

BANDS = 3  # in each direction
PICTURES = 1 + 2 * BANDS
_VERIFIED, _WEAK = 0.6, 0.3  # scores from which on
_MANY = 6  # positions
_TIE = 0.01  # scores that differ by less are equal
_CLEARLY = 0.1  # by how much a less likely reading or order must score higher
_LOCAL = 0.1  # share of the change below which it is next to the same for all tokens
_SIGNAL = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@dataclass(frozen=True)
class Judged:
    """A layout, what the probe says of it, and how well it explains what changed (1 at best).

    ``alive`` is the share of the positions on which the score depends.
    """

    layout: Layout
    verdict: Verdict
    score: float
    alive: float = 1.0


def probe(module: nn.Module, like: Tensor, layouts: Mapping[str, Sequence[Layout]]) -> dict[str, Judged]:
    """Judge layers by name, each with the layouts that its shape allows, from one forward of PICTURES pictures.

    Only those are judged that return one tensor, once. ``like`` is an input (channels, height, width).
    """
    with lent(module):
        shown = pictures(like)
        try:
            return _judged(module, shown, layouts, PICTURES)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return _judged(module, shown, layouts, 1)


def _judged(
    module: nn.Module, shown: Tensor, layouts: Mapping[str, Sequence[Layout]], size: int
) -> dict[str, Judged]:
    """The same, ``size`` pictures at a time; what layers return is kept until all have been shown."""
    found: dict[str, Judged] = {}
    kept: dict[str, list[Tensor]] = {name: [] for name in layouts}

    def judging(name: str) -> Callable[..., None]:
        def hook(_part: nn.Module, _args: Any, output: Any) -> None:
            (tensor,) = tensors_in(output)
            kept[name].append(tensor.clone() if size < len(shown) else tensor)
            if len(kept[name]) * size == len(shown):
                best = _best(kept.pop(name), layouts[name], size)
                found.update({name: best} if best else {})

        return hook

    handles = [module.get_submodule(name).register_forward_hook(judging(name)) for name in layouts]
    try:
        for part in shown.split(size):  # type: ignore[no-untyped-call]
            module(part.clone())
    finally:
        for handle in handles:
            handle.remove()
    return found


def _best(parts: list[Tensor], layouts: Sequence[Layout], size: int) -> Judged | None:
    """Of the kinds of layout that a shape allows, the likeliest that none clearly surpasses."""
    judged = []
    for kind in dict.fromkeys(layout.kind for layout in layouts):
        allowed = [layout for layout in layouts if layout.kind == kind]
        if parts[0].shape[allowed[0].batch_axis] == size:
            tokens = torch.cat([allowed[0].to_tokens(part) for part in parts])
            judged.append(judge(changes(tokens), allowed))
    best = judged[0] if judged else None
    for one in judged[1:]:
        if best and one.score > best.score + _CLEARLY and _is_sure(one.score, one.layout):
            best = one
    return best


def pictures(like: Tensor) -> Tensor:
    """(PICTURES, channels, height, width): noise, then with each row band and each column band replaced."""
    generator = torch.Generator().manual_seed(7)
    draw = partial(torch.randn, *like.shape, generator=generator, dtype=torch.float64)
    base, found = draw(), []
    for axis in (1, 2):
        for number in range(BANDS):
            edges = [like.shape[axis] * step // BANDS for step in (number, number + 1)]
            changed, other = base.clone(), draw()
            band = [slice(None)] * 3
            band[axis] = slice(*edges)
            changed[tuple(band)] += 0.1 * other[tuple(band)]
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
    tokens = tokens.double()
    changed = tokens[1:] - tokens[:1]
    local = changed - changed.mean(dim=1, keepdim=True)
    strength = local.norm(dim=2)
    scale = tokens[0].norm(dim=1).mean()
    if not bool(strength.isfinite().all()) or not bool((strength.mean(dim=1) > smallest * scale).all()):
        return None
    share = float(strength.mean() / changed.norm(dim=2).mean())
    return Changes(strength / strength.mean(dim=1, keepdim=True), share)


def judge(changed: Changes | None, layouts: list[Layout]) -> Judged:
    """The layout, among those that a shape allows (likeliest first), that explains the changes best."""
    if changed is None:
        return Judged(layouts[0], "no-signal", 0.0)
    strength = changed.strength
    score, layout = _placed(strength, layouts[0])
    for other in layouts[1:] if changed.local >= _LOCAL else ():
        told, placed = _placed(strength, other)
        if told > score + _CLEARLY and _is_sure(told, placed):
            score, layout = told, placed
    image = layout.kind in ("NCHW", "NHWC")  # whose two axes speak for themselves, unless they are exchanged
    elsewhere = max(_score(strength, layout, order) for order in ([_columns] if image else _ORDERS))
    if elsewhere > max(score + _CLEARLY, _VERIFIED):
        return Judged(layout, "contradicted", score)
    if score < _WEAK and changed.local < _LOCAL:
        return Judged(layouts[0], "no-signal", score)
    if score < _WEAK:
        return Judged(layout, "unverified" if image else "contradicted", score)
    return Judged(layout, "verified" if score >= _VERIFIED else "weak", score)


def _is_sure(score: float, layout: Layout) -> bool:
    """Whether a less likely reading may be believed: few positions fit anything by chance."""
    return score >= _VERIFIED and layout.grid[0] * layout.grid[1] >= _MANY


def _placed(strength: Tensor, layout: Layout) -> tuple[float, Layout]:
    """The layout with its other tokens where they fit best: before the positions, behind, or some of both."""
    others = layout.prefix
    placements = [replace(layout, prefix=others - behind, suffix=behind) for behind in range(others + 1)]
    scores = [_score(strength, one, _rows) for one in placements]
    return next(pair for pair in zip(scores, placements, strict=True) if pair[0] > max(scores) - _TIE)


Order = Callable[[Layout], tuple[Tensor, Tensor]]  # the row and the column of each position, (positions,)


def _score(strength: Tensor, layout: Layout, order: Order) -> float:
    """How well the rows and columns that the changes tell fit those of ``order``: the worse correlation."""
    positions = strength[:, layout.prefix : strength.shape[1] - layout.suffix]
    if positions.shape[1] != layout.grid[0] * layout.grid[1]:
        return -1.0
    scores = []
    for part, true in zip((positions[:BANDS], positions[BANDS:]), order(layout), strict=True):
        if true.min() < true.max():
            centre = torch.arange(BANDS, dtype=part.dtype, device=part.device)[:, None]
            told = (part * centre).sum(dim=0) / part.sum(dim=0).clamp(min=1e-12)
            scores.append(_correlation(told, true.to(part)))
    return min(scores)


def _correlation(one: Tensor, other: Tensor) -> float:
    a, b = one - one.mean(), other - other.mean()
    size = a.norm() * b.norm()
    return float((a @ b) / size) if size > 0 else 0.0


def _rows(layout: Layout) -> tuple[Tensor, Tensor]:
    """Row by row, as all layouts are read."""
    height, width = layout.grid
    row = torch.arange(height)[:, None].expand(height, width)
    column = torch.arange(width).expand(height, width)
    return row.flatten(), column.flatten()


def _columns(layout: Layout) -> tuple[Tensor, Tensor]:
    height, width = layout.grid
    row = torch.arange(height).expand(width, height)
    column = torch.arange(width)[:, None].expand(width, height)
    return row.flatten(), column.flatten()


def _flipped(layout: Layout, axis: int) -> tuple[Tensor, Tensor]:
    places = list(_rows(layout))
    places[axis] = layout.grid[axis] - 1 - places[axis]
    return places[0], places[1]


def _windows(layout: Layout, side: int) -> tuple[Tensor, Tensor]:
    """Window by window; row by row where the windows do not fit the grid."""
    height, width = layout.grid
    if height % side or width % side:
        return _rows(layout)
    row, column = (
        place.view(height // side, side, width // side, side).transpose(1, 2).flatten()
        for place in (one.view(height, width) for one in _rows(layout))
    )
    return row, column


def _unrolled(layout: Layout, side: int) -> tuple[Tensor, Tensor]:
    """All first positions of the windows, then all second ones, and so on."""
    height, width = layout.grid
    if height % side or width % side:
        return _rows(layout)
    row, column = (
        place.view(height // side, side, width // side, side).permute(1, 3, 0, 2).flatten()
        for place in (one.view(height, width) for one in _rows(layout))
    )
    return row, column


_ORDERS: list[Order] = [
    _columns,
    partial(_flipped, axis=0),
    partial(_flipped, axis=1),
    *(partial(order, side=side) for order in (_windows, _unrolled) for side in (2, 4, 7, 8)),
]
