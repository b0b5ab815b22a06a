"""Layers found and replaced inside a model, as in pytorch-grad-cam."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from torch.nn import Module


def replace_layer_recursive(model: Module, old_layer: Module, new_layer: Module) -> bool:
    """Put ``new_layer`` in the first place of ``old_layer``; whether there was one."""
    for name, layer in _children(model):
        if layer is old_layer:
            model.register_module(name, new_layer)
            return True
        if replace_layer_recursive(layer, old_layer, new_layer):
            return True
    return False


def replace_all_layer_type_recursive(
    model: Module, old_layer_type: type[Module] | tuple[type[Module], ...], new_layer: Module
) -> None:
    """Put ``new_layer``, one and the same, in the place of every layer of a type or one derived from it."""
    for name, layer in _children(model):
        if isinstance(layer, old_layer_type):
            model.register_module(name, new_layer)
        else:
            replace_all_layer_type_recursive(layer, old_layer_type, new_layer)


def find_layer_types_recursive(model: Module, layer_types: Collection[type[Module]]) -> list[Module]:
    """All layers of exactly one of the types, from the first on, each before those inside it."""
    return find_layer_predicate_recursive(model, lambda layer: type(layer) in layer_types)


def find_layer_predicate_recursive(model: Module, predicate: Callable[[Module], bool]) -> list[Module]:
    """All layers for which ``predicate`` holds, in the same order; ``model`` itself is not asked."""
    return [layer for name, layer in model.named_modules(remove_duplicate=False) if name and predicate(layer)]


def _children(model: Module) -> Iterator[tuple[str, Module]]:
    """Names and layers, those with two names twice, which ``named_children`` leaves out."""
    yield from [(name, layer) for name, layer in model._modules.items() if layer is not None]
