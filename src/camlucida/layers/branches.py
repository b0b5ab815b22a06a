"""Sets of layers that carry the score together: vertex cuts, the latest first.

A set counts if no path from the logits to the picture is left without its layers, and none of them can be
spared: networks side by side, two streams, the ways through a block, the levels of a detector's neck. By
maximum flow (Ford and Fulkerson 1956): each candidate lets one path through, so that as many paths as layers
pass at most, and the layers that stop them nearest to the logits are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from camlucida.layers.paths import Graph, Numbered
from camlucida.layers.survey import LayerCall, Survey

MOST = 8  # layers in a set
_OUT = "out"


def branches(survey: Survey, candidates: Sequence[LayerCall], most: int) -> list[list[LayerCall]]:
    """Up to ``most`` sets among ``candidates`` (in the order in which they finish), the latest first."""
    fit = [call for call in candidates if call.edge is not None]
    by_edge = {call.edge: call for call in fit}  # of several with the same tensor the last
    edges = list(dict.fromkeys(call.edge for call in fit if call.edge is not None))
    found: list[list[LayerCall]] = []
    for members in _latest_cuts(survey.graph, edges):
        found.append([by_edge[edge] for edge in members])
        if len(found) == most:
            break
    return found


def _latest_cuts(graph: Graph, edges: Sequence[Numbered]) -> Iterator[list[Numbered]]:
    """The cuts among ``edges``, those whose earliest member is latest first."""
    left = list(edges)
    while left and graph.cut_by(left):
        low, high = 0, len(left)  # the cut begins at the last place from which on there is one
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if graph.cut_by(left[middle:]) else (low, middle)
        members = _nearest_cut(graph, left[low:])
        if members:
            yield members
        left.pop(low)


def _nearest_cut(graph: Graph, edges: Sequence[Numbered]) -> list[Numbered]:
    """The smallest cut among ``edges`` that lies nearest to the logits; none where it has more than MOST."""
    import networkx

    flow = networkx.DiGraph()
    passing = set(edges)
    steps = [(node, edge) for node, following in enumerate(graph.following) for edge in following]
    for above, edge in [*steps, (_OUT, graph.root)]:
        if edge in passing:
            flow.add_edge(edge[0], edge, capacity=1)
            flow.add_edge(edge, above)  # without a capacity, and so without a limit
        else:
            flow.add_edge(edge[0], above)
    size, (_, reaching) = networkx.minimum_cut(flow, graph.source, _OUT)
    stopped: Any = [edge for edge in edges if edge in reaching and edge[0] not in reaching]
    return stopped if size <= MOST else []


def only_scores(survey: Survey, call: LayerCall) -> bool:
    """Whether a layer has a channel for each class, and no layer with weights comes behind it."""
    axes = {"NCHW": 1, "NHWC": 3, "channels-first tokens": 1}
    if call.shapes[0][axes.get(call.layouts[0].kind, 2)] != survey.classes or call.edge is None:
        return False
    after = survey.layer_calls[survey.layer_calls.index(call) + 1 :]
    behind = [one.edge for one in after if one.parameters and one.edge not in (None, call.edge)]
    edges = [call.edge, *(edge for edge in behind if edge is not None)]
    return not any(fed & 1 for fed in survey.graph.feeding(edges)[1:])
