"""The grid pointing game: mosaics of the pictures that the model classifies correctly."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from camlucida.errors import PictureError, reason_of
from camlucida.evaluation.evaluator import TensorItem
from camlucida.metrics.mosaic import mosaics
from camlucida.metrics.variant_scores import RunCount, VariantScores
from camlucida.models.fingerprint import fingerprint
from camlucida.models.inputs import prepare

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.evaluation.dataset import Item
    from camlucida.evaluation.run import Track
    from camlucida.pipeline.explainer import Explainer


@dataclass
class MosaicPhotos:
    """Inputs with their classes, and the pictures that were left out."""

    pictures: list[Tensor] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    mistaken: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def mosaic_photos(
    explainer: Explainer, items: Sequence[Item], most: int, seed: int = 0, track: Track = lambda items: items
) -> MosaicPhotos:
    """Up to ``most`` pictures, drawn at random from those that the model classifies correctly.

    Where it is not known what a picture shows, it is what the model says. The others are ``mistaken``: a map
    of a class that the model does not see says nothing of the method.
    """
    drawn = random.Random(seed).sample(list(items), min(most, len(items)))
    found = MosaicPhotos()
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


def grids(cells: MosaicPhotos, rows: int, count: int, seed: int = 0) -> list[TensorItem]:
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
        TensorItem(
            cells.paths[int(made.places[i])],
            made.inputs[i],
            int(made.labels[i]),
            made.masks[i],
            f"mosaic {i + 1} {fingerprint(made.inputs[i]).hex()}",
        )
        for i in range(count)
    ]


def _top_class(explainer: Explainer, picture: Tensor) -> int:
    scorer = VariantScores(explainer.module, explainer.adapter.logits_of, picture, RunCount())
    with explainer.extra_inputs():
        return int(scorer.logits(lambda _: picture[None], 1)[0].argmax())
