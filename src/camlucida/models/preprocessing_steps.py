"""A preprocessing run step by step, so that its Frame follows the picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from camlucida.capture.model_errors import ORDINARY
from camlucida.errors import OptionError, PictureError, is_out_of_memory, spoken
from camlucida.images import Frame, size_of
from camlucida.models.preprocessing_recipe import NOBODY, Preprocess, Recipe, recipe_of_steps
from camlucida.models.resize_check import check_resized
from camlucida.tables import counted

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


TUTORIAL_SIZE = (224, 224)


GIVEN = "the transform that was given"


def preprocess_of(transform: Any, channels: int | None = None, source: str = GIVEN) -> Preprocess:
    """A preprocessing that also says where its output lies on the picture, from a torchvision-style Compose.

    Its steps are run one by one, and the frame follows the picture's size from step to step. ``channels`` are
    those that the model takes, None if unknown.

    Raises:
        OptionError: ``transform`` is not a sequence of steps (here), or a step changes the picture's
            geometry in a way that is not understood (when run).
    """
    steps = getattr(transform, "transforms", None)
    if steps is None:
        raise OptionError(
            "preprocess is 'model', 'tutorial' or a torchvision Compose of Resize, CenterCrop, ToTensor, "
            f"Normalize and the like, got {type(transform).__name__}"
        )

    run = partial(_by_steps, steps, channels)  # which can be pickled
    return Preprocess(run, recipe_of_steps(steps, source))


def _by_steps(steps: Sequence[Any], channels: int | None, picture: Image) -> tuple[Tensor, Frame]:
    import torch

    if channels not in (None, 1, 3):
        raise PictureError(
            f"this model takes {channels} channels and a picture has three: " + other_channels(channels)
        )
    frame = Frame.whole((picture.height, picture.width))
    current: Any = picture.convert("L") if channels == 1 else picture
    for step in steps:
        _check_step(step)
        if type(step).__name__ in _RESIZES:
            check_resized(step, _size(current))
        current = _done(step, current)
        frame = _follow(step, frame, _size(current))
    if not isinstance(current, torch.Tensor) or current.ndim != 3:
        raise OptionError("preprocess must end in a tensor (channels, height, width): add ToTensor()")
    if channels not in (None, len(current)):
        raise OptionError(
            f"preprocess gives {counted(len(current), 'channel')} and the model takes {channels}: make it "
            f"{channels}, such as by Grayscale({channels})"
        )
    return current, frame


def own_steps() -> str:
    """Advice on how to give steps that can be followed."""
    return spoken(
        "have a factory return a torchvision Compose behind the module",
        "pass preprocess= (a torchvision Compose)",
    )


def other_channels(channels: int) -> str:
    """Advice for models whose channels no picture has."""
    return spoken(
        "in Python its input can be given as it is",
        f"pass the input itself as a float tensor ({channels}, height, width)",
    )


def _done(step: Any, current: Any) -> Any:
    """What a step makes of the picture; what it raises, with what it was given."""
    try:
        return step(current)
    except ORDINARY as error:
        if is_out_of_memory(error):
            raise
        grey = getattr(current, "mode", "") == "L" or getattr(current, "shape", (0,))[0] == 1
        said = "one channel, as the model takes" if grey else "three channels"
        raise OptionError(
            f"preprocess step {step} cannot take this picture, which has {said} ({error}): write it for that"
        ) from error


_CROPS = ("CenterCrop", "CenterCropOrPad")


_RESIZES = ("Resize", "ResizeKeepRatio")


_STAYS = ("MaybeToTensor", "ToTensor", "PILToTensor", "ToImage", "ToDtype", "ConvertImageDtype")


_STEPS = (*_CROPS, *_RESIZES, *_STAYS, "Normalize", "Grayscale")


def _check_step(step: Any) -> None:
    if type(step).__name__ not in _STEPS:
        raise OptionError(
            f"preprocess step {type(step).__name__} may move the picture in a way that cannot be drawn back: "
            f"use {', '.join(_STEPS)}"
        )


def _follow(step: Any, frame: Frame, size: tuple[int, int]) -> Frame:
    kind = type(step).__name__
    if kind in _CROPS:
        return frame.cropped(_offset(frame.view[1], size[1]), _offset(frame.view[0], size[0]), size)
    return frame.resized(size) if kind in _RESIZES else frame


def _offset(before: int, after: int) -> int:
    """Where a centred crop begins, rounded as torchvision and timm do; negative where they pad."""
    return -((after - before) // 2) if after > before else round((before - after) / 2)


def _size(picture: Any) -> tuple[int, int]:
    import torch

    if isinstance(picture, torch.Tensor):
        return size_of(picture)
    return picture.height, picture.width


def _tutorial(picture: Image) -> tuple[Tensor, Frame]:
    """What the tutorial does for every model: squashed to 224×224 without smoothing, mean and deviation 0.5."""
    import torch
    from torchvision.transforms.functional import pil_to_tensor

    values = pil_to_tensor(picture)[None].float() / 255
    squashed = torch.nn.functional.interpolate(values, TUTORIAL_SIZE, mode="bilinear", align_corners=False)
    return (squashed[0] - 0.5) / 0.5, Frame.whole((picture.height, picture.width)).resized(TUTORIAL_SIZE)


def _refused(picture: Image) -> tuple[Tensor, Frame]:
    """Refuse pictures for a module without known preprocessing."""
    raise PictureError(
        "this model does not say how a picture becomes its input: "
        + spoken(
            "give `--size`, `--mean` and `--std`, have a factory return a torchvision Compose behind the "
            "module, or take `--preprocess tutorial`",
            'give preprocess={"size": …, "mean": …, "std": …} or a torchvision Compose, or pass the input '
            "itself as a float tensor",
        )
    )


_HALF = (0.5, 0.5, 0.5)


_SQUASHED = {"height": TUTORIAL_SIZE[0], "width": TUTORIAL_SIZE[1]}


tutorial_preprocess = Preprocess(
    _tutorial, Recipe("the tutorial", _SQUASHED, None, "bilinear, not antialiased", _HALF, _HALF)
)


no_preprocess = Preprocess(_refused, Recipe(NOBODY))
