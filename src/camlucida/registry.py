"""The one list of methods: filled beside each function, read by the command line, docs and tests.

A method is a pure function of tensors. Its positional parameters name the fields of ``Captured`` that
it needs; its keyword-only parameters, with their defaults, are its options.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, Literal, NotRequired, TypedDict, TypeVar, Unpack

from camlucida.errors import OptionError, one_of

Returns = Literal["contributions", "weights", "heatmap"]
Fusion = Literal["mean", "product"]
T = TypeVar("T")


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    authors: str
    year: int
    title: str
    identifier: str  # "arXiv:…", "doi:…", or "" for a method without a paper of its own
    equation: str = ""

    @property
    def citation(self) -> str:
        return f"{self.authors} ({self.year})"

    @property
    def url(self) -> str:
        scheme, _, rest = self.identifier.partition(":")
        return {"arXiv": f"https://arxiv.org/abs/{rest}", "doi": f"https://doi.org/{rest}"}.get(scheme, "")


@dataclass(frozen=True)
class Option:
    """A setting of a method: its name, default and what it does (from the method's docstring)."""

    name: str
    default: Any
    doc: str

    def parse(self, text: str) -> Any:
        """``text`` in the type of the default."""
        kind = type(self.default)
        try:
            if kind is bool:
                return {"true": True, "false": False}[text.lower()]
            return kind(text)
        except (KeyError, ValueError):
            raise OptionError(f"option {self.name} takes a {kind.__name__}, got {text!r}") from None


@dataclass(frozen=True)
class Entry:
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

    def aim(self, target: Any, settings: Mapping[str, Any], activation: str = "auto") -> Any:
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


def settings_of(owner: str, options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option with its value.

    Raises:
        OptionError: something is given that is none of them.
    """
    for name in given:
        if name not in options:
            known = ", ".join(options) or "none"
            raise OptionError(f"{owner} has no option {name!r}, its options are: {known}")
    return {name: given.get(name, option.default) for name, option in options.items()}


class Facts(TypedDict):
    """What else a method says of itself, as the fields of ``Entry``."""

    signed: bool
    cost: str
    fusion: NotRequired[Fusion]
    target: NotRequired[Callable[..., Any]]


_ENTRIES: dict[str, Entry] = {}


def method(
    name: str, *, family: str, paper: Paper, returns: Returns, **facts: Unpack[Facts]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as the method ``name``."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if name in _ENTRIES:
            raise ValueError(f"method {name!r} is registered twice, choose another name")
        needs, options = signature_of(function)
        if "target" in facts:
            options |= signature_of(facts["target"])[1]
        _ENTRIES[name] = Entry(
            name, function, family, needs, MappingProxyType(options), paper, returns, **facts
        )
        return function

    return register


def signature_of(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Option]]:
    """What a function needs (its positional parameters), and its options (the keyword-only ones)."""
    doc = inspect.getdoc(function) or ""
    needs, options = [], {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            options[parameter.name] = Option(
                parameter.name, parameter.default, _documented(doc, parameter.name)
            )
        else:
            needs.append(parameter.name)
    return tuple(needs), options


def _documented(doc: str, name: str) -> str:
    """The text behind the docstring line ``name: …``."""
    for line in doc.splitlines():
        head, colon, text = line.strip().partition(":")
        if colon and head == name:
            return text.strip()
    if sys.flags.optimize > 1:  # `python -OO` takes docstrings away
        return ""
    raise ValueError(f"option {name!r} needs a docstring line '{name}: what it does'")


def import_all(package: str) -> None:
    """Every module of a package, so that what is registered there is known."""
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")


@cache
def entries() -> Mapping[str, Entry]:
    """All methods by name, in the order of their years, with the floors to compare with at the end."""
    import_all("camlucida.methods")
    ordered = sorted(_ENTRIES.values(), key=lambda known: (known.family == "control", known.paper.year))
    return MappingProxyType({known.name: known for known in ordered})


def entry(name: str) -> Entry:
    """The method called ``name``.

    Raises:
        OptionError: there is none; close names are offered.
    """
    return called("method", name, entries())


def called(kind: str, name: str, known: Mapping[str, T]) -> T:
    """What is called ``name`` among those of a kind that a command lists, whatever its case and punctuation.

    Raises:
        OptionError: there is none; close names are offered.
    """
    if name in known:
        return known[name]
    alike = [other for other in known if folded(other) == folded(str(name))]
    if len(alike) != 1:
        raise OptionError(one_of(kind, str(name), list(known), f"`camlucida {kind}s` lists them all"))
    return known[alike[0]]


def folded(name: str) -> str:
    """What is the same in GradCAM++, grad-cam++, gradcam_plus_plus and gradcampp."""
    spelled = name.lower().replace("plus", "+").replace("+", "p")
    return "".join(letter for letter in spelled if letter.isalnum())
