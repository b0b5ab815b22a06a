"""A model inside a module that only hands on: what its library says of it holds for the whole as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from camlucida.capture.borrow import borrowed
from camlucida.models.adapter import Adapter
from camlucida.models.device import device_and_dtype
from camlucida.models.preprocessing_steps import no_preprocess

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZE = (3, 32, 32)  # of an input for a model that nobody says the size of; the model itself does not see it
_CLASSES = 10


def inner_of(module: nn.Module) -> nn.Module | None:
    """The only part of a module that has weights in it; None where there are several or none."""
    from torch import nn

    parts = [part for part in module.children() if next(part.parameters(), None) is not None]
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], (nn.ModuleList, nn.ModuleDict)) else None


def around(module: nn.Module, inner: Adapter) -> Adapter | None:
    """The adapter for ``module`` by that of the model inside it; None where it hands on nothing as it is.

    Preprocessing is kept where the model gets the picture that the module was given, and class names where the
    module returns the model's scores in their order. Seen by a run with a stand-in for the model.
    """
    picture, classes = _handed_on(module, inner)
    if not (picture or classes):
        return None
    found = replace(inner, module=module)
    if not picture:
        found = replace(found, preprocess=no_preprocess, input_size=None, normalisation=None)
    return found if classes else replace(found, labels=None, outputs="classes", activation="auto")


def _handed_on(module: nn.Module, inner: Adapter) -> tuple[bool, bool]:
    """Whether the model gets the picture as it is, and whether its scores are returned in their order."""
    import torch

    generator, place = torch.Generator().manual_seed(11), device_and_dtype(module)
    noise = torch.randn(1, *(inner.input_size or _SIZE), generator=generator).to(place)
    scores = torch.randn(1, len(inner.labels or range(_CLASSES)), generator=generator).to(place)
    seen: list[bool] = []

    def stand_in(*given: Any, **named: Any) -> Any:
        first = next(iter((*given, *named.values())), None)
        same = isinstance(first, torch.Tensor) and first.shape == noise.shape and torch.equal(first, noise)
        seen.append(same)
        return _as_returned(inner, scores.clone())

    try:
        with borrowed(module):
            inner.module.__dict__["forward"] = stand_in
            returned = inner.logits_of(module(noise.clone()))
    except Exception:  # noqa: BLE001 - the module's own code, which may want more than a picture
        return seen == [True], False
    ranked = returned.shape == scores.shape and torch.equal(returned.argsort(), scores.argsort())
    return seen == [True], ranked and len(seen) == 1


def _as_returned(inner: Adapter, scores: Tensor) -> Any:
    """Scores as the model's library returns them."""
    if inner.library != "transformers":
        return scores
    from transformers.modeling_outputs import ImageClassifierOutput

    make: Callable[..., Any] = ImageClassifierOutput
    return make(logits=scores)
