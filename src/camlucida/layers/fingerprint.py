"""Whether a model is still the one that was inspected."""

from __future__ import annotations

from hashlib import sha256
from itertools import chain

from torch import Tensor, nn


def structure_of(module: nn.Module) -> str:
    """A digest of the names and kinds of all modules, and of the shapes of their weights."""
    digest = sha256()
    for name, part in module.named_modules():
        shapes = [
            (key, None if one is None or nn.parameter.is_lazy(one) else tuple(one.shape))
            for key, one in chain(part._parameters.items(), part._buffers.items())
        ]
        digest.update(f"{name} {type(part).__module__}.{type(part).__qualname__} {shapes}\n".encode())
    return digest.hexdigest()[:16]


class Changes:
    """Whether ``module`` has changed since it was made, or last asked for."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parts, self._weights = _parts(module), _weights(module)

    def of_parts(self) -> bool:
        """A module was replaced, added or taken away; cheap enough to be asked each time."""
        before, self._parts = self._parts, _parts(self._module)
        return before != self._parts

    def of_weights(self) -> bool:
        """Weights or statistics were written to or replaced; nothing is read of their values."""
        before, self._weights = self._weights, _weights(self._module)
        return before != self._weights


def _parts(module: nn.Module) -> tuple[int, ...]:
    return tuple(map(id, module.modules()))


def _weights(module: nn.Module) -> tuple[tuple[int, int], ...]:
    return tuple((id(one), _version(one)) for one in chain(module.parameters(), module.buffers()))


def _version(tensor: Tensor) -> int:
    return 0 if nn.parameter.is_lazy(tensor) or tensor.is_inference() else tensor._version
