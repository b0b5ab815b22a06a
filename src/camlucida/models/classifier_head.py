"""The head of a transformers model, by its class and config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def head_of(module: nn.Module) -> dict[str, Any]:
    """The adapter's ``outputs`` and ``activation``: a class called …Model has no head and returns an embedding;
    of a multi-label classifier several classes may be right at once.
    """
    several = getattr(module.config, "problem_type", None) == "multi_label_classification"
    return {
        "outputs": "embedding" if type(module).__name__.endswith("Model") else "classes",
        "activation": "sigmoid" if several else "auto",
    }
