"""The default layer: the last one with positions on most of which the score depends.

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
    """The default layers, several for parallel branches, each with its layout.

    ``remarks`` are what there is to know of the choice.
    """

    verdicts: Mapping[str, LayoutVerdict]
    remarks: tuple[str, ...] = ()


def choose(survey: Survey, probe: Probe, look: FindLivePositions) -> DefaultLayers:
    """Choose the default layers.

    Late layers that carry the whole score are tried before sets of layers, and early ones last.

    Raises:
        LayerError: the model has no layer with positions that the score depends on.
    """
    layer_calls = candidates(survey)
    cuts = [call for call in layer_calls if call.paths == survey.paths]
    late = [[call] for call in reversed(cuts) if depth(survey, call) >= _EARLY]
    choice = _first_that_stands(survey, late, probe, look)
    if choice:
        return choice
    looks = look([call.name for call in layer_calls])
    for least, class_maps in _STANDARDS:
        fit = [
            call
            for call in layer_calls
            if _tells(looks[call.name], least, class_maps) and (class_maps or not only_scores(survey, call))
        ]
        almost = [call for call in fit if _ALMOST * survey.paths <= call.paths < survey.paths]
        cuts = [call for call in fit if call.paths == survey.paths]
        alone = [[call] for call in reversed([*almost[-_TRIED:], *cuts])]
        sets = [*branches(survey, fit, _TRIED), *alone]
        choice = _first_that_stands(survey, sets, probe, look, (least, class_maps)) if sets else None
        if choice:
            return choice
    dead = bool(layer_calls) and all(looks[call.name].live_fraction == 0 for call in layer_calls)
    raise LayerError(_refusal(survey, layer_calls, dead))


def _first_that_stands(
    survey: Survey,
    sets: Sequence[list[LayerCall]],
    probe: Probe,
    look: FindLivePositions,
    standard: tuple[float, bool] = (MOSTLY_LIVE, False),
) -> DefaultLayers | None:
    """The first set with live positions that the probe does not contradict, tried a few at a time."""
    for start in range(0, len(sets), _TRIED):
        tried = sets[start : start + _TRIED]
        looks = look([call.name for layer_calls in tried for call in layer_calls])
        fit = [
            layer_calls
            for layer_calls in tried
            if all(_tells(looks[call.name], *standard) for call in layer_calls)
        ]
        verdicts = (
            probe({call.name: call.layouts for layer_calls in fit for call in layer_calls}, 1) if fit else {}
        )
        for layer_calls in fit:
            found = {call.name: verdicts[call.name] for call in layer_calls if call.name in verdicts}
            if _stand(found, layer_calls) and any(one.verdict != "verified" for one in found.values()):
                found = probe({call.name: call.layouts for call in layer_calls}, THOROUGH)
            if _stand(found, layer_calls):
                return DefaultLayers(found, tuple(_remarks(survey, layer_calls)))
    return None


def _tells(look: LivePositions, least: float, class_maps: bool) -> bool:
    return look.live_fraction >= least and (class_maps or not look.class_map)


def _stand(found: Mapping[str, LayoutVerdict], layer_calls: list[LayerCall]) -> bool:
    return len(found) == len(layer_calls) and all(one.verdict != "contradicted" for one in found.values())


def candidates(survey: Survey) -> list[LayerCall]:
    """Candidate layers in order; of several with the same output, the one with the shortest name."""
    fit = [
        (i, call)
        for i, call in enumerate(survey.layer_calls)
        if call.layouts
        and call.calls == 1
        and call.paths
        and not _in_a_pooling_head(i, survey)
        and not _resampled(call, survey)
    ]
    shortest: dict[tuple[int, ...], LayerCall] = {}
    for _, call in fit:
        known = shortest.get(call.value_ids)
        if known is None or call.name.count(".") < known.name.count("."):
            shortest[call.value_ids] = call
    last = {call.value_ids: i for i, call in fit}
    return [shortest[value_ids] for value_ids in sorted(shortest, key=lambda value_ids: last[value_ids])]


def nearest(survey: Survey, name: str, look: FindLivePositions) -> str | None:
    """The candidate that finishes closest to the layer ``name``."""
    order = {call.name: i for i, call in enumerate(survey.layer_calls)}
    layer_calls = candidates(survey)
    looks = look([call.name for call in layer_calls])
    for standard in _STANDARDS:
        fit = [call for call in layer_calls if _tells(looks[call.name], *standard) and call.name != name]
        cuts = [call for call in fit if call.paths == survey.paths]
        if fit:
            names = [call.name for call in cuts or fit]
            return min(names, key=lambda one: abs(order[one] - order.get(name, 0)))
    return None


def depth(survey: Survey, call: LayerCall) -> float:
    """How far in the network a layer lies, from 0 to 1."""
    return (survey.layer_calls.index(call) + 1) / len(survey.layer_calls)


def _in_a_pooling_head(index: int, survey: Survey) -> bool:
    """Whether the layer belongs to a small pooling head."""
    call = survey.layer_calls[index]
    return any(
        call.name.startswith(f"{part.name}.")
        and part.finished_before <= index
        and not any(_has_grid(value_ids, survey) for value_ids in part.value_ids)
        and any(_has_grid(value_ids, survey) for value_ids in part.takes)
        and part.parameters <= _SMALL
        for part in survey.layer_calls[index + 1 :]
    )


def _has_grid(value_ids: int, survey: Survey) -> bool:
    return any(call.layouts for call in survey.layer_calls if call.value_ids == (value_ids,))


def _resampled(call: LayerCall, survey: Survey) -> bool:
    """Whether a pool or a resize made this of another grid: one finer, or that no stride leads to it from."""
    if call.parameters or call.layouts[0].kind != "NCHW":
        return False
    taken = [(value_ids,) for value_ids in call.takes]
    before = next(
        (one.shapes[0] for one in survey.layer_calls if one.value_ids in taken and len(one.shapes[0]) == 4),
        None,
    )
    if before is None:
        return False
    grids = list(zip(before[2:], call.layouts[0].grid, strict=True))
    return not any(
        all(after in (size // stride, -(-size // stride)) for size, after in grids) for stride in (1, 2, 3, 4)
    )


def _remarks(survey: Survey, layer_calls: list[LayerCall]) -> Iterable[str]:
    share = sum(call.paths for call in layer_calls) / survey.paths
    early = depth(survey, layer_calls[-1]) < _LATE
    if len(layer_calls) > 1:
        yield f"{len(layer_calls)} layers carry the score together, and none does alone: their maps are added"
    elif share < 1:
        yield f"{share:.1%} of the paths to the score run through it, and no later layer has all"
    if early:
        yield (
            f"it lies at {depth(survey, layer_calls[-1]):.0%} of the network; no later layer has positions and "
            "carries the whole score"
        )


def _refusal(survey: Survey, tried: Sequence[LayerCall], dead: bool) -> str:
    """Why there is no default layer; ``dead``: no gradient reaches any of the tried layers."""
    hint = f"name one ({setting('layers', 'NAME')}), `camlucida layers MODEL` lists them"
    unseen = next((call for call in reversed(survey.layer_calls) if call.hidden), None)
    nothing = not any(call.layouts for call in survey.layer_calls)
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
        names = ", ".join(call.name for call in reversed(tried[-_TRIED:]))
        return (
            f"the score does not depend on the positions of {names}, or they do not answer to places in the "
            f"picture as their shapes suggest: {hint}"
        )
    return f"no single layer has positions that the whole score runs through: {hint}"
