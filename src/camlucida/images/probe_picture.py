"""Which place each position answers to, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_CELL, _GAP = 16, 24  # pixels


def places_picture(told: np.ndarray) -> Image:
    """Rows as red and columns as green: left as they should be, right as ``told`` (2, height, width), 0…1."""
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
