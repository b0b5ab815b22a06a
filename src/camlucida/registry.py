"""The registry of methods and of metrics, which the command line, docs and tests read.

An entry is a function. Its positional parameters name the fields that it needs; its keyword-only parameters,
with their defaults, are its options.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from camlucida.errors import OptionError, unknown_name

T = TypeVar("T")


@dataclass(frozen=True)
class Paper:
    """The paper that a method or metric comes from."""

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
class Registered:
    """A method or metric: its function, and what its signature and docstring say.

    ``needs`` names its positional parameters, ``options`` its keyword-only ones.
    """

    name: str
    function: Callable[..., Any]
    family: str
    needs: tuple[str, ...]
    options: Mapping[str, Option]
    paper: Paper
    kind: ClassVar[str]

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0]

    def __repr__(self) -> str:
        options = "".join(f", {option.name}={option.default!r}" for option in self.options.values())
        return f"<{self.kind} {self.name}({', '.join(self.needs)}{options})>"

    def option(self, name: str) -> Option:
        """The option called ``name``.

        Raises:
            OptionError: there is none.
        """
        self.settings({name: None})
        return self.options[name]

    def settings(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every option with its value.

        Raises:
            OptionError: an unknown option is given.
        """
        for name in given or {}:
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise OptionError(f"{self.kind} {self.name} has no option {name!r}, its options are: {known}")
        return {name: (given or {}).get(name, option.default) for name, option in self.options.items()}


R = TypeVar("R", bound=Registered)


class Registry(Generic[R]):
    """All entries of a ``kind``; the modules of ``package`` are imported when it is first read.

    ``fields`` are the names that functions can need, and ``order`` sorts the entries.
    """

    def __init__(self, kind: str, package: str, fields: Sequence[str], order: Callable[[R], Any]) -> None:
        self._kind, self._package, self._fields, self._order = kind, package, fields, order
        self._entries: dict[str, R] = {}

    def add(self, entry: R) -> None:
        """Register an entry.

        Raises:
            ValueError: its name is taken, or it needs what does not exist.
        """
        if entry.name in self._entries:
            raise ValueError(f"{self._kind} {entry.name!r} is already registered: choose another name")
        for need in entry.needs:
            if need not in self._fields:
                known = ", ".join(self._fields)
                raise ValueError(
                    unknown_name(
                        f"field for {self._kind} {entry.name} to need:", need, list(self._fields), known
                    )
                )
        self._entries[entry.name] = entry

    def all(self) -> Mapping[str, R]:
        """All entries by name, including those registered since the last call."""
        _import_all(self._package)
        ordered = sorted(self._entries.values(), key=self._order)
        return MappingProxyType({entry.name: entry for entry in ordered})

    def get(self, name: str) -> R:
        """The entry called ``name``, whatever its case and punctuation.

        Raises:
            OptionError: there is none; close names are offered.
        """
        return lookup(self._kind, name, self.all())


def signature_of(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Option]]:
    """The needs of a function (its positional parameters) and its options (the keyword-only ones)."""
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
    """The text after ``name:`` in a docstring."""
    for line in doc.splitlines():
        head, colon, text = line.strip().partition(":")
        if colon and head == name:
            return text.strip()
    if sys.flags.optimize > 1:  # `python -OO` removes docstrings
        return ""
    raise ValueError(f"option {name!r} needs a docstring line '{name}: what it does'")


@cache
def _import_all(package: str) -> None:
    """Import every module of a package, so that its entries register."""
    for module in iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")


def lookup(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The value called ``name`` in ``known``, whatever its case and punctuation.

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
    """The form that GradCAM++, grad-cam++, gradcam_plus_plus and gradcampp have in common."""
    spelled = name.lower().replace("plus", "+").replace("+", "p")
    return "".join(letter for letter in spelled if letter.isalnum())
