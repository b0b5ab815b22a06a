"""What metrics of faithfulness share: the order of positions, and what replaces them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import OptionError, unknown_name

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from camlucida.types import MakeVariants

BASELINES = ("zero", "mean", "blur")
_BLUR = 5 / 224  # RISE's Gaussian: 5 pixels wide on an input of 224


def ranks(values: Tensor) -> bool:
    """Whether ``values`` say which positions count most: all are finite and they are not all the same."""
    return bool(values.isfinite().all()) and bool((values != values.flatten()[0]).any())


def seen_through(heatmap: Tensor, input: Tensor) -> Tensor:
    """The input multiplied with the map, which is 1 where it is largest (above zero), 0 where negative."""
    return input * (heatmap.clamp(min=0) / heatmap.max()).to(input.dtype)


def hottest_first(values: Tensor) -> Tensor:
    """The rank of each position in the shape of ``values``, 0 for the hottest; equals in reading order."""
    import torch

    order = values.flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    return rank.view(values.shape)


def steps_of(count: int, steps: int) -> list[int]:
    """How many of ``count`` positions are changed at each of ``steps`` as equal steps as there can be.

    Raises:
        OptionError: there is not at least one step.
    """
    at_least("steps", steps, 1)
    steps = min(steps, count)
    return [step * count // steps for step in range(1, steps + 1)]


def replaced(first: Tensor, then: Tensor, rank: Tensor, changed: list[int]) -> MakeVariants:
    """Variants of ``first`` in which the ``changed[index]`` hottest positions are those of ``then``."""
    import torch

    limits = torch.tensor(changed).view(-1, 1, 1, 1)

    def make(indices: range) -> Tensor:
        return torch.where(rank < limits[indices.start : indices.stop], then, first)

    return make


def cells(shape: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """The number of the cell of a ``grid`` (rows, columns) in which each position of ``shape`` lies."""
    import torch

    rows, columns = (torch.arange(size) * parts // size for size, parts in zip(shape, grid, strict=True))
    return rows[:, None] * grid[1] + columns


def cell_sums(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """The sums of ``values`` (height, width) over the cells of a ``grid`` that is not finer, float64, flat."""
    import torch

    where = cells((values.shape[0], values.shape[1]), grid).flatten()
    return torch.bincount(where, values.flatten().double(), minlength=grid[0] * grid[1])


def baseline_of(input: Tensor, baseline: str) -> Tensor:
    """What is shown in the place of a ``input`` (input_channels, height, width) where it is taken away.

    Raises:
        OptionError: there is no such baseline.
    """
    if baseline not in BASELINES:
        hint = f"it is one of {', '.join(BASELINES)}"
        raise OptionError(unknown_name("baseline", str(baseline), list(BASELINES), hint))
    if baseline == "blur":
        return _blurred(input)
    plain = input.mean(dim=(1, 2), keepdim=True) if baseline == "mean" else input.new_zeros(1)
    return plain.expand_as(input)


def _blurred(input: Tensor) -> Tensor:
    """Each pixel the mean of the picture, weighted by a Gaussian around it; nothing comes from outside."""
    import torch

    height, width = input.shape[1:]
    sides = []
    for size in (height, width):
        places = torch.arange(size, dtype=torch.float64)
        distance = (places[:, None] - places) / (_BLUR * min(height, width))
        sides.append((-(distance**2) / 2).softmax(dim=1).to(input.dtype))  # rows add up to 1
    blurred: Tensor = sides[0] @ input @ sides[1].T
    return blurred


def drawing(seed: int) -> Generator:
    """A source of random numbers that is always the same for a ``seed``."""
    import torch

    return torch.Generator().manual_seed(seed)


def at_least(name: str, value: float, least: float) -> None:
    """Refuse an option's value that is smaller.

    Raises:
        OptionError: it is.
    """
    if not value >= least:
        raise OptionError(f"option {name} is at least {least}, got {value}")


def share_of(name: str, value: float) -> None:
    """Refuse an option's value that is not a share between 0 and 1.

    Raises:
        OptionError: it is not.
    """
    if not 0 < value < 1:
        raise OptionError(f"option {name} is a share between 0 and 1, got {value}")
