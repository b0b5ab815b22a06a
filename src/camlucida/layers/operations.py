"""Where the output of an operation inside a layer lies on the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from camlucida.images import size_of
from camlucida.layers.known import Known
from camlucida.layers.layout import Layout, readings


def operation_layout(known: Known, like: Tensor, tensor: Tensor, channels_last: bool) -> Layout | None:
    """The layout of an operation's output whose channels are last or second; None if it has no positions.

    ``like`` is an input (channels, height, width). Tokens other than positions are those of the default layer,
    or none.
    """
    wanted = ("NHWC", "tokens") if channels_last else ("NCHW", "channels-first tokens")
    default = known.default(like).judged.values()
    others = {one.layout.prefix + one.layout.suffix: one.layout for one in default}
    size = size_of(like)
    axis: Any = "last" if channels_last else "first"
    for found in readings(tuple(tensor.shape), len(tensor), size, axis):
        if found.kind in wanted and not found.prefix:
            return found
        if found.kind in wanted and found.prefix in others:
            return replace(others[found.prefix], kind=found.kind, grid=found.grid)
    return None
