"""What is asked for, where one or several may be given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from camlucida.errors import LayerError, OptionError, TargetError
from camlucida.methods.registry import Method
from camlucida.registry import folded


def several(given: Any) -> list[Any]:
    """One thing, or a sequence of them, as a list; text is one thing."""
    one = isinstance(given, (str, bytes)) or not isinstance(given, (Sequence, set, frozenset))
    return [given] if one else list(given)


def targets_of(given: Any) -> list[Any]:
    """One target or several, each of which is explained in every picture.

    Raises:
        TargetError: a tensor or an array of them: it is probably one for each picture.
    """
    if getattr(given, "shape", ()):
        raise TargetError(
            f"targets are explained in every picture, and a {type(given).__name__} {tuple(given.shape)} of "
            "them is probably one for each: targets=[PerPicture(y.tolist())] says so, y.tolist() explains "
            "each in every picture"
        )
    return several(given)


def layer_named(root: nn.Module, layer: Any) -> str | None:
    """The name of a layer, given as that, as the module, or as a tuple of several to fuse; None stays.

    Raises:
        LayerError: the module is none of the model's, or it is something else.
    """
    if layer is None or isinstance(layer, str):
        return layer or None
    if isinstance(layer, tuple):
        return "+".join(layer_named(root, one) or "" for one in layer)
    name = next((name for name, part in root.named_modules() if part is layer), None)
    if name:
        return str(name)
    came = "the model itself" if layer is root else f"{type(layer).__name__}, which is no part of the model"
    raise LayerError(
        f"a layer is a name, or a module inside the model, got {came}: `camlucida layers` lists them"
    )


def options_of(method: str, options: Mapping[str, Any] | None) -> Mapping[str, Mapping[str, Any]] | None:
    """Options {option: value} of one method as {method: {option: value}}, which stays as it is."""
    if not options or any(isinstance(one, Mapping) for one in options.values()):
        return options
    return {method: options}


def options_by_method(
    entries: Sequence[Method], given: Mapping[str, Mapping[str, Any]] | None
) -> list[dict[str, Any]]:
    """For each of ``entries`` every option with its value, of options ``given`` by the methods' names.

    Raises:
        OptionError: a method has no such option, or one is named that is not among ``entries``.
    """
    own: dict[str, Mapping[str, Any]] = {}
    for name, values in (given or {}).items():
        meant = next((one.name for one in entries if folded(one.name) == folded(name)), None)
        if meant is None:
            asked = ", ".join(one.name for one in entries)
            raise OptionError(
                f"options are given for {name!r}, but the methods are {asked}: give options as "
                "{method: {option: value}}, of these methods"
            )
        if not isinstance(values, Mapping):
            raise OptionError(f"options of {name} are {{option: value}}, got {type(values).__name__}")
        own[meant] = values
    return [one.settings(own.get(one.name)) for one in entries]
