"""The one list of methods: filled beside each function, read by the command line, docs and tests.

A method is a pure function of tensors. Its positional parameters name the fields of ``LayerCapture`` that
it needs; its keyword-only parameters, with their defaults, are its options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NotRequired, TypedDict, Unpack

from camlucida.registry import Option, Paper, import_all, lookup, settings_of, signature_of

Returns = Literal["contributions", "weights", "heatmap"]


Fusion = Literal["mean", "product"]


@dataclass(frozen=True)
class Method:
    """All that is known of a method.

    ``returns`` says whether the function gives contributions (batch, channels, height, width), which the
    shared reducer sums over channels; weights (batch, targets, channels) for all targets at once, with which
    the activations are multiplied to that end; or a heatmap (batch, height, width) of its own. ``signed`` says
    whether values below zero mean evidence against. ``classless`` methods do not look at the class. ``fusion``
    is how the maps of several layers become one. ``target`` makes of a target the one that the method explains
    in its place.
    """

    name: str
    function: Callable[..., Any]
    family: str
    needs: tuple[str, ...]
    options: Mapping[str, Option]
    paper: Paper
    returns: Returns
    signed: bool
    cost: str
    fusion: Fusion = "mean"
    target: Callable[..., Any] | None = None

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0]

    @property
    def classless(self) -> bool:
        return self.needs == ("activations",)

    def run(self, captured: Any, settings: Mapping[str, Any]) -> Any:
        """What the function makes of the fields of a ``Captured`` that it needs."""
        own = {name: settings[name] for name in signature_of(self.function)[1]}
        return self.function(*(getattr(captured, need) for need in self.needs), **own)

    def derive_target(self, target: Any, settings: Mapping[str, Any], activation: str = "auto") -> Any:
        """The target that the method explains when it is asked for ``target``.

        ``activation`` makes probabilities of the model's outputs, for a target that takes it.
        """
        if self.target is None:
            return target
        taken, options = signature_of(self.target)
        more = (activation,) if "activation" in taken else ()
        return self.target(target, *more, **{name: settings[name] for name in options})

    def option(self, name: str) -> Option:
        """The option called ``name``.

        Raises:
            OptionError: the method has none such.
        """
        settings_of(f"method {self.name}", self.options, {name: None})
        return self.options[name]

    def settings(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every option with its value; an unknown one is refused."""
        return settings_of(f"method {self.name}", self.options, given or {})


class Facts(TypedDict):
    """What else a method says of itself, as the fields of ``Entry``."""

    signed: bool
    cost: str
    fusion: NotRequired[Fusion]
    target: NotRequired[Callable[..., Any]]


_METHODS: dict[str, Method] = {}


def method(
    name: str, *, family: str, paper: Paper, returns: Returns, **facts: Unpack[Facts]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the method ``name``."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if name in _METHODS:
            raise ValueError(f"method {name!r} is registered twice, choose another name")
        needs, options = signature_of(function)
        if "target" in facts:
            options |= signature_of(facts["target"])[1]
        _METHODS[name] = Method(
            name, function, family, needs, MappingProxyType(options), paper, returns, **facts
        )
        return function

    return register


@cache
def all_methods() -> Mapping[str, Method]:
    """All methods by name, in the order of their years, with the floors to compare with at the end."""
    import_all("camlucida.methods")
    ordered = sorted(_METHODS.values(), key=lambda known: (known.family == "control", known.paper.year))
    return MappingProxyType({known.name: known for known in ordered})


def get_method(name: str) -> Method:
    """The method called ``name``.

    Raises:
        OptionError: there is none; close names are offered.
    """
    return lookup("method", name, all_methods())
