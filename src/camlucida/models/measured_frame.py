"""The frame of a preprocessing whose steps cannot be read, measured by running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from camlucida.errors import OptionError
from camlucida.images import Frame, Size, size_of
from camlucida.models.preprocessing_steps import own_steps

if TYPE_CHECKING:
    from torch import Tensor

Process = Callable[["Tensor"], "Tensor"]

_FULL = 255.0  # of the channel that is the same everywhere, and tells padding from picture
_SPAN = 200.0  # from the first pixel's to the last one's value in the other two: less, to tell them apart


def measured_frame(process: Process, size: Size, quantised: bool) -> Frame:
    """The frame of what ``process`` makes of a picture of ``size``.

    It is shown a picture whose pixels say where they are: columns in the first channel, rows in the second. Any
    resampling that is linear keeps such a ramp, so a straight line through what comes back is the geometry.

    Args:
        process: a picture (3, height, width) with values from 0 to 255 → (3, height, width), resampled, cropped
            and padded as always, bilinearly and without normalisation. It may exchange the outer channels.
        size: of the picture.
        quantised: whether ``process`` rounds to eight bits on the way.

    Raises:
        OptionError: the picture is turned, mirrored, bent, or cut into pieces.
    """
    import torch

    height, width = size
    shown = torch.full((3, height, width), _FULL)
    shown[0] = torch.linspace(0, _SPAN, width)[None, :]
    shown[1] = torch.linspace(0, _SPAN, height)[:, None]
    seen = process(shown.round() if quantised else shown).double()
    if seen.ndim != 3 or seen.shape[0] != 3:
        raise _refused(f"makes {tuple(seen.shape)} of it")
    if seen[0].max() > seen[2].max():
        seen = seen.flip(0)
    full = float(seen[2].max())
    inside = seen[2] > 0.999 * full  # a border between picture and padding is a little of both
    if not (full > 0 and inside.any()):
        raise _refused("shows nothing of it")
    top, bottom = _fit(seen[1].T / full, inside.T, height, quantised)
    left, right = _fit(seen[0] / full, inside, width, quantised)
    return Frame(size, (left, top, right, bottom), size_of(seen))


def _fit(values: Tensor, inside: Tensor, length: int, quantised: bool) -> tuple[float, float]:
    """Where along an axis of ``length`` pixels the view begins and ends.

    ``values`` (across, along) is what was seen of the ramp, of which only what is ``inside`` counts.
    """
    pixels = values * (_FULL / _SPAN * (length - 1))  # which pixel each position shows, 0 for the first
    places = inside.any(dim=0).nonzero()[:, 0]
    line = ((pixels * inside).sum(dim=0) / inside.sum(dim=0).clamp(min=1))[places]
    rounding = length / _SPAN if quantised else 0.0
    if float(line.max() - line.min()) < 1e-6:  # one pixel is seen, and which part of it cannot be known
        step = 1 / len(places)
        start = float(line[0]) - 0.5 + step / 2 - step * float(places[0])
        usable = places
    else:
        usable, start, step = _straight_line(places, line, length, rounding)
    if step <= 0:
        raise _refused("mirrors or turns it")
    off = (pixels[:, usable] - (start + step * usable))[inside[:, usable]].abs().max()
    if off > 0.75 * max(step, 1.0) + rounding:
        raise _refused("bends or turns it")
    return _edges(start, step, values.shape[1], length)


def _straight_line(places: Tensor, line: Tensor, length: int, rounding: float) -> tuple[Tensor, float, float]:
    """The line of least squares, as the pixel seen at place 0 and the pixels from place to place.

    Places whose resampling kernel reaches over the picture's border are left out; the others come first.
    """
    moves = line.diff()[line.diff().abs() > 1e-6]
    reach = max(float(moves.median()), 1e-3) if len(moves) > 2 else 1e-3
    within = (line > reach + rounding) & (line < length - 1 - reach - rounding)
    if within.sum() > 1:
        places, line = places[within], line[within]
    x, y = places.double(), line
    step = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return places, float(y.mean()) - step * float(x.mean()), step


def _edges(start: float, step: float, count: int, length: int) -> tuple[float, float]:
    """The outer edges of ``count`` positions, and the picture's own where they differ by a trifle."""
    first = start + 0.5 - step / 2
    last = first + step * count
    trifle = 0.1 * step
    return (0.0 if abs(first) < trifle else first), (float(length) if abs(last - length) < trifle else last)


def _refused(what: str) -> OptionError:
    return OptionError(
        "a preprocessing resizes, crops or pads a picture so that a map can be drawn back on it, and this one "
        f"{what}: {own_steps()}"
    )
