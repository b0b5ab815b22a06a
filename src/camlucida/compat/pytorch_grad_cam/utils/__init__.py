"""Pictures, targets and layers, as pytorch-grad-cam handles them."""

from camlucida.compat.pytorch_grad_cam.utils.image import deprocess_image
from camlucida.compat.pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

__all__ = ["deprocess_image", "get_2d_projection"]
