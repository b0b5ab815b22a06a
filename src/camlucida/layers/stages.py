"""The last layer of each grid: where a network can be looked at, from fine to coarse."""

from __future__ import annotations

from torch import Tensor

from camlucida.images import Size
from camlucida.layers.default_layer import candidates
from camlucida.layers.inspector import LayerInspector


def stages(known: LayerInspector, like: Tensor) -> list[str]:
    """The last verified layer of each grid that all paths run through, the latest first.

    ``like`` is an input (channels, height, width).
    """
    seen = known.survey(like)
    places = candidates(seen)
    looks = known.look(like, [place.name for place in places])
    last: dict[Size, str] = {}
    for place in places:
        if (
            place.paths == seen.paths
            and looks[place.name].live_fraction > 0
            and not looks[place.name].class_map
        ):
            last[place.layouts[0].grid] = place.name
    verdicts = {name: known.verdict_of(name, like) for name in reversed(last.values())}
    return [name for name, one in verdicts.items() if one and one.verdict == "verified"]
