"""One map on trial: what metrics can ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.types import MakeVariants


@dataclass(frozen=True)
class Trial:
    """A map of one input and one class. A metric takes the fields that it names; others are not computed.

    ``heatmap`` (height, width) is the map at the size of the model's input, signed, float32, on the CPU, and
    ``raw_heatmap`` the same map at the layer's resolution. ``input`` (input_channels, height, width) is the
    model's input, on the CPU. ``probability`` is that of the class, and ``score(make, count)`` → (count,) gives
    the probability for ``count`` variants of the input, which ``make(indices)`` makes a chunk at a time;
    ``logit`` and ``logits(make, count)`` likewise. ``mask`` (height, width) is true where the object is.

    ``explain_inputs(inputs)`` → (n, height, width) gives the same method's maps for other inputs (n,
    input_channels, height, width) and the same class. ``explain_class(index)`` → (height, width) gives its map
    of this input for another of ``classes`` classes; ``index`` is the class itself. ``randomised_maps()`` gives
    its maps for copies of the model: in the first the last layer's weights are drawn anew, in each further one
    those of more layers, in the last all. ``seed`` is for whatever a metric draws. ``ranking`` lists the
    classes by falling logit of the input.
    """

    heatmap: Tensor
    raw_heatmap: Tensor
    input: Tensor
    probability: float
    logit: float
    score: Callable[[MakeVariants, int], Tensor]
    logits: Callable[[MakeVariants, int], Tensor]
    mask: Tensor | None
    index: int
    classes: int
    explain_inputs: Callable[[Tensor], Tensor]
    explain_class: Callable[[int], Tensor]
    randomised_maps: Callable[[], Sequence[Tensor]]
    seed: int = 0
    ranking: Sequence[int] = ()
