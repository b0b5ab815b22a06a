"""Draw which part of the input each position responds to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_CELL, _GAP = 16, 24  # pixels


def places_picture(told: np.ndarray) -> Image:
    """Rows in red, columns in green: expected on the left, ``told`` (2, height, width) in 0…1 on the right."""
    import numpy as np
    from PIL import Image

    height, width = told.shape[1:]
    rows = np.linspace(0, 1, height)[:, None].repeat(width, axis=1)
    columns = np.linspace(0, 1, width)[None].repeat(height, axis=0)
    both = []
    for row, column in ((rows, columns), (told[0], told[1])):
        pixels = np.stack([row, column, np.full_like(row, 0.35)], axis=2)
        large = pixels.repeat(_CELL, axis=0).repeat(_CELL, axis=1)
        both.append(Image.fromarray((large * 255).round().astype(np.uint8)))
    sheet = Image.new("RGB", (2 * both[0].width + _GAP, both[0].height), "white")
    sheet.paste(both[0], (0, 0))
    sheet.paste(both[1], (both[0].width + _GAP, 0))
    return sheet
