"""How large a preprocessing makes a picture on its way to the model's input."""

from __future__ import annotations

from typing import Any

from camlucida.errors import PictureError, setting
from camlucida.images import PIXEL_LIMIT, Size


def check_resized(step: Any, size: Size) -> None:
    """Refuse a picture of ``size`` that a step which keeps its proportions would make too large.

    The shorter side becomes as long as the step says and the longer one follows, whatever is cropped
    afterwards: a picture of 2 × 60,000 pixels would take gigabytes. ``step`` is torchvision's or timm's, or an
    image processor.

    Raises:
        PictureError: it would have more pixels than a picture may have.
    """
    scale = _scale(step, getattr(step, "size", None), size)
    if scale is None or getattr(step, "max_size", None) is not None:
        return
    height, width = (round(side * scale) for side in size)
    if height * width > PIXEL_LIMIT:
        raise PictureError(
            f"this picture of {size[1]}×{size[0]} pixels would become {width}×{height} before it is cropped "
            "for the model, which takes too much memory: cut it into pieces, or squash it "
            f"({setting('preprocess', 'tutorial')})"
        )


def _scale(step: Any, wanted: Any, size: Size) -> float | None:
    """By how much a step makes both sides longer; None if each side has its own length, or unknown."""
    of_edge = getattr(wanted, "get", None)  # a processor's, which is a mapping or like one
    if of_edge is not None:
        wanted = of_edge("shortest_edge") if of_edge("longest_edge") is None else None
    if isinstance(wanted, (list, tuple)) and len(wanted) == 1:
        wanted = wanted[0]
    if isinstance(wanted, int):
        return float(wanted / min(size))
    longest = getattr(step, "longest", None)  # timm's: which side fits, from the shorter, 0, to the longer, 1
    if isinstance(longest, float) and isinstance(wanted, tuple):
        ratios = [side / target for side, target in zip(size, wanted, strict=True)]
        return float(1 / (max(ratios) * longest + min(ratios) * (1 - longest)))
    return None
