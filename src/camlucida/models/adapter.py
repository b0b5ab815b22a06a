"""What a model library says of a model: preprocessing, class names, outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from camlucida.capture.logits import logits_of
from camlucida.models.preprocessing_recipe import Preprocess
from camlucida.targets.probabilities import Activation

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, repr=False)
class Adapter:
    """A model and everything that its library says of it.

    ``input_size`` is (channels, height, width) as the checkpoint wants it, None if unknown;
    ``weights`` is "pretrained", "random", "own" or a file. ``labels_given`` says that the user named the
    classes, so that there has to be a name for each. ``logits_of`` finds the logits in what the module returns.
    ``outputs`` are scores of classes, or an embedding, which has no top class; ``activation`` makes
    probabilities of them.
    """

    module: nn.Module
    name: str
    preprocess: Preprocess
    labels: Sequence[str] | None
    input_size: tuple[int, int, int] | None
    normalisation: tuple[Sequence[float], Sequence[float]] | None  # mean and standard deviation a channel
    weights: str
    library: str
    labels_given: bool = False
    logits_of: Callable[[Any], Tensor] = field(default_factory=lambda: logits_of)
    outputs: Literal["classes", "embedding"] = "classes"
    activation: Activation = "auto"

    def __repr__(self) -> str:
        return f"<Adapter of {self.name} ({self.library}, {self.weights} weights)>"

    def label(self, index: int | None) -> str | None:
        """The name of class ``index``, None if unknown."""
        named = self.labels is not None and index is not None and 0 <= index < len(self.labels)
        return self.labels[index] if named else None  # type: ignore[index]
