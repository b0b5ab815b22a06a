"""Smoothing by views of the picture (aug_smooth) and by the principal component (eigen_smooth)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from camlucida.errors import OptionError, unknown_name
from camlucida.heatmaps.combine import resample
from camlucida.images.frame import EVEN, Cells, size_of

if TYPE_CHECKING:
    from camlucida.targets.base import Bound, Target

Smooth = Literal["aug", "eigen"]
SMOOTHS = get_args(Smooth)

FLIPS = (False, True)
FACTORS = (1.0, 0.9, 1.1)
VIEWS = len(FLIPS) * len(FACTORS)


@dataclass(frozen=True)
class AnchoredTarget:
    """The target of a view, bound to the logits of the plain view at ``anchor`` in the batch."""

    target: Target
    anchor: int

    def bind(self, outputs: Tensor, row: int) -> Bound:
        """Bind to ``anchor``; ``row``, the index of the view itself, does not matter."""
        del row
        return self.target.bind(outputs, self.anchor)


def checked(smooth: Sequence[Smooth]) -> tuple[Smooth, ...]:
    """The requested smoothings, each once.

    Raises:
        OptionError: one is not known.
    """
    for way in smooth:
        if way not in SMOOTHS:
            raise OptionError(
                unknown_name("smoothing", way, list(SMOOTHS), f"it is one of {', '.join(SMOOTHS)}")
            )
    return tuple(dict.fromkeys(smooth))


def views(row: Tensor) -> list[Tensor]:
    """The six views of an input (channels, height, width): plain, two scaled, and the same three mirrored."""
    return [(row.flip(-1) if flip else row) * factor for flip in FLIPS for factor in FACTORS]


def merge(maps: Tensor, cells: Cells = EVEN) -> tuple[Tensor, Tensor]:
    """The mean and standard deviation (…, height, width) of the maps (6, …, height, width) of the views.

    ``cells`` says where the cells lie on a view; those of mirrored views may lie elsewhere on the picture.
    """
    turned = resample(maps[len(FACTORS) :].flip(-1), size_of(maps), cells.mirrored.box, cells.box)
    upright = torch.cat([maps[: len(FACTORS)], turned])
    return upright.mean(dim=0), upright.std(dim=0, correction=0)
