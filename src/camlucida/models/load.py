"""A model by name, or a module of the user's own, as an Adapter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.custody import bare
from camlucida.errors import ModelError
from camlucida.models import embedded
from camlucida.models import timm as timm_models
from camlucida.models.adapter import Adapter, no_preprocess

if TYPE_CHECKING:
    from torch import nn


def load(model: Any, weights: str | Path = "pretrained") -> Adapter:
    """The model meant by a timm name (``hf-hub:…`` and ``local-dir:…`` too) or an ``nn.Module``.

    ``weights`` is "pretrained", "random" or a file, and is for names only: a module keeps its own.

    Raises:
        ModelError: there is no such model, or its weights cannot be had.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        return _adapt_module(bare(model))
    if not isinstance(model, str):
        raise ModelError(f"a model is a timm name or an nn.Module, got {type(model).__name__}")
    if str(weights) == "random":
        return timm_models.adapt(timm_models.load_random(model), model, "random")
    if str(weights) != "pretrained":
        return timm_models.adapt(timm_models.load_file(model, Path(weights)), model, str(weights))
    if model in embedded.EMBEDDED:
        return timm_models.adapt(embedded.load_embedded(model), model, "pretrained")
    return timm_models.adapt(timm_models.load_pretrained(model), model, "pretrained")


def _adapt_module(module: nn.Module) -> Adapter:
    name = type(module).__name__
    if isinstance(module, _scripted()):
        raise ModelError(
            f"{name} is TorchScript, which has no layers to hook: pass the Python module it was made from"
        )
    if timm_models.recognises(module):
        config = module.pretrained_cfg
        known = config.get("architecture") if isinstance(config, dict) else None
        return timm_models.adapt(module, known or name, "own")
    return Adapter(module, name, no_preprocess, None, None, None, "own", "torch")


def _scripted() -> type:
    import torch

    return torch.jit.ScriptModule


def split_layer(name: str) -> tuple[str, str | None]:
    """``model#layer`` as (model, layer or None)."""
    model, _, layer = name.partition("#")
    return model, layer or None
