"""Draw text in matplotlib's DejaVu Sans; Pillow's own font has ASCII only."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

INK = (32, 32, 32)
FAINT = (110, 110, 110)
PAPER = (255, 255, 255)


@cache
def font(size: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans of ``size`` pixels."""
    from pathlib import Path

    from matplotlib import get_data_path
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / name, size)


def fit(text: str, size: int, width: float, bold: bool = False) -> str:
    """``text``, shortened with … in its middle to fit ``width`` pixels."""
    used = font(size, bold)
    if used.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if used.getlength(short) <= width:
            return short
    return "…"


def stamp(picture: Image, words: str) -> Image:
    """A copy of ``picture`` with ``words`` in a dark band in its lower left corner."""
    from PIL import ImageDraw

    stamped = picture.copy()
    size = max(9, min(picture.size) // 18)
    words = fit(words, size, picture.width - size)
    draw = ImageDraw.Draw(stamped)
    left, top, right, bottom = font(size).getbbox(words)
    pad = size // 3
    band = (0, picture.height - (bottom - top) - 2 * pad, right - left + 2 * pad, picture.height)
    draw.rectangle(band, fill=INK)
    draw.text((band[0] + pad - left, band[1] + pad - top), words, fill=PAPER, font=font(size))
    return stamped
