"""Settings of an Explainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from camlucida.errors import OptionError
from camlucida.heatmaps.smoothing import Smooth
from camlucida.models.adapter import Adapter
from camlucida.pipeline.provenance import versions
from camlucida.targets.probabilities import Activation

Options = Mapping[str, Mapping[str, Any]]  # method → option → value


class Settings(TypedDict, total=False):
    """The keyword arguments of ``Explainer``."""

    weights: str | Path
    device: str | torch.device
    dtype: str | torch.dtype | None
    preprocess: Any
    batch_size: int
    labels: Any
    logits_of: Callable[[Any], Tensor] | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    cache: bool
    reshape: Callable[[Tensor], Tensor] | None
    copy: bool
    activation: Activation


class ExplainSettings(Settings, total=False):
    """The further keyword arguments of ``explain``."""

    options: Mapping[str, Any] | None
    smooth: Smooth | Sequence[Smooth]


class CompareSettings(Settings, total=False):
    """The further keyword arguments of ``compare``."""

    layer: str | nn.Module | None


def check_batch_size(size: int) -> int:
    """``size``, if it is one.

    Raises:
        OptionError: it is below 1.
    """
    if size < 1:
        raise OptionError(f"batch_size is at least 1, got {size}")
    return size


def cache_key(adapter: Adapter) -> dict[str, Any] | None:
    """The cache key of a model that a library names; None for other models."""
    if adapter.weights not in ("pretrained", "random") or adapter.library == "torch" or ".py:" in adapter.name:
        return None
    source, _, path = adapter.name.partition(":")
    local = Path(path).resolve() if path and Path(path).exists() else None  # the same name elsewhere is another
    name = f"{source}:{local}" if local else adapter.name
    return {"model": name, "library": adapter.library, "weights": adapter.weights, **versions()}
