"""A request, checked once for all images: methods with options, targets, layers and smoothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from camlucida.errors import OptionError, TargetError
from camlucida.heatmaps.smoothing import Smooth, checked
from camlucida.methods.registry import Method, get_method
from camlucida.pipeline.arguments import layer_named, options_by_method, several, targets_of
from camlucida.targets.base import Target, TopClass
from camlucida.targets.resolve import target_by_number

if TYPE_CHECKING:
    from camlucida.models.adapter import Adapter
    from camlucida.pipeline.settings import Options


Methods = str | Method | Sequence[str | Method]
Layers = str | nn.Module | Sequence[str | nn.Module | None] | None


@dataclass(frozen=True)
class Request:
    """``targets`` give the target of the image with a number; ``layers`` are names, None for the default."""

    methods: list[tuple[Method, dict[str, Any]]]
    targets: list[Callable[[int], Target]]
    layers: list[str | None]
    smooth: tuple[Smooth, ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        """The fields of the capture that all methods together need."""
        return frozenset(need for method, _ in self.methods for need in method.needs)


def requested(
    adapter: Adapter,
    root: nn.Module,
    asked: tuple[Any, Any, Any],
    options: Options | None,
    smooth: Smooth | Sequence[Smooth],
    count: int | None,
) -> Request:
    """The request that methods, targets and layers (``asked``) mean for a model, for ``count`` images if known.

    Raises:
        OptionError: there is no such method, option or smoothing, or nothing is asked.
        LayerError: a layer is no part of ``root``.
        TargetError: a target does not fit the model.
    """
    methods, targets, layers = asked
    chosen = [get_method(one) if isinstance(one, str) else one for one in several(methods)]
    settings = options_by_method(chosen, options)
    targets = targets_of(targets)
    _check_targets(adapter, targets)
    named = [layer_named(root, one) for one in several(layers)]
    by_number = [target_by_number(target, adapter.labels, count, adapter.activation) for target in targets]
    if not (chosen and by_number and named):
        raise OptionError(
            "explain needs at least one method, target and layer, and one of these lists is empty"
        )
    return Request(list(zip(chosen, settings, strict=True)), by_number, named, checked(several(smooth)))


def _check_targets(adapter: Adapter, targets: Sequence[Any]) -> None:
    """Refuse the top class of an embedding.

    Raises:
        TargetError: it is asked for.
    """
    top = any(target is None or isinstance(target, TopClass) for target in targets)
    if adapter.outputs == "embedding" and top:
        raise TargetError(
            f"{adapter.name} returns an embedding, which has no top class: give a target, such as "
            "lambda embedding: embedding @ reference, with that of another picture"
        )
