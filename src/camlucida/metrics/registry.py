"""The one list of metrics, filled beside each function; read by the command line, docs and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NotRequired, TypedDict, Unpack, get_args

from camlucida.metrics.trial import Trial
from camlucida.registry import Paper, Registered, Registry, signature_of

Family = Literal["faithfulness", "stability", "sanity", "localisation", "complexity"]
Direction = Literal["higher", "lower"]


def mean(values: Sequence[float]) -> float:
    """The mean of the values of all images, without NaN."""
    finite = [value for value in values if value == value]  # noqa: PLR0124 - NaN is not itself
    return sum(finite) / len(finite) if finite else float("nan")


@dataclass(frozen=True, repr=False)
class Metric(Registered):
    """All that is known of a metric.

    ``function`` takes the fields of a ``Trial`` that its positional parameters name, and its keyword-only
    options, and gives the value for one image, NaN where there is none; ``compute`` makes one number of the
    values of all images. ``better`` says which way is better, ``bounds`` between what the number lies.
    ``tells_controls`` says whether a map that knows nothing of the model must do badly by it. Where it is false
    such maps can be best of all: one that never changes is as stable as can be, a small spot as simple.
    """

    kind: ClassVar[str] = "metric"
    better: Direction = "higher"
    bounds: tuple[float, float] = (0.0, 1.0)
    compute: Callable[[Sequence[float]], float] = mean
    tells_controls: bool = True

    def run(self, trial: Any, settings: Mapping[str, Any] | None = None) -> float:
        """The value for one trial.

        Raises:
            OptionError: the metric has no such option.
        """
        taken = (getattr(trial, need) for need in self.needs)
        return float(self.function(*taken, **self.settings(settings)))


class Facts(TypedDict):
    """What else a metric declares, as the fields of ``Metric``."""

    better: Direction
    bounds: tuple[float, float]
    compute: NotRequired[Callable[[Sequence[float]], float]]
    tells_controls: NotRequired[bool]


_FAMILIES = get_args(Family)
_METRICS: Registry[Metric] = Registry(
    "metric",
    "camlucida.metrics",
    [field.name for field in fields(Trial)],
    lambda one: (_FAMILIES.index(one.family), one.paper.year),
)
all_metrics, get_metric = _METRICS.all, _METRICS.get


def metric(
    name: str, *, family: Family, paper: Paper, **facts: Unpack[Facts]
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Register the decorated function as the metric ``name``.

    Raises:
        ValueError: there is such a metric already, or the function needs what a trial does not have.
    """

    def register(function: Callable[..., float]) -> Callable[..., float]:
        needs, options = signature_of(function)
        _METRICS.add(Metric(name, function, family, needs, options, paper, **facts))
        return function

    return register
