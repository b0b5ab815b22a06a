"""One map on trial: what measures can ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.types import Make


@dataclass(frozen=True)
class Trial:
    """A map of one picture and one class; a measure takes the fields that it names, others are not computed.

    ``heatmap`` (height, width) is the map at the size of the model's input, signed, float32, on the CPU, and
    ``coarse`` the same at the layer's resolution. ``picture`` (input_channels, height, width) is that input, on
    the CPU. ``probability`` is that of the class there, and ``score(make, count)`` → (count,) gives that of
    ``count`` variants of the input, which ``make(indices)`` makes a chunk at a time; ``logit`` and
    ``logits(make, count)`` likewise. ``mask`` (height, width) is true where the object is.

    ``again(pictures)`` → (n, height, width) are the same method's maps for other inputs (n, input_channels,
    height, width) and the same class, ``of_class(index)`` (height, width) its map of this input for another of
    ``classes`` classes; ``index`` is the class itself. ``cascade()`` are its maps for copies of the model, the
    first with the weights of the last layer drawn anew, each following one with those of more, the last with
    all. ``seed`` is for whatever a measure draws. ``ranking`` are the classes by falling logit of the input.
    """

    heatmap: Tensor
    coarse: Tensor
    picture: Tensor
    probability: float
    logit: float
    score: Callable[[Make, int], Tensor]
    logits: Callable[[Make, int], Tensor]
    mask: Tensor | None
    index: int
    classes: int
    again: Callable[[Tensor], Tensor]
    of_class: Callable[[int], Tensor]
    cascade: Callable[[], Sequence[Tensor]]
    seed: int = 0
    ranking: Sequence[int] = ()
