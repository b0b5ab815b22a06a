"""What made an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("camlucida", "torch", "timm", "torchvision", "transformers", "numpy", "pillow")


@dataclass(frozen=True)
class Provenance:
    """What made an explanation: model and its weights, layer and its layout, method and its options.

    ``preprocessing`` is what was done with the picture, in numbers (``models.recipe``).
    """

    model: str
    weights: str
    layer: str
    layout: str
    method: str
    options: Mapping[str, Any]
    preprocess: str
    versions: Mapping[str, str]
    smooth: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """The versions of what takes part in an explanation."""
    return {package: _version(package) for package in _PACKAGES}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
