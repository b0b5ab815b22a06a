"""Layers that carry the score together where none does alone: vertex cuts of several members.

A set counts only if no path from the logits to the picture is left without its layers. Mostly no path joins
two of them: networks side by side, two streams, the two ways through a block. In the neck of a detector the
levels feed one another; there one layer a grid is taken, the last of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from camlucida.layers.graph import Numbered
from camlucida.layers.survey import Place, Survey

MOST = 8  # members
_LOOKED_AT = 400  # candidates, from the last, that a search begins at


def branches(survey: Survey, candidates: Sequence[Place]) -> list[list[Place]]:
    """The sets among ``candidates`` (in the order in which they finish), the latest first."""
    fit = [place for place in candidates if place.edge is not None and place.paths < survey.paths]
    edges = [place.edge for place in fit if place.edge is not None]
    below = survey.graph.feeding(edges)
    found: dict[tuple[int, ...], int] = {}
    for last in range(len(fit) - 1, max(-1, len(fit) - 1 - _LOOKED_AT), -1):
        apart, levels = _apart(fit, below, last), _levels(fit, below, last)
        for rank, members in enumerate((apart, levels)):
            if not survey.graph.cut_by([edges[one] for one in members]):
                continue
            needed = _needed(survey, edges, members)
            if 1 < len(needed) <= MOST and (rank or not _pieces(fit, below, needed)):
                found.setdefault(tuple(sorted(needed)), rank)
    order = sorted(found, key=lambda members: (-members[0], found[members]))
    return [[fit[one] for one in members] for members in order]


def _apart(fit: Sequence[Place], below: Sequence[int], last: int) -> list[int]:
    """The latest candidates up to ``last`` of which none leads to another."""
    members: list[int] = []
    reached = 0
    for one in range(last, -1, -1):
        if not reached >> one & 1:
            members.append(one)
            reached |= below[one]
    return members


def _levels(fit: Sequence[Place], below: Sequence[int], last: int) -> list[int]:
    """The last candidate of each grid up to ``last``, whatever it leads to."""
    grids: dict[tuple[int, int], int] = {}
    for one in range(last, -1, -1):
        grids.setdefault(fit[one].layouts[0].grid, one)
    return list(grids.values())


def _needed(survey: Survey, edges: Sequence[Numbered], members: Sequence[int]) -> list[int]:
    """The members without which paths are left; the earliest are dropped first."""
    needed = sorted(members)
    for one in sorted(members):
        rest = [other for other in needed if other != one]
        if survey.graph.cut_by([edges[other] for other in rest]):
            needed = rest
    return needed


def _pieces(fit: Sequence[Place], below: Sequence[int], members: Sequence[int]) -> bool:
    """Whether two members of one grid are pieces of one block: both are made of one more layer of that grid."""
    for place, one in enumerate(members):
        for other in members[place + 1 :]:
            grid = fit[one].layouts[0].grid
            if grid != fit[other].layouts[0].grid:
                continue
            common = below[one] & below[other]
            if any(
                common >> ancestor & 1 and fit[ancestor].layouts[0].grid == grid for ancestor in range(len(fit))
            ):
                return True
    return False
