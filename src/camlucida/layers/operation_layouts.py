"""The layout of the outputs of operations inside layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from torch import Tensor

from camlucida.capture.layout import Layout, readings
from camlucida.images import size_of
from camlucida.layers.inspector import LayerInspector


def operation_layouts(known: LayerInspector, like: Tensor) -> Callable[[Tensor, bool], Layout | None]:
    """What tells the layout of an operation's output, whose channels are last or second; None if it has no
    positions.

    ``like`` is an input (channels, height, width). Tokens other than positions are those of the default layer,
    or none.
    """
    size = size_of(like)

    @cache
    def others() -> dict[int, Layout]:
        """By how many there are; looked up once for all operations of a run."""
        default = known.default(like).verdicts.values()
        return {one.layout.prefix + one.layout.suffix: one.layout for one in default}

    def layout_of(tensor: Tensor, channels_last: bool) -> Layout | None:
        wanted = ("NHWC", "tokens") if channels_last else ("NCHW", "channels-first tokens")
        axis: Any = "last" if channels_last else "first"
        for found in readings(tuple(tensor.shape), len(tensor), size, axis):
            if found.kind in wanted and not found.prefix:
                return found
            if found.kind in wanted and found.prefix in others():
                return replace(others()[found.prefix], kind=found.kind, grid=found.grid)
        return None

    return layout_of
