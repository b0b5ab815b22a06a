"""Layers by their names."""

from __future__ import annotations

from torch import nn

from camlucida.errors import LayerError, unknown_name


def check_layer(module: nn.Module, name: str) -> str:
    """``name``, if the module has such a layer.

    Raises:
        LayerError: it has none; close names are offered.
    """
    names = [known for known, _ in module.named_modules() if known]
    if name not in names:
        raise LayerError(unknown_name("layer", name, names, "`camlucida layers MODEL` lists them all"))
    return name


def layers_named(module: nn.Module, text: str) -> tuple[str, ...]:
    """The layers that ``text`` names: one, or several with a plus between.

    Raises:
        LayerError: there is no such layer.
    """
    if text in dict(module.named_modules()):  # whose own name may have a plus
        return (text,)
    return tuple(check_layer(module, name) for name in text.split("+"))
