"""Lay a map on the picture that it explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.images.frame import EVEN

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from camlucida.images import Frame
    from camlucida.images.frame import Box
from camlucida.heatmaps.combine import resample


def project_to_picture(heatmap: Tensor, frame: Frame) -> np.ndarray:
    """The map (height, width) at the size of the picture, float32; NaN outside the model's input."""
    laid = resample(heatmap.detach().cpu().float(), frame.picture, frame.cells.box, _picture(frame))
    return _only(laid.numpy().copy(), frame, EVEN.seen)


def model_input_only(laid: np.ndarray, frame: Frame) -> np.ndarray:
    """``project_to_picture``'s map, also NaN where the model ignores its input, as behind the last patch."""
    return _only(laid, frame, frame.cells.seen)


def _picture(frame: Frame) -> Box:
    """The whole picture, in fractions of the model's input."""
    left, top, right, bottom = frame.box
    across, down = right - left, bottom - top
    return -left / across, -top / down, (frame.picture[1] - left) / across, (frame.picture[0] - top) / down


def _only(laid: np.ndarray, frame: Frame, seen: Box) -> np.ndarray:
    """``laid`` with NaN where the centres of pixels are outside ``seen``, in fractions of the input."""
    import numpy as np

    box = _picture(frame)
    for axis, along in enumerate((laid, laid.T)):
        start, end, low, high = box[1 - axis], box[3 - axis], seen[1 - axis], seen[3 - axis]
        middles = start + (np.arange(len(along)) + 0.5) * ((end - start) / len(along))
        along[(middles < low) | (middles >= high)] = np.nan
    return laid
