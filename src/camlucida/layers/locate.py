"""Which layer to look at when none is named: the last with positions, on most of which the score depends.

Not by names or architectures. A candidate is a tensor that every path from the picture to the logits runs
through, or what a normalisation makes of one, so that queries, attention matrices and residual branches drop
out by themselves; most of its positions have a gradient, so that a transformer that reads its class token is
looked at before its last attention. The last candidate is taken that the probe does not contradict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from camlucida.errors import LayerError
from camlucida.layers.layout import Layout
from camlucida.layers.probe import Judged
from camlucida.layers.survey import Place, Survey

ALIVE = 0.5  # share of positions with a gradient from which on a layer tells something
_SMALL = 0.25  # share of the model's parameters up to which a part without positions is a pooling head
_TRIED = 6  # candidates that the probe looks at in one forward, from the last
_LATE, _EARLY = 2 / 3, 1 / 2  # depths
_ALMOST = 0.9  # share of the paths
_MOST_BRANCHES = 4

THOROUGH = 4  # draws of the probe where one has left a doubt

Probe = Callable[[Mapping[str, Sequence[Layout]], int], dict[str, Judged]]


@dataclass(frozen=True)
class Choice:
    """The layers taken by default, more than one where branches run side by side, each with its layout.

    ``remarks`` are what there is to know of the choice.
    """

    judged: Mapping[str, Judged]
    remarks: tuple[str, ...] = ()


def choose(survey: Survey, probe: Probe) -> Choice:
    """The layers to look at by default.

    Raises:
        LayerError: the model has no layer with positions that the score depends on.
    """
    # A global maximum reads few positions of each, and a small network may have nothing but a class map.
    fit = candidates(survey, ALIVE) or candidates(survey) or candidates(survey, class_maps=True)
    cuts = [place for place in fit if place.paths == survey.paths]
    sets = [[place] for place in reversed(cuts)]
    if not cuts or depth(survey, cuts[-1]) < _EARLY:
        sets = [*_branches(survey, fit), *sets]
    for start in range(0, len(sets), _TRIED):
        tried = sets[start : start + _TRIED]
        judged = probe({place.name: place.layouts for places in tried for place in places}, 1)
        for places in tried:
            found = {place.name: judged[place.name] for place in places if place.name in judged}
            if _stand(found, places) and any(one.verdict != "verified" for one in found.values()):
                found = probe({place.name: place.layouts for place in places}, THOROUGH)
            if _stand(found, places):
                return Choice(found, tuple(_remarks(survey, places)))
    raise LayerError(_refusal(survey, sets))


def _stand(found: Mapping[str, Judged], places: list[Place]) -> bool:
    return len(found) == len(places) and all(one.verdict != "contradicted" for one in found.values())


def candidates(survey: Survey, alive: float = 1e-9, class_maps: bool = False) -> list[Place]:
    """The layers that may be looked at, in order; of several that return the same, the one named shortest.

    On at least the share ``alive`` of their positions the score depends. ``class_maps`` takes those with a
    channel for each class too, which is all that small networks have.
    """
    fit = [
        (i, place)
        for i, place in enumerate(survey.places)
        if place.layouts
        and place.calls == 1
        and place.paths
        and place.alive >= alive
        and (class_maps or not _class_map(place, survey))
        and not _in_a_pooling_head(i, survey)
        and not _resampled(place, survey)
    ]
    shortest: dict[tuple[int, ...], Place] = {}
    for _, place in fit:
        known = shortest.get(place.same)
        if known is None or place.name.count(".") < known.name.count("."):
            shortest[place.same] = place
    last = {place.same: i for i, place in fit}
    return [shortest[same] for same in sorted(shortest, key=lambda same: last[same])]


def nearest(survey: Survey, name: str) -> str | None:
    """The layer that may be looked at and finishes closest to the one called ``name``."""
    order = {place.name: i for i, place in enumerate(survey.places)}
    places = candidates(survey, ALIVE) or candidates(survey) or candidates(survey, class_maps=True)
    cuts = [place for place in places if place.paths == survey.paths]
    fit = [place.name for place in cuts or places if place.name != name]
    return min(fit, key=lambda one: abs(order[one] - order.get(name, 0)), default=None)


def depth(survey: Survey, place: Place) -> float:
    """How far in the network a layer lies, from 0 to 1."""
    return (survey.places.index(place) + 1) / len(survey.places)


def _branches(survey: Survey, fit: list[Place]) -> list[list[Place]]:
    """Layers of different grids through which, together, all paths run, the latest ones first.

    Behind them the last layers through which almost all paths run.
    """
    by_grid: dict[tuple[int, int], dict[int, Place]] = {}
    for place in fit:
        if place.paths < survey.paths:
            by_grid.setdefault(place.layouts[0].grid, {})[place.paths] = place  # the last with this many
    found: list[list[Place]] = []
    for count in range(2, min(len(by_grid), _MOST_BRANCHES) + 1):
        for grids in combinations(by_grid.values(), count):
            found += _adding_up(survey.paths, list(grids))
    order = {place.name: i for i, place in enumerate(survey.places)}
    found.sort(key=lambda places: min(order[place.name] for place in places), reverse=True)
    almost = [place for place in fit if _ALMOST * survey.paths <= place.paths < survey.paths]
    return [*found[:_TRIED], *([place] for place in reversed(almost[-_TRIED:]))]


def _adding_up(total: int, grids: list[dict[int, Place]]) -> list[list[Place]]:
    """One layer of each grid, so that their paths add up to ``total``."""
    first, *rest = grids
    if not rest:
        return [[first[total]]] if total in first else []
    return [
        [place, *others]
        for paths, place in first.items()
        if paths < total
        for others in _adding_up(total - paths, rest)
    ]


def _class_map(place: Place, survey: Survey) -> bool:
    """Whether the channels are the classes: a map of logits, behind which nothing but pooling remains."""
    axes = {"NCHW": 1, "NHWC": 3, "channels-first tokens": 1}
    return place.shapes[0][axes.get(place.layouts[0].kind, 2)] == survey.classes


def _in_a_pooling_head(index: int, survey: Survey) -> bool:
    """Whether a small part of the model made this on its way to something without positions."""
    place = survey.places[index]
    return any(
        place.name.startswith(f"{part.name}.")
        and part.begun <= index
        and not any(_has_grid(same, survey) for same in part.same)
        and any(_has_grid(same, survey) for same in part.takes)
        and part.parameters <= _SMALL
        for part in survey.places[index + 1 :]
    )


def _has_grid(same: int, survey: Survey) -> bool:
    return any(place.layouts for place in survey.places if place.same == (same,))


def _resampled(place: Place, survey: Survey) -> bool:
    """Whether an adaptive pool made this of another grid, one that no stride leads to it from."""
    if place.parameters or place.layouts[0].kind != "NCHW":
        return False
    before = [one for one in survey.places if one.same in [(same,) for same in place.takes] and one.layouts]
    if not before or before[0].layouts[0].kind != "NCHW":
        return False
    grids = zip(before[0].layouts[0].grid, place.layouts[0].grid, strict=True)
    return not any(
        all(after in (size // stride, -(-size // stride)) for size, after in grids)
        for grids in [list(grids)]
        for stride in (1, 2, 3, 4)
    )


def _remarks(survey: Survey, places: list[Place]) -> Iterable[str]:
    share = sum(place.paths for place in places) / survey.paths
    if len(places) > 1:
        yield f"the network has {len(places)} branches, one layer each: their maps are averaged"
    elif share < 1:
        yield f"{share:.1%} of the paths to the score run through it, and no later layer has all"
    if depth(survey, places[-1]) < _LATE:
        yield f"it lies at {depth(survey, places[-1]):.0%} of the network, and no later layer has positions"


def _refusal(survey: Survey, tried: list[list[Place]]) -> str:
    hint = "name one (`--layer`, `layers=[…]`), `camlucida layers MODEL` lists them"
    if not any(place.layouts for place in survey.places):
        return "this model has no layer whose output has positions, so that there is nothing to draw"
    if not survey.paths:
        return (
            "the score does not depend on the picture through anything that records gradients (a zero head, "
            f"or gradients switched off inside the model): check its weights, or {hint}"
        )
    if tried:
        names = ", ".join(place.name for places in tried[:_TRIED] for place in places)
        return (
            f"the positions of {names} do not answer to places in the picture as their shapes suggest: {hint}"
        )
    return f"no single layer has positions that the whole score runs through: {hint}"
