"""Preprocessing given by the user or a checkpoint, from any library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from camlucida.errors import CamlucidaError, CamlucidaWarning, printable, spoken
from camlucida.models import torchvision as torchvision_models
from camlucida.models.adapter import Adapter
from camlucida.models.changed_preprocessing import NUMBERS, changed
from camlucida.models.checkpoint_config import Beside
from camlucida.models.image_processor import is_processor, processed_by
from camlucida.models.preprocessing_recipe import NOBODY, Preprocess
from camlucida.models.preprocessing_steps import GIVEN, preprocess_of

if TYPE_CHECKING:
    from torch import nn

_SIDES = (320, 480)  # of square pictures on which it is tried what size a preprocessing gives
_COLOURS = 3


def preprocessing(given: Any, channels: int | None = None, source: str = GIVEN) -> Preprocess:
    """A torchvision Compose, what ``weights.transforms()`` returns, or an image processor, with its frame.

    Raises:
        OptionError: it is none of these.
    """
    if torchvision_models.is_preset(given):
        return preprocess_of(torchvision_models.steps_of(given), channels, source)
    if is_processor(given):
        return processed_by(given, channels or _COLOURS, source)
    return preprocess_of(given, channels, source)


def with_preprocess(adapter: Adapter, preprocess: Preprocess) -> Adapter:
    """The adapter with another preprocessing, and what follows from that."""
    known, recipe = adapter.input_size, preprocess.recipe
    numbers = None if recipe.mean is None or recipe.std is None else (recipe.mean, recipe.std)
    size = None if known is None else size_given(preprocess, known)
    return replace(adapter, preprocess=preprocess, input_size=size, normalisation=numbers)


def size_given(preprocess: Preprocess, otherwise: tuple[int, int, int]) -> tuple[int, int, int]:
    """The input (channels, height, width) that becomes of a square picture; where that depends on the picture's
    size, or cannot be told, ``otherwise``.
    """
    from PIL import Image

    try:
        tried = [preprocess(Image.new("RGB", (side, side)))[0] for side in _SIDES]
    except Exception:  # noqa: BLE001 - told when a picture is explained
        return otherwise
    first, second = tried
    channels, height, width = first.shape
    return (channels, height, width) if first.shape == second.shape else (channels, *otherwise[1:])


def known_channels(adapter: Adapter) -> int | None:
    """The channels that the model takes, by its library or its convolutions; None if unknown."""
    if adapter.input_size is not None:
        return adapter.input_size[0]
    return 1 if _takes_grey(adapter.module) else None


def channels_of(adapter: Adapter) -> int:
    """The channels that the model takes, three if unknown."""
    return known_channels(adapter) or _COLOURS


def _takes_grey(module: nn.Module) -> bool:
    """Whether the first convolution takes one channel, and none takes three."""
    from torch import nn

    kinds = (nn.Conv2d, nn.Conv3d)
    taken = [part.in_channels for part in module.modules() if isinstance(part, kinds) and part.groups == 1]
    return bool(taken) and taken[0] == 1 and _COLOURS not in taken


def as_told(adapter: Adapter, found: Beside, file: Path) -> Adapter:
    """The adapter with the preprocessing named in a weights file; if it names none, that is a doubt."""
    name, base = printable(file.name, 60), adapter.preprocess
    doubt = f"{name} says nothing of how pictures are made ready"
    if found.numbers:
        try:
            return with_preprocess(adapter, changed(base, found.numbers, channels_of(adapter), found.source))
        except CamlucidaError as error:
            doubt = f"what {name} says of how pictures are made ready does not fit ({error})"
    if base.recipe.source == NOBODY:
        return adapter
    return replace(adapter, preprocess=replace(base, recipe=replace(base.recipe, doubt=doubt)))


def warn_of_doubt(preprocess: Preprocess) -> None:
    """Warn if a preprocessing is only the usual one, since the weights may need another."""
    if preprocess.recipe.doubt:
        numbers = spoken(
            "`--size`, `--crop`, `--interpolation`, `--mean` and `--std`",
            f"preprocess={{{', '.join(f'{one!r}: …' for one in NUMBERS)}}}",
        )
        said = f"{preprocess.recipe.doubt}, the usual is taken, {preprocess.recipe}"
        warn(f"{said}: give {numbers} if training did it otherwise", CamlucidaWarning, 2)
