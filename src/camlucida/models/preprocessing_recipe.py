"""A preprocessing in numbers, and where these come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from camlucida.images import Frame, Size

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
NOBODY = "nobody"  # where no library says how a picture becomes the model's input
_SIDES = {
    "shortest_edge": "shorter side to {}",
    "longest_edge": "longer side to {}",
}


@dataclass(frozen=True)
class Recipe:
    """The numbers of a preprocessing; unknown ones are None.

    ``resize`` has the names of Hugging Face: ``shortest_edge`` or ``longest_edge`` alone, ``height`` and
    ``width`` (squashed), or ``min_…`` or ``max_…`` of both, where proportions are kept. ``crop`` is (height,
    width), in the centre. ``mean`` and ``std`` are of values from 0 to 1, one a channel or one for all.
    ``source`` says where it is from, ``steps`` what it is to the letter, ``doubt`` why it may be another's.
    """

    source: str
    resize: Mapping[str, int] | None = None
    crop: Size | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    steps: tuple[str, ...] = field(default=(), repr=False)
    doubt: str = field(default="", repr=False)

    def facts(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {
            "from": self.source,
            "resize": None if self.resize is None else dict(self.resize),
            "crop": None if self.crop is None else list(self.crop),
            "interpolation": self.interpolation,
            "mean": None if self.mean is None else list(self.mean),
            "std": None if self.std is None else list(self.std),
        }

    def __str__(self) -> str:
        parts = [_resized(self.resize), f"crop {_by(self.crop)}" if self.crop else "", self.interpolation or ""]
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            parts.append(f"{name} {' '.join(f'{one:.3g}' for one in numbers)}" if numbers else "")
        return f"{', '.join(part for part in parts if part) or 'as it is'} (from {self.source})"


@dataclass(frozen=True)
class Preprocess:
    """A picture → the model's input (channels, height, width), and where that lies on the picture."""

    run: Callable[[Image], tuple[Tensor, Frame]]
    recipe: Recipe

    def __call__(self, picture: Image) -> tuple[Tensor, Frame]:
        return self.run(picture)


def recipe_of_steps(steps: Sequence[Any], source: str) -> Recipe:
    """What steps of torchvision or timm do; of several of a kind the last."""
    found: dict[str, Any] = {}
    for step in steps:
        kind = type(step).__name__
        if kind in ("Resize", "ResizeKeepRatio"):
            found["resize"] = _size_of(step)
            found["interpolation"] = name_of(step.interpolation)
            found.pop("crop", None)
        elif kind.startswith("CenterCrop"):
            found["crop"] = _pair(step.size)
        elif kind == "Normalize":
            found["mean"], found["std"] = _numbers(step.mean), _numbers(step.std)
    return Recipe(source, **found, steps=tuple(map(repr, steps)))


def _size_of(step: Any) -> dict[str, int]:
    size = step.size
    if isinstance(size, (list, tuple)) and len(size) == 1:
        size = size[0]
    if isinstance(size, int):
        longest = getattr(step, "max_size", None)
        return {"shortest_edge": size} | ({} if longest is None else {"longest_edge": int(longest)})
    if size is None:
        return {"longest_edge": int(step.max_size)}
    height, width = (int(one) for one in size)
    longest = getattr(step, "longest", None)
    if longest is None:
        return {"height": height, "width": width}
    end = "max" if longest >= 0.5 else "min"  # timm's: whether the longer or the shorter side fits
    return {f"{end}_height": height, f"{end}_width": width}


def _pair(size: Any) -> Size:
    sides = list(size) if isinstance(size, (list, tuple)) else [size]
    return int(sides[0]), int(sides[-1])


def _numbers(values: Any) -> tuple[float, ...]:
    listed = values.flatten().tolist() if hasattr(values, "flatten") else values
    numbers = listed if isinstance(listed, (list, tuple)) else [listed]
    return tuple(round(float(one), 6) for one in numbers)  # of float32 as they were written


def name_of(interpolation: Any) -> str:
    """What an interpolation is called, by torchvision's enum or Pillow's number."""
    from PIL.Image import Resampling

    if isinstance(interpolation, int):
        return Resampling(interpolation).name.lower()
    return str(getattr(interpolation, "value", interpolation))


def _by(size: Size) -> str:
    return "×".join(map(str, size))


def _resized(resize: Mapping[str, int] | None) -> str:
    if not resize:
        return ""
    if resize.keys() == {"height", "width"}:
        return f"resized to {resize['height']}×{resize['width']}"
    said = [_SIDES[name].format(value) for name, value in resize.items() if name in _SIDES]
    return ", ".join(said or [f"{name.replace('_', ' ')} {value}" for name, value in resize.items()])
