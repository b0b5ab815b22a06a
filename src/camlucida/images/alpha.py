"""Transparency laid on white, and fourth bands that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def is_transparent(picture: Image) -> bool:
    """Whether the picture has an alpha band or a colour that is to be seen through."""
    return picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info


def on_white(picture: Image) -> Image:
    """The picture in RGB, white where it is transparent."""
    from PIL import Image

    transparent = picture.convert("RGBA")
    white = Image.new("RGBA", transparent.size, "white")
    return Image.alpha_composite(white, transparent).convert("RGB")


def looks_like_alpha(picture: Image) -> bool:
    """Whether the last band of a picture with one is transparency, by its values.

    A TIFF or an array may have anything there: near infrared, a height, a mask. Alpha hides all of a place or
    nothing, but for edges; so at least half of what it shows at all is shown fully.
    """
    import numpy as np

    counts = np.asarray(picture.getchannel("A").histogram())
    return bool(counts[255] and counts[255] >= counts[1:].sum() / 2)


def without_alpha(picture: Image) -> Image:
    """The picture's other bands, in RGB."""
    return picture.convert("RGBA").convert("RGB")
