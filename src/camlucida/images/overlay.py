"""Draw a map over a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import OptionError
from camlucida.images.colour import DEFAULT_COLORMAP, colour
from camlucida.images.text import stamp

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

DEFAULT_ALPHA = 0.5


def overlay(
    picture: Image,
    laid: np.ndarray,
    limit: float,
    alpha: float = DEFAULT_ALPHA,
    colormap: str = DEFAULT_COLORMAP,
    mark: str = "",
) -> Image:
    """``picture`` under the colours of ``laid`` (height, width), of the picture's size.

    ``limit`` is the value of full colour, ``alpha`` the weight of the colours, ``mark`` a text in the corner.
    The picture shows unchanged where ``laid`` is NaN.

    Raises:
        OptionError: alpha is outside 0…1.
    """
    import numpy as np
    from PIL import Image

    check_alpha(alpha)
    seen = ~np.isnan(laid)
    scaled = np.divide(laid, limit or 1.0, where=seen, out=np.zeros_like(laid))
    coloured = Image.fromarray(colour(scaled, colormap))
    blended = Image.blend(picture, coloured, alpha)
    result = Image.composite(blended, picture, Image.fromarray(seen.astype(np.uint8) * 255))
    return stamp(result, mark) if mark else result


def check_alpha(alpha: float) -> None:
    """Raise unless the weight is within 0…1."""
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha is the weight of the colours from 0 to 1, got {alpha:g}")
