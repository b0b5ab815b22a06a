"""What a model library wants of a picture, and what its outputs mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from camlucida.errors import ModelError, OptionError, PictureError
from camlucida.images import Frame
from camlucida.models.resized import check_resized
from camlucida.outputs import Activation

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

Preprocess = Callable[["Image"], "tuple[Tensor, Frame]"]

TUTORIAL_SIZE = (224, 224)


@dataclass(frozen=True)
class Adapter:
    """A model and all that its library says of it.

    ``input_size`` is (channels, height, width) as the checkpoint wants it, None where nobody says;
    ``weights`` is "pretrained", "random", "own" or a file. ``labels_given`` says that the user named the
    classes, so that there has to be a name for each. ``logits_of`` finds the logits in what the module returns.
    ``outputs`` are scores of classes, or an embedding, which has no top class; ``activation`` makes
    probabilities of them.
    """

    module: nn.Module
    name: str
    preprocess: Preprocess
    labels: Sequence[str] | None
    input_size: tuple[int, int, int] | None
    normalisation: tuple[Sequence[float], Sequence[float]] | None  # mean and standard deviation a channel
    weights: str
    library: str
    labels_given: bool = False
    logits_of: Callable[[Any], Tensor] = field(default_factory=lambda: logits_of)
    outputs: Literal["classes", "embedding"] = "classes"
    activation: Activation = "auto"

    def label(self, index: int | None) -> str | None:
        """What class ``index`` is called, None where nobody says."""
        named = self.labels is not None and index is not None and 0 <= index < len(self.labels)
        return self.labels[index] if named else None  # type: ignore[index]


def logits_of(output: Any) -> Tensor:
    """The logits (batch, classes) in what a classifier returns.

    That is a tensor, or in a tuple, list, dict, ModelOutput or other record what is called ``logits``, else its
    only floating tensor of two axes. One number a picture, (batch,) or () for one alone, counts as one class.

    Raises:
        ModelError: there are none, or several that may be meant.
    """
    import torch

    if isinstance(output, torch.Tensor):
        return _two_axes(output, "")
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, torch.Tensor):
        return _two_axes(named, " as its logits")
    tensors = {id(tensor): (path, tensor) for path, tensor in _tensors(output, "", _NESTED)}.values()
    for axes in (2, 1):
        fitting = [(path, one) for path, one in tensors if one.ndim == axes and one.is_floating_point()]
        if len(fitting) == 1:
            return _two_axes(fitting[0][1], "")
        if fitting:
            offered = " and ".join(f"{path} {tuple(one.shape)}" for path, one in fitting)
            raise ModelError(
                f"a classifier returns logits (batch, classes), and here {offered} may be meant: say which by "
                "Explainer(model, logits_of=lambda output: …)"
            )
    raise _no_logits(type(output).__name__ if not tensors else _listed(tensors))


def logits_by(function: Callable[[Any], Any]) -> Callable[[Any], Tensor]:
    """The user's own way to the logits, checked like those that are found."""
    return partial(_chosen, function)


def _chosen(function: Callable[[Any], Any], output: Any) -> Tensor:
    import torch

    logits = function(output)
    if not isinstance(logits, torch.Tensor):
        raise ModelError(f"logits_of returns a tensor (batch, classes), got {type(logits).__name__}")
    return _two_axes(logits, " by logits_of")


def check_rows(logits: Tensor, pictures: int) -> None:
    """Refuse logits of another number of pictures than the model was given: then the first axis is another.

    Raises:
        ModelError: their numbers differ.
    """
    if len(logits) != pictures:
        raise ModelError(
            f"a classifier returns logits (batch, classes), this model returns {len(logits)} rows for "
            f"a batch of {pictures}: keep the axis of the batch, or say where the logits are by "
            "Explainer(model, logits_of=lambda output: …)"
        )


_NESTED = 3  # how deep logits are looked for in what a model returns


