"""Pictures and tensors as model inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from camlucida import images
from camlucida.errors import OptionError, PictureError, unknown_name
from camlucida.images import Frame, size_of
from camlucida.models.adapter import Adapter
from camlucida.models.changed_preprocessing import changed
from camlucida.models.checkpoint_config import numbers_in
from camlucida.models.device import device_and_dtype
from camlucida.models.preprocessing import (
    channels_of,
    known_channels,
    preprocessing,
    size_given,
    warn_of_doubt,
    with_preprocess,
)
from camlucida.models.preprocessing_recipe import Preprocess
from camlucida.models.preprocessing_steps import tutorial_preprocess

if TYPE_CHECKING:
    from PIL.Image import Image

    from camlucida.findings import Finding


_NAMED = ("model", "tutorial")
_USUAL = (224, 224)  # of an input where nobody says


@dataclass(frozen=True)
class ModelInput:
    """The model's input (channels, height, width), where it lies on its picture, if there is one, and its file.

    ``number`` counts the pictures that were given; ``findings`` come from reading the picture.
    """

    tensor: Tensor
    frame: Frame
    picture: Image | None
    source: Path | None
    number: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """The picture's file, or its number."""
        return str(self.source) if self.source else f"#{self.number}"


@dataclass(frozen=True)
class Decoder:
    """Turns pictures into inputs without the model, so that it can be pickled and run in another process.

    ``channels`` are those that the model takes, None if unknown.
    """

    preprocess: Preprocess
    channels: int | None

    def __call__(self, picture: Any, number: int = 0) -> ModelInput:
        """The input for one picture, on the CPU; a float tensor (channels, height, width) is one as it is.

        Raises:
            PictureError: the picture cannot be read, or does not fit the model.
        """
        if isinstance(picture, Tensor):
            tensor = _checked(picture, self.channels)
            return ModelInput(tensor, Frame.whole(size_of(tensor)), None, None, number)
        loaded = images.opened(picture)
        tensor, frame = self.preprocess(loaded.picture)
        source = Path(picture) if isinstance(picture, (str, Path)) else None
        return ModelInput(tensor, frame, loaded.picture, source, number, loaded.findings)


def with_asked_preprocess(preprocess: Any, adapter: Adapter) -> Adapter:
    """The adapter with the preprocessing meant by "model", "tutorial", a mapping of what is to be changed in
    the model's own (see ``changed``), a torchvision Compose or preset, or an image processor.

    Raises:
        OptionError: it is none of these.
    """
    if isinstance(preprocess, str):
        if preprocess not in _NAMED:
            raise OptionError(
                unknown_name("preprocess", preprocess, list(_NAMED), f"it is {' or '.join(_NAMED)}")
            )
        if preprocess == "tutorial":
            return with_preprocess(adapter, tutorial_preprocess)
        warn_of_doubt(adapter.preprocess)
        return adapter
    if isinstance(preprocess, Mapping):
        timms = "input_size" in preprocess  # what resolve_data_config returns
        numbers = dict(numbers_in(preprocess)) if timms else preprocess
        return with_preprocess(adapter, changed(adapter.preprocess, numbers, channels_of(adapter), "the user"))
    return with_preprocess(adapter, preprocessing(preprocess, known_channels(adapter)))


def input_size(adapter: Adapter) -> tuple[int, int, int]:
    """The input (channels, height, width) that the model's preprocessing gives, or its library says."""
    return adapter.input_size or size_given(adapter.preprocess, (channels_of(adapter), *_USUAL))


def as_list(pictures: Any) -> list[Any]:
    """One picture or many, as a list; see ``each_of``."""
    return list(each_of(pictures))


def each_of(pictures: Any) -> Iterator[Any]:
    """Every picture in one, a list, a generator, a tensor (batch, …), a folder or a pattern such as "*.jpg".

    Raises:
        PictureError: a folder holds no picture, or a pattern matches nothing.
    """
    if isinstance(pictures, Tensor):
        yield from pictures if pictures.ndim == 4 else [pictures]
    elif isinstance(pictures, (str, Path)):
        yield from images.matching(pictures)
    elif is_many(pictures):
        for one in pictures:
            yield from each_of(one) if isinstance(one, (Tensor, str, Path)) else [one]
    else:
        yield pictures


def is_many(pictures: Any) -> bool:
    """Whether this is a collection or generator of pictures, and not bytes, an open file or an array."""
    single = isinstance(pictures, (str, bytes, bytearray, memoryview, np.ndarray, Tensor))
    return isinstance(pictures, Iterable) and not single and not hasattr(pictures, "read")


def decoder_of(adapter: Adapter, preprocess: Preprocess) -> Decoder:
    """The decoder for the adapter's model."""
    return Decoder(preprocess, None if adapter.input_size is None else adapter.input_size[0])


def prepare(picture: Any, adapter: Adapter, preprocess: Preprocess) -> ModelInput:
    """The input for one picture, on the model's device and in its dtype.

    Raises:
        PictureError: it cannot be read, or does not fit the model.
    """
    return placed(decoder_of(adapter, preprocess)(picture), adapter)


def placed(decoded: ModelInput, adapter: Adapter) -> ModelInput:
    """The input on the model's device and in its dtype."""
    like = device_and_dtype(adapter.module)
    return replace(decoded, tensor=decoded.tensor.to(like.device, like.dtype))


def _checked(tensor: Tensor, channels: int | None) -> Tensor:
    if tensor.ndim != 3 or not tensor.is_floating_point() or channels not in (None, tensor.shape[0]):
        wanted = "channels" if channels is None else channels
        raise PictureError(
            f"a tensor is the model's input as it is, float ({wanted}, height, width), got {tensor.dtype} "
            f"{tuple(tensor.shape)}: normalise it, or pass the picture itself"
        )
    return tensor


def denormalised_pixels(tensor: Tensor, adapter: Adapter) -> Tensor:
    """The input as a picture's bytes: its normalisation undone, or stretched where none is known."""
    tensor = tensor.detach().float()
    if adapter.normalisation is None:
        low, high = tensor.min(), tensor.max()
        denormalised_pixels = (tensor - low) / (high - low).clamp(min=torch.finfo(tensor.dtype).tiny)
    else:
        mean, deviation = (
            torch.as_tensor(values).to(tensor).view(-1, 1, 1) for values in adapter.normalisation
        )
        denormalised_pixels = tensor * deviation + mean
    return denormalised_pixels.clamp_(0, 1).mul_(255).round_().byte()
