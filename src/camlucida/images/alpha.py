"""Composite transparency on white, and recognise fourth bands that are not transparency."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def is_transparent(picture: Image) -> bool:
    """Whether the picture has an alpha band or a transparent colour."""
    return picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info


def on_white(picture: Image) -> Image:
    """The picture in RGB, composited on white."""
    from PIL import Image

    transparent = picture.convert("RGBA")
    white = Image.new("RGBA", transparent.size, "white")
    return Image.alpha_composite(white, transparent).convert("RGB")


def looks_like_alpha(picture: Image) -> bool:
    """Whether the last band of a picture with one is transparency, by its values.

    A TIFF or an array may hold anything there: near infrared, a height, a mask. Alpha is opaque or transparent
    except at edges, so at least half of the pixels that are visible at all must be fully opaque.
    """
    import numpy as np

    counts = np.asarray(picture.getchannel("A").histogram())
    return bool(counts[255] and counts[255] >= counts[1:].sum() / 2)


def without_alpha(picture: Image) -> Image:
    """The picture's other bands, in RGB."""
    return picture.convert("RGBA").convert("RGB")
