"""Turn numbers into colours with matplotlib's colormaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import OptionError, unknown_name

if TYPE_CHECKING:
    import numpy as np

DEFAULT_COLORMAP = "turbo"
DIVERGING = frozenset(
    "PiYG PRGn BrBG PuOr RdGy RdBu RdYlBu RdYlGn Spectral coolwarm bwr seismic berlin managua vanimo".split()  # noqa: SIM905 - fifteen names in one line
)


def diverging(colormap: str) -> bool:
    """Whether the colormap has a neutral middle, which stands for zero."""
    return colormap.removesuffix("_r") in DIVERGING


def colour(values: np.ndarray, colormap: str = DEFAULT_COLORMAP) -> np.ndarray:
    """RGB (height, width, 3) uint8 of values (height, width) in -1…1.

    A sequential colormap covers 0…1 and shows values below 0 as 0; a diverging one covers -1…1.

    Raises:
        OptionError: matplotlib has no such colormap.
    """
    import numpy as np

    table = _table(colormap)
    shown = (values + 1) / 2 if diverging(colormap) else values
    return table[np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)]


def check_colormap(colormap: str) -> None:
    """Raise unless matplotlib has a colormap of this name.

    Raises:
        OptionError: it has none; the message offers close names.
    """
    from matplotlib import colormaps

    if colormap not in colormaps:
        hint = "give one of matplotlib's, such as turbo or RdBu_r"
        raise OptionError(unknown_name("colormap", colormap, list(colormaps), hint))


def _table(colormap: str) -> np.ndarray:
    import numpy as np
    from matplotlib import colormaps

    check_colormap(colormap)
    return (colormaps[colormap](np.arange(256) / 255)[:, :3] * 255).round().astype(np.uint8)
