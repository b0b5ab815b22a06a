"""The one list of measures, filled beside each function; read by the command line, docs and tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NotRequired, TypedDict, Unpack

from camlucida.registry import Option, Paper, import_all, lookup, settings_of, signature_of

Family = Literal["faithfulness", "stability", "sanity", "localisation", "complexity"]
Direction = Literal["higher", "lower"]


def mean(values: Sequence[float]) -> float:
    """The mean of what ``update`` gave for each picture, those that are not a number left out."""
    finite = [value for value in values if value == value]  # noqa: PLR0124 - NaN is not itself
    return sum(finite) / len(finite) if finite else float("nan")


@dataclass(frozen=True)
class Metric:
    """All that is known of a measure.

    ``update`` takes the fields of a ``Trial`` that its positional parameters name, and its keyword-only
    options, and gives the value for one picture, NaN where there is none; ``compute`` makes one number of the
    values of all pictures. ``better`` says which way is better, ``bounds`` between what the number lies.
    ``tells_controls`` says whether a map that knows nothing of the model must do badly by it. Where it is false
    such maps can be best of all: one that never changes is as stable as can be, a small spot as simple.
    """

    name: str
    update: Callable[..., float]
    family: Family
    needs: tuple[str, ...]
    options: Mapping[str, Option]
    paper: Paper
    better: Direction
    bounds: tuple[float, float]
    compute: Callable[[Sequence[float]], float] = mean
    tells_controls: bool = True

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.update) or ""

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0]

    def run(self, trial: Any, settings: Mapping[str, Any] | None = None) -> float:
        """The value for one trial.

        Raises:
            OptionError: the measure has no such option.
        """
        return float(self.update(*(getattr(trial, need) for need in self.needs), **self.settings(settings)))

    def option(self, name: str) -> Option:
        """The option called ``name``.

        Raises:
            OptionError: the measure has none such.
        """
        self.settings({name: None})
        return self.options[name]

    def settings(self, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every option with its value; an unknown one is refused."""
        return settings_of(f"metric {self.name}", self.options, given or {})


class Facts(TypedDict):
    """What else a measure says of itself, as the fields of ``Metric``."""

    better: Direction
    bounds: tuple[float, float]
    compute: NotRequired[Callable[[Sequence[float]], float]]
    tells_controls: NotRequired[bool]


_METRICS: dict[str, Metric] = {}


def metric(
    name: str, *, family: Family, paper: Paper, **facts: Unpack[Facts]
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Register the decorated function as the measure ``name``."""

    def register(function: Callable[..., float]) -> Callable[..., float]:
        if name in _METRICS:
            raise ValueError(f"metric {name!r} is registered twice, choose another name")
        needs, options = signature_of(function)
        _METRICS[name] = Metric(name, function, family, needs, MappingProxyType(options), paper, **facts)
        return function

    return register


@cache
def all_metrics() -> Mapping[str, Metric]:
    """All measures by name, in the order of their families."""
    import_all("camlucida.metrics")
    families = list(Family.__args__)  # type: ignore[attr-defined]
    ordered = sorted(_METRICS.values(), key=lambda known: (families.index(known.family), known.paper.year))
    return MappingProxyType({known.name: known for known in ordered})


def get_metric(name: str) -> Metric:
    """The measure called ``name``.

    Raises:
        OptionError: there is none; close names are offered.
    """
    return lookup("metric", name, all_metrics())
