"""Mosaics of pictures of different classes: the grid pointing game (Rao et al. 2022, arXiv:2205.10435).

In a mosaic the map of a class should lie on the cell that shows it. How much of it does is ``energy_inside``
with the cell as the mask, the game's score; a map that knows nothing of the class has one over the number of
cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from camlucida.errors import OptionError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True, eq=False)
class Mosaics:
    """Inputs (n, input_channels, height, width), each with the class to be explained and where that is shown.

    ``labels`` (n,) are the classes, ``masks`` (n, height, width) their cells, ``places`` (n,) which of the
    pictures is shown there; ``shown`` (n, cells) are the classes of all cells, in reading order.
    """

    inputs: Tensor
    labels: Tensor
    masks: Tensor
    shown: Tensor
    places: Tensor


def mosaics(
    inputs: Tensor, labels: Tensor | Sequence[int], rows: int = 2, seed: int = 0, count: int = 100
) -> Mosaics:
    """``count`` mosaics of ``rows`` × ``rows`` of the inputs ``inputs``, each cell of another class.

    The classes and their pictures are drawn; every cell holds the class to be explained equally often. The
    paper takes pictures that the model classifies rightly and with confidence: give such. Its mosaics are of
    pictures in full size, which only networks without a fixed input take; here they are shrunk to a cell,
    antialiased, and the mosaic has the size of an input, so that every model takes it. Models see objects
    smaller than they are used to: numbers compare with each other, not with the paper's.

    Raises:
        OptionError: there are too few classes, labels do not fit, or ``rows`` or ``count`` are too small.
    """
    import torch

    classes = torch.as_tensor(labels)
    _check(inputs, classes, rows, count)
    generator = torch.Generator().manual_seed(seed)
    cells = _cells(inputs.shape[-2:], rows)
    chosen = (torch.arange(count) % len(cells))[torch.randperm(count, generator=generator)]
    made = torch.empty((count, *inputs.shape[1:]), dtype=inputs.dtype)
    masks = torch.zeros((count, *inputs.shape[-2:]), dtype=torch.bool)
    shown = torch.empty((count, len(cells)), dtype=classes.dtype)
    looked_for = torch.empty(count, dtype=torch.long)
    for i in range(count):
        places = _one_of_each(classes, len(cells), generator)
        shown[i] = classes[places]
        for place, (down, across) in zip(places.tolist(), cells, strict=True):
            made[i, :, down, across] = _shrunk(inputs[place], down, across)
        masks[(i, *cells[int(chosen[i])])] = True
        looked_for[i] = places[int(chosen[i])]
    return Mosaics(made, shown[torch.arange(count), chosen], masks, shown, looked_for)


def check_size(rows: int, count: int) -> None:
    """Refuse mosaics of less than two rows, and less than one of them.

    Raises:
        OptionError: so it is.
    """
    if rows < 2 or count < 1:
        raise OptionError(
            f"mosaics have 2 rows or more and are 1 or more, got rows={rows}, count={count}: give such"
        )


def _check(inputs: Tensor, classes: Tensor, rows: int, count: int) -> None:
    check_size(rows, count)
    known = len(set(classes.tolist()))
    if len(classes) != len(inputs):
        raise OptionError(f"mosaics need a label a picture, got {len(classes)} for {len(inputs)}: give as many")
    if known < rows**2:
        raise OptionError(
            f"a mosaic of {rows} × {rows} cells needs {rows**2} classes, got {known}: "
            "give pictures of more classes, or fewer rows"
        )


def _cells(size: Sequence[int], rows: int) -> list[tuple[slice, slice]]:
    """Where the cells lie, in reading order; sides that cannot be divided differ by one pixel."""
    bands = [[slice(side * i // rows, side * (i + 1) // rows) for i in range(rows)] for side in size]
    return [(down, across) for down in bands[0] for across in bands[1]]


def _one_of_each(classes: Tensor, count: int, generator: Generator) -> Tensor:
    """The places of ``count`` pictures, each of another class, drawn evenly over classes."""
    import torch

    known = torch.tensor(sorted(set(classes.tolist())), dtype=classes.dtype)
    drawn = known[torch.randperm(len(known), generator=generator)[:count]]
    places = [(classes == one).nonzero().flatten() for one in drawn]
    return torch.stack([own[torch.randint(len(own), (1,), generator=generator)[0]] for own in places])


def _shrunk(input: Tensor, down: slice, across: slice) -> Tensor:
    from torch.nn.functional import interpolate

    size = (down.stop - down.start, across.stop - across.start)
    return interpolate(input[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
