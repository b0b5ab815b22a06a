"""Open any picture safely, upright and in RGB, and remember how a model's input lies on it."""

from camlucida.images.folders import find, is_picture_name, matching, passed_over
from camlucida.images.formats import SUFFIXES
from camlucida.images.frame import Cells, Frame, Size, size_of
from camlucida.images.opening import PIXEL_LIMIT, Opened, load, opened

__all__ = [
    "PIXEL_LIMIT",
    "SUFFIXES",
    "Cells",
    "Frame",
    "Opened",
    "Size",
    "find",
    "is_picture_name",
    "load",
    "matching",
    "opened",
    "passed_over",
    "size_of",
]
