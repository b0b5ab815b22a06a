"""Names for shapes, used in signatures and checked in the tests only.

Imported only for annotations (under ``TYPE_CHECKING``), so that users pay nothing for it.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Inputs = Float[Tensor, "batch input_channels *input_positions"]
Activations = Float[Tensor, "batch channels *positions"]
Gradients = Float[Tensor, "batch channels *positions"]
Contributions = Float[Tensor, "batch channels *positions"]
Heatmaps = Float[Tensor, "batch *positions"]
Scores = Float[Tensor, "batch targets"]
Weights = Float[Tensor, "batch targets channels"]

# (make, count, row) → (count, targets): ``make(indices)`` gives a chunk of ``count`` variants of the picture at
# ``row`` of the batch. ``score`` takes inputs (n, input_channels, input_height, input_width) and runs the whole
# network; ``resume`` takes activations (n, channels, height, width) and runs what follows the layer.
MakeVariants = Callable[[range], Tensor]
ScoreVariants = Callable[[MakeVariants, int, int], Float[Tensor, "count targets"]]

# (make, count, row) → the gradients of all targets at this layer, for each of ``count`` variants of the
# input, on the CPU; ``make`` is that of ``score``.
VariantGradients = Callable[[MakeVariants, int, int], Float[Tensor, "count targets channels *positions"]]
