"""The shape vocabulary, used in signatures and checked in the tests only.

Imported for annotations alone (under ``TYPE_CHECKING``), so that it costs users nothing.
"""

from jaxtyping import Float
from torch import Tensor

Inputs = Float[Tensor, "batch input_channels input_height input_width"]
Activations = Float[Tensor, "batch channels height width"]
Gradients = Float[Tensor, "batch channels height width"]
Contributions = Float[Tensor, "batch channels height width"]
Heatmaps = Float[Tensor, "batch height width"]
Scores = Float[Tensor, "batch targets"]
