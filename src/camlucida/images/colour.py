"""Numbers to colours, by matplotlib's colormaps."""

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
    """Whether the colormap has a middle, at which zero is put."""
    return colormap.removesuffix("_r") in DIVERGING


def colour(values: np.ndarray, colormap: str = DEFAULT_COLORMAP) -> np.ndarray:
    """RGB (height, width, 3) uint8 of values (height, width) in -1…1.

    A sequential colormap shows 0…1, and all below 0 as 0; a diverging one shows -1…1 with 0 in its middle.

    Raises:
        OptionError: matplotlib has no such colormap.
    """
    import numpy as np

    table = _table(colormap)
    shown = (values + 1) / 2 if diverging(colormap) else values
    return table[np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)]


def check_colormap(colormap: str) -> None:
    """Refuse a name that matplotlib does not know.

    Raises:
        OptionError: close names are offered.
    """
    from matplotlib import colormaps

    if colormap not in colormaps:
        hint = "matplotlib's are taken, such as turbo or RdBu_r"
        raise OptionError(unknown_name("colormap", colormap, list(colormaps), hint))


def _table(colormap: str) -> np.ndarray:
    import numpy as np
    from matplotlib import colormaps

    check_colormap(colormap)
    return (colormaps[colormap](np.arange(256) / 255)[:, :3] * 255).round().astype(np.uint8)
