"""The last layer of each grid, from fine to coarse."""

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
    layer_calls = candidates(seen)
    looks = known.look(like, [call.name for call in layer_calls])
    last: dict[Size, str] = {}
    for call in layer_calls:
        if call.paths == seen.paths and looks[call.name].live_fraction > 0 and not looks[call.name].class_map:
            last[call.layouts[0].grid] = call.name
    verdicts = {name: known.verdict_of(name, like) for name in reversed(last.values())}
    return [name for name, one in verdicts.items() if one and one.verdict == "verified"]
