"""Cached findings about the layers of a model, by input size: in memory and on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from camlucida.images import Size, size_of
from camlucida.layers import cache
from camlucida.layers.fingerprint import structure_of
from camlucida.layers.other_input_size import grown
from camlucida.layers.run_mode import RunMode


class CacheEntries:
    """The entries of ``module``; ``key`` tells a model that a library names from all others."""

    def __init__(self, module: nn.Module, key: Mapping[str, Any] | None) -> None:
        self._module, self._key = module, key
        self._by_size: dict[Size, cache.CachedLayers] = {}

    def at(self, like: Tensor, run_mode: RunMode) -> cache.CachedLayers:
        """The entry for inputs like ``like`` (channels, height, width), empty where nothing is known yet.

        What is known from another size of input holds with this one's grids, where those are clear.
        """
        size = size_of(like)
        if size not in self._by_size:
            kept = cache.load(self._key_for(like)) if self._key else None
            if kept is None or not cache.fits(kept, self._module):
                known = next((entry for entry in self._by_size.values() if entry.default), None)
                kept = None if known is None else grown(self._module, like, known, run_mode)
            self._by_size[size] = kept or cache.CachedLayers((), (), {})
        return self._by_size[size]

    def keep(self, like: Tensor, entry: cache.CachedLayers) -> None:
        """Write the entry to disk, where the model has a name."""
        if self._key:
            cache.save(self._key_for(like), entry)

    def clear(self) -> None:
        """Forget all that is in memory."""
        self._by_size.clear()

    def _key_for(self, like: Tensor) -> dict[str, Any]:
        kind = like.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else ""
        numbers = {"dtype": str(like.dtype), "autocast": str(autocast)}
        return {**(self._key or {}), "input": [*like.shape], **numbers, "structure": structure_of(self._module)}
