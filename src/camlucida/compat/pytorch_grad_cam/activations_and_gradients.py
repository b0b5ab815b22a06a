"""What a class activation map was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from camlucida.errors import OptionError


class ActivationsAndGradients:
    """Activations and gradients of the last call, a tensor (batch, channels, height, width) for each layer.

    ``gradients`` is empty for methods without. There are no hooks to release: none is left on the model.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[nn.Module],
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        detach: bool = True,
    ) -> None:
        self.model, self.target_layers = model, target_layers
        self.reshape_transform, self.detach = reshape_transform, detach
        self.handles: list[Any] = []
        self.activations: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        """Not to be called: the peer runs the model here.

        Raises:
            OptionError: always.
        """
        raise OptionError(
            "the model is run by forward(…) here, and this holds what was seen: in a class of your own call "
            "super().forward(input_tensor, targets, eigen_smooth)"
        )

    def clear(self) -> None:
        """Forget both."""
        self.activations, self.gradients = [], []

    def release(self) -> None:
        """Forget both."""
        self.clear()
