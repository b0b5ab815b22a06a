"""The one list of methods: filled beside each function, read by the command line, docs and tests.

A method is a pure function of tensors. Its positional parameters name the fields of ``Captured`` that
it needs; its keyword-only parameters, with their defaults, are its options.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from camlucida.errors import OptionError, unknown_name

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


def lookup(kind: str, name: str, known: Mapping[str, T]) -> T:
    """What is called ``name`` among those of a kind that a command lists, whatever its case and punctuation.

    Raises:
        OptionError: there is none; close names are offered.
    """
    if name in known:
        return known[name]
    alike = [other for other in known if folded(other) == folded(str(name))]
    if len(alike) != 1:
        raise OptionError(unknown_name(kind, str(name), list(known), f"`camlucida {kind}s` lists them all"))
    return known[alike[0]]


def folded(name: str) -> str:
    """What is the same in GradCAM++, grad-cam++, gradcam_plus_plus and gradcampp."""
    spelled = name.lower().replace("plus", "+").replace("+", "p")
    return "".join(letter for letter in spelled if letter.isalnum())
