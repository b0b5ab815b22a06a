"""What the classes around another have in common."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor

from camlucida.compat.pytorch_grad_cam._formulas import Array
from camlucida.compat.pytorch_grad_cam.base_cam import BaseCAM


class Wrapper:
    """A class that asks ``base_cam`` in a way of its own; no BaseCAM itself, as there."""

    base_cam: BaseCAM
    forward: Any

    def __call__(self, *given: Any, **named: Any) -> Array:
        maps: Array = self.forward(*given, **named)
        return maps

    @property
    def uses_gradients(self) -> bool:
        """Whether the map is made of gradients."""
        return self.base_cam.uses_gradients

    @property
    def outputs(self) -> Tensor | None:
        """The logits of the last call."""
        return self.base_cam.outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.base_cam.activations_and_grads.release()
