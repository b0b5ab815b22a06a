"""Make batches of pictures with evidence at a known location."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from camlucida.errors import OptionError
from camlucida.testbed.shapes import SHAPES

SIZE = 64  # height and width of a picture
GRID = (8, 8)  # positions of the networks' last layers
CLASSES = tuple(SHAPES)

_RADIUS = (12.0, 15.0)
_TURN = math.radians(20)
_TAG = 6.0  # half the side of a tag
_CONTRAST = 0.3  # smallest difference in brightness between a shape and its background
_HUES = torch.tensor(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0.5, 0], [0.5, 0, 1]],
    dtype=torch.float32,
)  # a tag's colour, one a class


@dataclass(frozen=True, eq=False)
class Samples:
    """Pictures (n, 3, height, width) in [0, 1], the input of the models, with their ground truth.

    ``labels`` (n,) index ``CLASSES``; ``masks`` (n, height, width) say where the shape lies.
    """

    pictures: Tensor
    labels: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class TaggedSamples(Samples):
    """Pictures with a coloured tag beside the shape; ``tags`` (n, height, width) say where."""

    tags: Tensor


def samples(n: int, seed: int = 0) -> Samples:
    """``n`` pictures of one shape each, on a texture among distractors; every shape equally often.

    Only the shape determines the class: colour, place, size and angle are independent of it.

    Raises:
        OptionError: ``n`` is below 1.
    """
    generator = _generator(n, seed)
    labels = _balanced(n, generator)
    ground = _distracted(_texture(n, generator), generator)
    pictures, masks = _with_forms(ground, labels, _places(n, generator), generator)
    return Samples(_noisy(pictures, generator), labels, masks)


def shortcut_samples(n: int, seed: int = 0) -> TaggedSamples:
    """``samples`` with a tag beside the shape whose colour gives the class away."""
    generator = _generator(n, seed)
    labels = _balanced(n, generator)
    return _tagged(labels, labels, generator)


def conflict_samples(n: int, seed: int = 0) -> TaggedSamples:
    """``shortcut_samples`` with a tag in the colour of another class than that of the shape.

    ``labels`` are the classes of the tags: a model that predicts them decides by the tag.
    """
    generator = _generator(n, seed)
    labels = _balanced(n, generator)
    others = labels + torch.randint(1, len(CLASSES), (n,), generator=generator)
    return _tagged(others % len(CLASSES), labels, generator)


def _tagged(forms: Tensor, labels: Tensor, generator: torch.Generator) -> TaggedSamples:
    n = len(labels)
    ground = _distracted(_texture(n, generator), generator)
    places = _places(n, generator)
    pictures, masks = _with_forms(ground, forms, places, generator)
    x, y = _grid()
    at = _beside(places, generator)
    distance = torch.maximum((x - at[:, 0, None, None]).abs(), (y - at[:, 1, None, None]).abs())
    tags = distance <= _TAG
    colours = _HUES[labels][:, :, None, None] * (distance <= _TAG - 2)[:, None]  # in a black frame
    pictures = torch.where(tags[:, None], colours, pictures)
    return TaggedSamples(_noisy(pictures, generator), labels, masks, tags)


def _generator(n: int, seed: int) -> torch.Generator:
    if n < 1:
        raise OptionError(f"the number of pictures is at least 1, got {n}: ask for one or more")
    return torch.Generator().manual_seed(seed)


def _balanced(n: int, generator: torch.Generator) -> Tensor:
    return (torch.arange(n) % len(CLASSES))[torch.randperm(n, generator=generator)]


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float32) * (high - low) + low


def _grid() -> tuple[Tensor, Tensor]:
    """The x and y of pixel centres, each (1, height, width)."""
    centres = torch.arange(SIZE, dtype=torch.float32) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return x[None], y[None]


def _places(n: int, generator: torch.Generator) -> Tensor:
    """The x, y and radius of shapes (n, 3), uniform within the picture."""
    radius = _uniform(*_RADIUS, (n, 1), generator)
    margin = 1.15 * radius + 1
    return torch.cat(
        [margin + torch.rand((n, 2), generator=generator, dtype=torch.float32) * (SIZE - 2 * margin), radius], 1
    )


def _beside(places: Tensor, generator: torch.Generator) -> Tensor:
    """The x and y of tags (n, 2): the first of several draws that is clear of the shape, else the furthest."""
    draws = _uniform(_TAG + 1, SIZE - _TAG - 1, (len(places), 32, 2), generator)
    distance = (draws - places[:, None, :2]).norm(dim=2) - places[:, 2:] - _TAG * math.sqrt(2)
    first = torch.where(distance > 0, torch.arange(32, 0, -1, dtype=torch.float32) + SIZE, distance).argmax(
        dim=1
    )
    return draws[torch.arange(len(places)), first]


def _texture(n: int, generator: torch.Generator) -> Tensor:
    """Backgrounds of one colour each, under a gradient and clouds of two sizes."""
    clouds = torch.zeros(n, 3, SIZE, SIZE, dtype=torch.float32)
    for cells, strength in ((4, 0.10), (16, 0.06)):
        grey = torch.randn((n, 1, cells, cells), generator=generator, dtype=torch.float32)
        tint = torch.randn((n, 3, cells, cells), generator=generator, dtype=torch.float32) * 0.5
        clouds += strength * interpolate(grey + tint, (SIZE, SIZE), mode="bilinear", align_corners=False)
    x, y = _grid()
    slope = _uniform(-0.15, 0.15, (n, 2, 3, 1, 1), generator)
    ramp = slope[:, 0] * (x / SIZE - 0.5) + slope[:, 1] * (y / SIZE - 0.5)
    return _colours(_uniform(0.2, 0.8, (n, 1), generator), generator) + ramp + clouds


def _colours(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Pale colours (n, 3, 1, 1) around the given greys (n, 1)."""
    tint = _uniform(-0.2, 0.2, (len(grey), 3), generator)
    return (grey + tint - tint.mean(dim=1, keepdim=True))[:, :, None, None]


