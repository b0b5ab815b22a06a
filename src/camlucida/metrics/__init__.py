"""Which explanation can be trusted: metrics of maps, each with its paper, direction and range.

Each metric that ``camlucida metrics`` lists is a function here, of a map, the model and its input:
``camlucida.metrics.insertion(heatmap, model, input, target)``. ``Accumulator`` is for many maps.
"""

from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camlucida.metrics.own_maps import Accumulator as Accumulator


def __getattr__(name: str) -> Any:
    from camlucida.metrics.registry import all_metrics

    if name == "Accumulator":
        from camlucida.metrics.own_maps import Accumulator

        return Accumulator
    if name.startswith("_") or name not in all_metrics():
        raise AttributeError(f"module 'camlucida.metrics' has no attribute {name!r}")
    from camlucida.metrics.own_maps import score_map

    function = partial(score_map, name)
    update_wrapper(function, score_map)
    function.__doc__ = all_metrics()[name].doc
    return function


def __dir__() -> list[str]:
    from camlucida.metrics.registry import all_metrics

    return ["Accumulator", *all_metrics()]
