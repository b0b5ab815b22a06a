"""Layouts carried over from one input size to another: the same axes, another grid."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from camlucida.capture.borrow import borrowed, in_this_thread
from camlucida.capture.hooks import add_forward_hook, float_tensors_in
from camlucida.capture.layout import Layout, is_grid, readings
from camlucida.images import size_of
from camlucida.layers.cache import CachedLayers
from camlucida.layers.run_mode import Refused, RunMode, run_model
from camlucida.layers.trace import Shape


def grown(module: nn.Module, like: Tensor, known: CachedLayers, run_mode: RunMode) -> CachedLayers | None:
    """The entry with the grids that inputs like ``like`` (channels, height, width) give, from one forward.

    None where a layer returns something else now, where more than one grid would fit, or where the picture may
    lie elsewhere in the grid: then all is found out anew.
    """
    if known.uneven:
        return None
    shapes = _shapes(module, like, known, run_mode)
    size = size_of(like)
    verdicts = {}
    for name, one in known.verdicts.items():
        layout = _grown(one.layout, shapes.get(name), size)
        if layout is not None:
            verdicts[name] = replace(one, layout=layout)
    resized = {name: one.layout.grid for name, one in verdicts.items() if not is_grid(one.layout.grid, size)}
    if resized and all(known.verdicts[name].layout.grid == grid for name, grid in resized.items()):
        return None  # it resizes inside, and may pad
    return CachedLayers(known.default, known.remarks, verdicts) if set(known.default) <= set(verdicts) else None


def _shapes(module: nn.Module, like: Tensor, known: CachedLayers, run_mode: RunMode) -> dict[str, Shape]:
    """What each known layer returns, of layers that return one tensor, once."""
    found: dict[str, list[Shape]] = {name: [] for name in known.verdicts}

    def noting(name: str):  # type: ignore[no-untyped-def]
        return in_this_thread(
            lambda _part, _args, output: found[name].extend(
                tuple(one.shape) for one in float_tensors_in(output)
            )
        )

    with borrowed(module):
        for name in found:
            add_forward_hook(module.get_submodule(name), noting(name))
        try:
            run_model(module, like[None].clone(), run_mode)
        except Refused:
            return {}
    return {name: shapes[0] for name, shapes in found.items() if len(shapes) == 1}


def _grown(layout: Layout, shape: Shape | None, size: tuple[int, int]) -> Layout | None:
    if shape is None:
        return None
    if layout.kind in ("NCHW", "NHWC"):
        found = (
            readings(shape, 1, size, "first" if layout.kind == "NCHW" else "last") if len(shape) == 4 else []
        )
        return found[0] if found else None
    others = layout.prefix + layout.suffix
    fitting = [one for one in readings(shape, 1, size) if one.kind == layout.kind and one.prefix == others]
    exact = [
        one for one in fitting if not any(side % cells for side, cells in zip(size, one.grid, strict=True))
    ]
    chosen = exact or fitting
    return replace(layout, grid=chosen[0].grid) if len(chosen) == 1 else None
