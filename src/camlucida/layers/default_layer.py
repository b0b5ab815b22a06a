"""Which layer to look at when none is named: the last with positions, on most of which the score depends.

Not by names or architectures. A candidate is a tensor that every path from the picture to the logits runs
through, or what a normalisation makes of one, so that queries, attention matrices and residual branches drop
out by themselves; most of its positions have a gradient, so that a transformer that reads its class token is
looked at before its last attention. The last candidate is taken that the probe does not contradict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from camlucida.capture.layout import Layout
from camlucida.errors import LayerError, setting
from camlucida.layers.branches import branches, only_scores
from camlucida.layers.live_positions import LivePositions
from camlucida.layers.probe import LayoutVerdict
from camlucida.layers.survey import LayerCall, Survey

MOSTLY_LIVE = 0.5  # share of positions with a gradient from which on a layer tells something
_SMALL = 0.25  # share of the model's parameters up to which a part without positions is a pooling head
_TRIED = 6  # candidates that the probe looks at in one forward, from the last
_LATE, _EARLY = 2 / 3, 1 / 2  # depths
_ALMOST = 0.9  # share of the paths
# Share of the positions that count, and whether a map of class scores will do: a global maximum reads few
# positions of each, and a small network may have nothing else.
_STANDARDS = ((MOSTLY_LIVE, False), (1e-9, False), (1e-9, True))

THOROUGH = 4  # draws of the probe where one has left a doubt

Probe = Callable[[Mapping[str, Sequence[Layout]], int], dict[str, LayoutVerdict]]
FindLivePositions = Callable[[Sequence[str]], Mapping[str, LivePositions]]


@dataclass(frozen=True)
class DefaultLayers:
    """The layers taken by default, more than one where branches run side by side, each with its layout.

    ``remarks`` are what there is to know of the choice.
    """

    verdicts: Mapping[str, LayoutVerdict]
    remarks: tuple[str, ...] = ()


def choose(survey: Survey, probe: Probe, look: FindLivePositions) -> DefaultLayers:
    """The layers to look at by default.

    Late layers that carry the whole score are tried before sets of layers, and early ones last.

    Raises:
        LayerError: the model has no layer with positions that the score depends on.
    """
    places = candidates(survey)
    cuts = [place for place in places if place.paths == survey.paths]
    late = [[place] for place in reversed(cuts) if depth(survey, place) >= _EARLY]
    choice = _first_that_stands(survey, late, probe, look)
    if choice:
        return choice
    looks = look([place.name for place in places])
    for least, class_maps in _STANDARDS:
        fit = [
            place
            for place in places
            if _tells(looks[place.name], least, class_maps) and (class_maps or not only_scores(survey, place))
        ]
        almost = [place for place in fit if _ALMOST * survey.paths <= place.paths < survey.paths]
        cuts = [place for place in fit if place.paths == survey.paths]
        alone = [[place] for place in reversed([*almost[-_TRIED:], *cuts])]
        sets = [*branches(survey, fit, _TRIED), *alone]
        choice = _first_that_stands(survey, sets, probe, look, (least, class_maps)) if sets else None
        if choice:
            return choice
    dead = bool(places) and all(looks[place.name].live_fraction == 0 for place in places)
    raise LayerError(_refusal(survey, places, dead))


def _first_that_stands(
    survey: Survey,
    sets: Sequence[list[LayerCall]],
    probe: Probe,
    look: FindLivePositions,
    standard: tuple[float, bool] = (MOSTLY_LIVE, False),
) -> DefaultLayers | None:
    """The first set that tells something and that the probe does not contradict, tried a few at a time."""
    for start in range(0, len(sets), _TRIED):
        tried = sets[start : start + _TRIED]
        looks = look([place.name for places in tried for place in places])
        fit = [places for places in tried if all(_tells(looks[place.name], *standard) for place in places)]
        verdicts = probe({place.name: place.layouts for places in fit for place in places}, 1) if fit else {}
        for places in fit:
            found = {place.name: verdicts[place.name] for place in places if place.name in verdicts}
            if _stand(found, places) and any(one.verdict != "verified" for one in found.values()):
                found = probe({place.name: place.layouts for place in places}, THOROUGH)
            if _stand(found, places):
                return DefaultLayers(found, tuple(_remarks(survey, places)))
    return None


def _tells(look: LivePositions, least: float, class_maps: bool) -> bool:
    return look.live_fraction >= least and (class_maps or not look.class_map)


def _stand(found: Mapping[str, LayoutVerdict], places: list[LayerCall]) -> bool:
    return len(found) == len(places) and all(one.verdict != "contradicted" for one in found.values())


def candidates(survey: Survey) -> list[LayerCall]:
    """The layers that may be looked at, in order; of several that return the same, the one named shortest."""
    fit = [
        (i, place)
        for i, place in enumerate(survey.places)
        if place.layouts
        and place.calls == 1
        and place.paths
        and not _in_a_pooling_head(i, survey)
        and not _resampled(place, survey)
    ]
    shortest: dict[tuple[int, ...], LayerCall] = {}
    for _, place in fit:
        known = shortest.get(place.value_ids)
        if known is None or place.name.count(".") < known.name.count("."):
            shortest[place.value_ids] = place
    last = {place.value_ids: i for i, place in fit}
    return [shortest[value_ids] for value_ids in sorted(shortest, key=lambda value_ids: last[value_ids])]


def nearest(survey: Survey, name: str, look: FindLivePositions) -> str | None:
    """The layer that may be looked at and finishes closest to the one called ``name``."""
    order = {place.name: i for i, place in enumerate(survey.places)}
    places = candidates(survey)
    looks = look([place.name for place in places])
    for standard in _STANDARDS:
        fit = [place for place in places if _tells(looks[place.name], *standard) and place.name != name]
        cuts = [place for place in fit if place.paths == survey.paths]
        if fit:
            names = [place.name for place in cuts or fit]
            return min(names, key=lambda one: abs(order[one] - order.get(name, 0)))
    return None


def depth(survey: Survey, place: LayerCall) -> float:
    """How far in the network a layer lies, from 0 to 1."""
    return (survey.places.index(place) + 1) / len(survey.places)


def _in_a_pooling_head(index: int, survey: Survey) -> bool:
    """Whether a small part of the model made this on its way to something without positions."""
    place = survey.places[index]
    return any(
        place.name.startswith(f"{part.name}.")
        and part.finished_before <= index
        and not any(_has_grid(value_ids, survey) for value_ids in part.value_ids)
        and any(_has_grid(value_ids, survey) for value_ids in part.takes)
        and part.parameters <= _SMALL
        for part in survey.places[index + 1 :]
    )


def _has_grid(value_ids: int, survey: Survey) -> bool:
    return any(place.layouts for place in survey.places if place.value_ids == (value_ids,))


def _resampled(place: LayerCall, survey: Survey) -> bool:
    """Whether a pool or a resize made this of another grid: one finer, or that no stride leads to it from."""
    if place.parameters or place.layouts[0].kind != "NCHW":
        return False
    taken = [(value_ids,) for value_ids in place.takes]
    before = next(
        (one.shapes[0] for one in survey.places if one.value_ids in taken and len(one.shapes[0]) == 4), None
    )
    if before is None:
        return False
    grids = list(zip(before[2:], place.layouts[0].grid, strict=True))
    return not any(
        all(after in (size // stride, -(-size // stride)) for size, after in grids) for stride in (1, 2, 3, 4)
    )


def _remarks(survey: Survey, places: list[LayerCall]) -> Iterable[str]:
    share = sum(place.paths for place in places) / survey.paths
    early = depth(survey, places[-1]) < _LATE
    if len(places) > 1:
        yield f"{len(places)} layers carry the score together, and none does alone: their maps are added"
    elif share < 1:
        yield f"{share:.1%} of the paths to the score run through it, and no later layer has all"
    if early:
        yield (
            f"it lies at {depth(survey, places[-1]):.0%} of the network, and no later layer has positions and "
            "carries the whole score"
        )


def _refusal(survey: Survey, tried: Sequence[LayerCall], dead: bool) -> str:
    """Why nothing can be looked at; ``dead``: no gradient reaches any of the layers that were tried."""
    hint = f"name one ({setting('layers', 'NAME')}), `camlucida layers MODEL` lists them"
    unseen = next((place for place in reversed(survey.places) if place.hidden), None)
    nothing = not any(place.layouts for place in survey.places)
    if unseen and (nothing or not survey.paths):
        return f"this model has no layer that can be looked at: {unseen.name!r}, its last, {unseen.hidden}"
    if nothing:
        return "this model has no layer whose output has positions, so that there is nothing to draw"
    if not survey.paths:
        return (
            "the score does not depend on the picture through anything that records gradients (a zero head, "
            f"or gradients switched off inside the model): check its weights, or {hint}"
        )
    if dead:
        return (
            "the score is the same whatever the picture shows, since no gradient reaches any layer: weights "
            "that make it are zero, as those of a head may be before training, so load or train them first"
        )
    if tried:
        names = ", ".join(place.name for place in reversed(tried[-_TRIED:]))
        return (
            f"the score does not depend on the positions of {names}, or they do not answer to places in the "
            f"picture as their shapes suggest: {hint}"
        )
    return f"no single layer has positions that the whole score runs through: {hint}"
