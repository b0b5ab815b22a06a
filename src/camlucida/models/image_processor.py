"""Image processors of transformers as preprocessing: run unchanged, with their frame measured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from camlucida.errors import OptionError, PictureError
from camlucida.images import Frame, Size, size_of
from camlucida.models.measured_frame import measured_frame
from camlucida.models.preprocessing_recipe import Preprocess, Recipe, name_of
from camlucida.models.preprocessing_steps import GIVEN, other_channels, own_steps, preprocess_of
from camlucida.models.resize_check import check_resized
from camlucida.models.weights import first_line

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_FRAMES = 64  # of sizes of pictures, that are kept
_BILINEAR = 2  # Pillow's number
_UNCROPPED = 384  # ConvNeXt's side from which on nothing is cropped
_SQUARE = 320  # side of the picture that shows which input size a processor makes


def is_processor(given: Any) -> bool:
    """Whether this is an image processor of transformers."""
    return any(
        kind.__module__.startswith("transformers.") and kind.__name__ == "BaseImageProcessor"
        for kind in type(given).__mro__
    )


def processed_by(processor: Any, channels: int = 3, source: str = GIVEN) -> Preprocess:
    """The processor as it is configured, run by itself; its frame is measured once for each picture size."""
    steps = getattr(processor, "val_transforms", None)  # timm's networks in transformers keep timm's steps
    if steps is not None:
        return preprocess_of(steps, channels, source)

    run = partial(_processed, processor, channels, {})  # which can be pickled
    return Preprocess(run, _recipe(processor, channels, source))


def _frame_of(processor: Any, size: Size) -> Frame:
    quantised = getattr(processor, "backend", "pil") != "torchvision"
    plain = {"resample": _BILINEAR, "do_rescale": False, "do_normalize": False}

    def process(shown: Tensor) -> Tensor:
        pixels = shown.byte().numpy() if quantised else shown
        return _pixels(processor, pixels, input_data_format="channels_first", **plain)

    return measured_frame(process, size, quantised)


def _processed(
    processor: Any, channels: int, frames: dict[Size, Frame], picture: Image
) -> tuple[Tensor, Frame]:
    if channels not in (1, 3):
        raise PictureError(
            f"this model takes {channels} channels and a picture has three: " + other_channels(channels)
        )
    check_resized(processor, (picture.height, picture.width))
    tensor = _pixels(processor, picture.convert("L") if channels == 1 else picture)
    size = (picture.height, picture.width)
    if size not in frames:
        while len(frames) >= _FRAMES:
            frames.pop(next(iter(frames)))
        frames[size] = _frame_of(processor, size)
    return tensor, frames[size]


def _recipe(processor: Any, channels: int, source: str) -> Recipe:
    """What the processor is configured to do."""
    numbers = normalisation_of(processor, channels)
    mean, deviation = (tuple(map(float, part)) for part in numbers) if numbers else (None, None)
    resizes, crops = (getattr(processor, step, False) for step in ("do_resize", "do_center_crop"))
    resize, crop = (_sides(processor, name) for name in ("size", "crop_size"))
    side, share = resize.get("shortest_edge"), getattr(processor, "crop_pct", None)
    if share and side:  # ConvNeXt's
        whole = side >= _UNCROPPED
        resize = {"height": side, "width": side} if whole else {"shortest_edge": int(side / share)}
        crop, crops = {"height": side, "width": side}, not whole
    return Recipe(
        source,
        resize=resize if resizes else None,
        crop=(crop["height"], crop["width"]) if crops and "height" in crop else None,
        interpolation=name_of(processor.resample) if resizes else None,
        mean=mean,
        std=deviation,
        steps=(str(processor),),
    )


def _sides(processor: Any, name: str) -> dict[str, int]:
    given = getattr(processor, name, None)
    return {side: int(one) for side, one in dict(given or {}).items() if one}


def configured_size(config: Any) -> Size | None:
    """The input size that a model's configuration names, if any."""
    size = getattr(config, "image_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, (list, tuple)) and len(size) == 2 else None


def processed_size(processor: Any, channels: int) -> Size | None:
    """The input size for a square picture, None if that is the picture's own size."""
    from PIL import Image

    if not any(getattr(processor, step, False) for step in ("do_resize", "do_center_crop", "val_transforms")):
        return None
    tensor, _ = processed_by(processor, channels)(Image.new("RGB", (_SQUARE, _SQUARE)))
    return size_of(tensor)


def normalisation_of(processor: Any, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
    """Mean and deviation a channel of values from 0 to 1, None where the processor works with others."""
    if not getattr(processor, "do_rescale", False) or round(1 / processor.rescale_factor) != 255:
        return None
    if not getattr(processor, "do_normalize", False):
        return (0.0,) * channels, (1.0,) * channels
    mean, deviation = (
        tuple(values) if isinstance(values, (list, tuple)) else (float(values),) * channels
        for values in (processor.image_mean, processor.image_std)
    )
    return (mean, deviation) if len(mean) == len(deviation) == channels else None


def _pixels(processor: Any, picture: Any, **options: Any) -> Tensor:
    """The processor's output for one picture, (channels, height, width)."""
    try:
        values: Tensor = processor(images=picture, return_tensors="pt", **options)["pixel_values"]
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise OptionError(
            f"{type(processor).__name__} cannot make this picture the model's input ({first_line(error)}): "
            f"{own_steps()}"
        ) from error
    if values.ndim != 4 or values.shape[0] != 1:
        raise OptionError(
            f"{type(processor).__name__} cuts a picture into pieces {tuple(values.shape)} that cannot be drawn "
            f"back: {own_steps()}"
        )
    return values[0]
