"""The grid pointing game on one's own pictures: mosaics of those that the model knows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from camlucida.errors import PictureError, reason_of
from camlucida.evaluation.evaluator import Given
from camlucida.evaluation.fingerprint import fingerprint
from camlucida.evaluation.scorer import Count, Scorer
from camlucida.metrics.mosaic import mosaics
from camlucida.models.inputs import prepare

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.evaluation.dataset import Item
    from camlucida.evaluation.run import Track
    from camlucida.pipeline.explainer import Explainer


@dataclass
class Cells:
    """Pictures as inputs with their classes, and why others are not among them."""

    pictures: list[Tensor] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    mistaken: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def cells_of(
    explainer: Explainer, items: Sequence[Item], most: int, seed: int = 0, track: Track = lambda items: items
) -> Cells:
    """Up to ``most`` of the pictures, drawn, of those that the model takes for what they are.

    Where it is not known what a picture shows, it is what the model says. The others are ``mistaken``: a map
    of a class that the model does not see says nothing of the method.
    """
    drawn = random.Random(seed).sample(list(items), min(most, len(items)))
    found = Cells()
    for item in track(drawn):
        try:
            picture = prepare(item.path, explainer.adapter, explainer.preprocess).tensor
            top = _top_class(explainer, picture)
        except Exception as error:  # noqa: BLE001 - the user's own model is run
            found.failed[str(item.path)] = reason_of(error)
            continue
        if item.target not in (None, top):
            found.mistaken.append(str(item.path))
            continue
        found.pictures.append(picture.cpu())
        found.labels.append(top)
        found.paths.append(str(item.path))
    return found


def grids(cells: Cells, rows: int, count: int, seed: int = 0) -> list[Given]:
    """``count`` mosaics of ``rows`` × ``rows`` pictures, whose masks are the cells of their classes.

    Each bears the path of the picture that is looked for: what many mosaics say of one picture is no more
    evidence than one picture.

    Raises:
        PictureError: the model's inputs differ in size.
        OptionError: the pictures that the model knows are of too few classes.
    """
    sizes = sorted({tuple(one.shape[1:]) for one in cells.pictures})
    if len(sizes) > 1:
        raise PictureError(
            f"mosaics are made of inputs of one size, got {' and '.join(f'{w}×{h}' for h, w in sizes[:2])}: "
            "give a preprocessing that makes them alike"
        )
    stacked = torch.stack(cells.pictures) if cells.pictures else torch.empty(0, 3, 1, 1, dtype=torch.float32)
    made = mosaics(stacked, cells.labels, rows, seed, count)
    return [
        Given(
            cells.paths[int(made.places[place])],
            made.pictures[place],
            int(made.labels[place]),
            made.masks[place],
            f"mosaic {place + 1} {fingerprint(made.pictures[place]).hex()}",
        )
        for place in range(count)
    ]


def _top_class(explainer: Explainer, picture: Tensor) -> int:
    scorer = Scorer(explainer.module, explainer.adapter.logits_of, picture, Count())
    with explainer.run_with_all():
        return int(scorer.logits(lambda _: picture[None], 1)[0].argmax())
