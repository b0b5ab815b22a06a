"""What a class activation map was made of."""

from __future__ import annotations

from torch import Tensor


class ActivationsAndGradients:
    """Activations and gradients of the last call, a tensor (batch, channels, height, width) for each layer.

    ``gradients`` is empty for methods without. There are no hooks to release: none is left on the model.
    """

    def __init__(self) -> None:
        self.activations: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def clear(self) -> None:
        """Forget both."""
        self.activations, self.gradients = [], []

    def release(self) -> None:
        """Forget both."""
        self.clear()
