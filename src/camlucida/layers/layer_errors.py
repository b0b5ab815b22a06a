"""Errors for layers that cannot be explained, with a layer that can."""

from __future__ import annotations

from camlucida.capture.layout import Layout
from camlucida.layers.probe import LayoutVerdict
from camlucida.layers.survey import Survey
from camlucida.layers.trace import Shape


def offered(near: str | None) -> str:
    """The layer to use instead of the named one."""
    return (
        f"the nearest layer that works is {near!r}"
        if near
        else "`camlucida layers MODEL` lists those that work"
    )


def without_positions(seen: Survey, name: str, found: LayoutVerdict | None, offer: str) -> str:
    """Of a layer whose shape is no grid's, or whose numbers do not lie as the shape suggests."""
    shape = next(place.shapes[0] for place in seen.layer_calls if place.name == name)
    size = f"{seen.size[0]}×{seen.size[1]}"
    returns = "×".join(map(str, shape))
    if found is None:
        reason = f"layer {name!r} returns {returns}, which for an input of {size} fits no grid of positions"
    else:
        reason = (
            f"layer {name!r} returns {returns}, which looks like {found.layout} but does not answer to "
            "places in the picture in that order"
        )
    return f"{reason}: {offer}"


def without_gradient(name: str, offer: str) -> str:
    """Of a layer on no position of which the score depends."""
    return (
        f"the score does not depend on any position of layer {name!r} (behind it only a class token is "
        f"read, or nothing at all, or weights are zero), so that a gradient method has nothing to show: {offer}"
    )


def changed(name: str, shape: Shape, layout: Layout) -> str:
    """Of a layer that returns another shape than before."""
    return (
        f"layer {name!r} returns {shape} and returned {layout} before, for the same size of input: choose "
        "another (`camlucida layers MODEL` lists those that work)"
    )
