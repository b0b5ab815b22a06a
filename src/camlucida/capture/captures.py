"""What one run of a model gives to methods, and how its outputs are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from torch import Tensor

from camlucida.capture.strides import Strides
from camlucida.images import Cells

if TYPE_CHECKING:
    from camlucida.capture.custom_layout import CustomLayout
    from camlucida.capture.layout import Layout
    from camlucida.findings import Finding
    from camlucida.images import Size
    from camlucida.targets.base import Bound
    from camlucida.types import (
        Activations,
        Gradients,
        Inputs,
        Scores,
        ScoreVariants,
        VariantGradients,
    )


@dataclass(frozen=True, repr=False)
class LayerCapture:
    """What a method can ask for, of one layer and one target; fields that nobody needs stay empty.

    ``scores`` (batch, targets) holds all targets. ``score`` and ``resume`` run the network, or the part behind
    the layer, on many variants (``types.ScoreVariants``). ``bias_terms`` are bias × gradient of each operation
    that adds a bias and has positions, (batch, channels, height, width) each, on the operation's own grid.
    ``variant_gradients`` gives this layer's gradients for variants of the input (``types.VariantGradients``).
    ``hessian_products`` are the score's second derivatives times the activations.
    """

    activations: Activations
    gradients: Gradients | None = None
    scores: Scores | None = None
    inputs: Inputs | None = None
    score: ScoreVariants | None = None
    resume: ScoreVariants | None = None
    input_gradients: Gradients | None = None
    bias_terms: tuple[Tensor, ...] = ()
    unplaced: int = 0  # operations with a bias that were not seen, or whose positions could not be told
    variant_gradients: VariantGradients | None = None
    hessian_products: Gradients | None = None

    def __repr__(self) -> str:
        known = [one.name for one in fields(self) if isinstance(getattr(self, one.name), Tensor)]
        return f"<LayerCapture of {tuple(self.activations.shape)}: {', '.join(known)}>"


@dataclass(frozen=True, repr=False)
class BatchCapture:
    """One run of the model on a batch: logits (batch, classes), and what hooks recorded.

    ``bound[t][i]`` is target t fixed for picture i and ``scores[t][i]`` its value; ``captured[l][t]`` and
    ``layouts[l]`` belong to layer l. ``findings(l, needs, i)`` is what came up while variants of picture i
    were run for a method with such needs. ``last`` is the activation that the outputs come from, where seen.
    ``cells(grid)`` says where the cells of a grid lie on the input (see ``images.Frame``).
    """

    outputs: Tensor
    bound: list[list[Bound]]
    scores: list[Tensor]
    layouts: list[Layout | CustomLayout]
    captured: list[list[LayerCapture]]
    findings: Callable[[int, Sequence[str], int], tuple[Finding, ...]] = lambda *_: ()
    last: str | None = None
    cells: Callable[[Size], Cells] = lambda _: Cells()
    names: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<BatchCapture of {tuple(self.outputs.shape)} outputs at {', '.join(self.names) or 'no layer'}>"

    def __getitem__(self, layer: str) -> list[LayerCapture]:
        """The captures of a layer, one for each target."""
        if layer not in self.names:
            raise KeyError(f"layer {layer!r} was not captured, these were: {', '.join(self.names)}")
        return self.captured[self.names.index(layer)]


@dataclass(frozen=True)
class OutputReaders:
    """How to read a model's outputs: logits, layouts, strides.

    ``logits_of``: output → logits (batch, classes). ``layout_of``: (layer name, its output) → layout.
    ``grid_of``: (tensor, whether its channels are last) → layout, None where it has no positions. ``parts``
    are layers that carry the score with others, so that one of them alone may have no gradient. ``single``
    says that the model takes one picture at a time. ``strides`` are those known, by the inputs' size.
    """

    logits_of: Callable[[Any], Tensor]
    layout_of: Callable[[str, Tensor], Layout | CustomLayout]
    grid_of: Callable[[Tensor, bool], Layout | None] = lambda _tensor, _last: None
    parts: frozenset[str] = frozenset()
    single: bool = False
    strides: dict[Size, Strides] = field(default_factory=dict)
