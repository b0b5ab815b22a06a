"""What a row of the hand-written truth says: which layers may be chosen, and what their numbers mean.

The rows were written from the source of timm and torchvision and know nothing of how camlucida finds layers:
the automatic scheme must not grade itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

ROW_MAJOR = "row-major"


@dataclass(frozen=True)
class Layout:
    """How a tensor maps to positions of the picture.

    Args:
        kind: "NCHW", "NHWC", "tokens" (batch, tokens, channels), "NCL" (batch, channels, tokens) or
            "LNC" (tokens, batch, channels).
        grid: Rows and columns of positions.
        prefix: How many tokens precede the positions.
        order: In which order the positions follow each other.
    """

    kind: str
    grid: tuple[int, int]
    prefix: int = 0
    order: str = ROW_MAJOR

    def fits(self, shape: Sequence[int], batch: int) -> bool:
        """Whether a tensor of this shape can have this layout."""
        length = self.prefix + prod(self.grid)
        wanted = {
            "NCHW": (batch, None, *self.grid),
            "NHWC": (batch, *self.grid, None),
            "tokens": (batch, length, None),
            "NCL": (batch, None, length),
            "LNC": (length, batch, None),
        }[self.kind]
        return len(shape) == len(wanted) and all(
            want is None or size == want for size, want in zip(shape, wanted, strict=True)
        )


Layers = dict[str, Layout]


@dataclass(frozen=True)
class Truth:
    """One model.

    Args:
        model: "timm:NAME", "torchvision:NAME" or "toy:NAME" (see truth_toys.py).
        arguments: Of its constructor.
        input_size: Channels, height, width.
        layers: Where a scheme may end, each with its true layout.
        wrong: Where it must not end, as patterns of `fnmatch`. A name in `layers` or `also` is exempt.
        also: Further layers whose layout is known. Not where a scheme should end, yet a user may name them.
        positions: Whether the model has any; where it has none, every answer but a refusal is wrong.
        branches: How many of the layers together hold every path from the picture to the score.
        refusable: Whether a refusal is as good as a layer.
    """

    model: str
    arguments: Mapping[str, object]
    input_size: tuple[int, int, int]
    layers: Layers
    wrong: tuple[str, ...] = ()
    also: Layers = field(default_factory=dict)
    positions: bool = True
    branches: int = 1
    refusable: bool = False

    @property
    def layout_elsewhere(self) -> set[Layout]:
        """What a tensor of the last stage may look like if nothing is known about it by name."""
        return {*self.layers.values(), *self.also.values()}

    def __str__(self) -> str:
        details = ",".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{self.model}({details})@" + "x".join(map(str, self.input_size))


def nchw(names: str, height: int, width: int) -> Layers:
    return dict.fromkeys(names.split(), Layout("NCHW", (height, width)))


def nhwc(names: str, height: int, width: int) -> Layers:
    return dict.fromkeys(names.split(), Layout("NHWC", (height, width)))


def tokens(names: str, height: int, width: int, prefix: int = 0, order: str = ROW_MAJOR) -> Layers:
    return dict.fromkeys(names.split(), Layout("tokens", (height, width), prefix, order))


def ncl(names: str, height: int, width: int) -> Layers:
    return dict.fromkeys(names.split(), Layout("NCL", (height, width)))


def dead(block: str) -> tuple[str, ...]:
    """What follows the attention of a block whose patches nobody reads: only the class token goes on.

    The query-key-value projection is spared, and what it feeds: patches still matter there.
    """
    return (block, f"{block}.attn", f"{block}.attn.proj*", f"{block}.norm2", f"{block}.[!na]*")


def timm_row(
    name: str,
    layers: Layers,
    size: tuple[int, int, int] = (3, 96, 160),
    *,
    wrong: str = "",
    also: Layers | None = None,
    **arguments: object,
) -> Truth:
    """Return a row of timm. A size in which height and width differ shows a transposed grid."""
    return Truth("timm:" + name, arguments, size, layers, tuple(wrong.split()), also or {})