def _tensors(output: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested containers and records, with the way to it as one would write it."""
    import torch

    if isinstance(output, torch.Tensor):
        yield f"output{path}", output
    elif depth:
        for step, one in _steps_into(output):
            yield from _tensors(one, path + step, depth - 1)


def _steps_into(output: Any) -> list[tuple[str, Any]]:
    if isinstance(output, Mapping):
        return [(f"[{key!r}]", one) for key, one in output.items()]
    if isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", None)  # a namedtuple's
        return [(f".{names[i]}" if names else f"[{i}]", one) for i, one in enumerate(output)]
    return [(f".{name}", one) for name, one in getattr(output, "__dict__", {}).items()]


def _two_axes(logits: Tensor, what: str) -> Tensor:
    """Logits as (batch, classes): (batch,) and () are one class, axes of length 1 behind the classes go."""
    if not logits.is_floating_point():
        raise _no_logits(f"{str(logits.dtype).removeprefix('torch.')} {tuple(logits.shape)}{what}")
    if logits.ndim < 2:
        return logits.reshape(-1, 1)
    if any(length != 1 for length in logits.shape[2:]):
        raise _no_logits(f"a tensor {tuple(logits.shape)}{what}")
    return logits.flatten(1) if logits.ndim > 2 else logits


def _listed(tensors: Iterable[tuple[str, Tensor]]) -> str:
    return ", ".join(f"{path} {tuple(one.shape)}" for path, one in tensors)


def _no_logits(came: str) -> ModelError:
    return ModelError(
        f"a classifier returns logits (batch, classes), this model returns {came}: wrap it in a module "
        "whose forward returns them, or say where they are by Explainer(model, logits_of=lambda output: …)"
    )


def preprocess_of(transform: Any, channels: int = 3) -> Preprocess:
    """A preprocessing that also says where its output lies on the picture, from a torchvision-style Compose.

    Its steps are run one by one, and the frame follows the picture's size from step to step.

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

    return partial(_by_steps, steps, channels)  # which can be pickled


def _by_steps(steps: Sequence[Any], channels: int, picture: Image) -> tuple[Tensor, Frame]:
    import torch

    if channels not in (1, 3):
        raise PictureError(
            f"this model takes {channels} channels and a picture has three: pass the input itself as a "
            f"float tensor ({channels}, height, width)"
        )
    frame = Frame.whole((picture.height, picture.width))
    current: Any = picture.convert("L") if channels == 1 else picture
    for step in steps:
        _check_step(step)
        if type(step).__name__ in _RESIZES:
            check_resized(step, _size(current))
        current = step(current)
        frame = _follow(step, frame, _size(current))
    if not isinstance(current, torch.Tensor) or current.ndim != 3:
        raise OptionError("preprocess must end in a tensor (channels, height, width): add ToTensor()")
    return current, frame


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
        return int(picture.shape[-2]), int(picture.shape[-1])
    return picture.height, picture.width


def tutorial_preprocess(picture: Image) -> tuple[Tensor, Frame]:
    """What the tutorial does for every model: squashed to 224×224 without smoothing, mean and deviation 0.5."""
    import torch
    from torchvision.transforms.functional import pil_to_tensor

    values = pil_to_tensor(picture)[None].float() / 255
    squashed = torch.nn.functional.interpolate(values, TUTORIAL_SIZE, mode="bilinear", align_corners=False)
    return (squashed[0] - 0.5) / 0.5, Frame.whole((picture.height, picture.width)).resized(TUTORIAL_SIZE)


def no_preprocess(picture: Image) -> tuple[Tensor, Frame]:
    """For a module that nobody describes."""
    raise PictureError(
        "this model does not say how a picture becomes its input: pass preprocess= (a torchvision Compose), "
        "have the factory return it behind the module, take `--preprocess tutorial`, or pass the input itself "
        "as a float tensor"
    )