def _distracted(ground: Tensor, generator: torch.Generator) -> Tensor:
    """The background under soft spots, lines and patches of noise, none of which looks like a shape."""
    n = len(ground)
    x, y = _grid()
    for kind in ("line", "spot", "patch", "line", "spot", "patch"):
        at = _uniform(0, SIZE, (n, 2, 1, 1), generator)
        across, down = x - at[:, 0], y - at[:, 1]
        if kind == "line":
            angle = _uniform(0, math.pi, (n, 1, 1), generator)
            width = _uniform(1, 2, (n, 1, 1), generator)
            off = (across * angle.sin() - down * angle.cos()).abs() - width
            cover = (0.5 - off).clamp(0, 1)
        else:
            width = _uniform(4, 8, (n, 1, 1), generator)
            cover = 0.8 * torch.exp(-(across**2 + down**2) / (2 * width**2))
        colour = _colours(_uniform(0.1, 0.9, (n, 1), generator), generator)
        if kind == "patch":
            colour = torch.rand((n, 1, SIZE, SIZE), generator=generator, dtype=torch.float32).expand(
                -1, 3, -1, -1
            )
        ground = ground + cover[:, None] * (colour - ground)
    return ground


def _with_forms(
    ground: Tensor, labels: Tensor, places: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The shapes drawn on the background, and their masks."""
    n = len(labels)
    turn = _uniform(-_TURN, _TURN, (n, 1, 1), generator)
    across, down = (
        (axis - places[:, i, None, None]) / places[:, 2, None, None] for i, axis in enumerate(_grid())
    )
    u = across * turn.cos() + down * turn.sin()
    v = down * turn.cos() - across * turn.sin()
    outside = torch.empty(n, SIZE, SIZE, dtype=torch.float32)
    for label, form in enumerate(SHAPES.values()):
        rows = labels == label
        outside[rows] = form(u[rows], v[rows])
    cover = (0.5 - outside * places[:, 2, None, None]).clamp(0, 1)
    # Mostly brighter or darker than the mean of what they cover, whichever leaves more contrast.
    under = (ground.mean(dim=1) * cover).sum(dim=(1, 2)) / cover.sum(dim=(1, 2))
    room = torch.where(
        torch.rand(n, generator=generator, dtype=torch.float32) < under.clamp(0, 1), -under, 1 - under
    )
    share = _uniform(_CONTRAST, 1, (n,), generator)
    change = torch.where(room < 0, (room * share).clamp(max=-_CONTRAST), (room * share).clamp(min=_CONTRAST))
    colour = _colours((under + change)[:, None], generator)
    return ground + cover[:, None] * (colour - ground), cover >= 0.5


def _noisy(pictures: Tensor, generator: torch.Generator) -> Tensor:
    return (pictures + 0.02 * torch.randn(pictures.shape, generator=generator, dtype=torch.float32)).clamp(0, 1)
