"""What the peer puts in a layer's place to ablate channels; accepted here, and not needed."""

from __future__ import annotations

from torch import nn


class AblationLayer(nn.Module):
    """Accepted by AblationCAM, which sets channels to zero whatever the layout."""


class AblationLayerVit(AblationLayer):
    """Accepted by AblationCAM, like AblationLayer."""


class AblationLayerFasterRCNN(AblationLayer):
    """Accepted by AblationCAM, like AblationLayer."""
