"""Models that pad or crop the picture inside: the map is laid evenly over the input, and a finding says so."""

from __future__ import annotations

import re

import pytest
from torch import Tensor, nn
from torch.nn import functional

import zoo
from camlucida import Explainer
from zoo import driver, lenet


class Boxed(nn.Module):
    """Makes a square of the picture in one of several ways, and resizes it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        body = (nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.body = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))
        self.way = way
        zoo.redraw(self)

    def forward(self, batch: Tensor) -> Tensor:
        height, width = batch.shape[-2:]
        across, down = max(0, height - width), max(0, width - height)
        if self.way == "middle":
            batch = functional.pad(batch, (across // 2, across - across // 2, down // 2, down - down // 2))
        elif self.way == "corner":
            batch = functional.pad(batch, (0, across, 0, down))
        elif self.way == "crop":
            batch = batch[..., across // 2 : height - across // 2, down // 2 : width - down // 2]
        return self.body(functional.interpolate(batch, (64, 64), mode="bilinear"))


def uneven(module: nn.Module, picture: Tensor, layer: str | None = None) -> str:
    (found,) = Explainer(module).explain(picture, layers=[layer])
    return " ".join(note.found for note in found.health if note.code == "uneven-grid")


@pytest.mark.parametrize("layer", [None, "body.0"])
@pytest.mark.parametrize(
    ("way", "size", "where"),
    [
        ("middle", (64, 128), r"in height it lies from 2\d% to 7\d% of the grid"),
        ("middle", (96, 64), r"in width it lies from 1\d% to 8\d% of the grid"),
        ("corner", (64, 128), r"in height it lies from [01]% to (50|49|51)% of the grid"),
        ("crop", (64, 128), r"in width only 2\d% to 7\d% of it lie in the grid"),
    ],
)
def test_it_is_said_where_the_picture_lies(
    way: str, size: tuple[int, int], where: str, layer: str | None
) -> None:
    said = uneven(Boxed(way), zoo.noise(1, *size)[0], layer)
    assert re.search(where, said), said
    assert said.count("grid)") == 1


@pytest.mark.parametrize("way", ["middle", "corner", "crop", "stretch"])
def test_nothing_is_said_where_it_fills_the_grid(way: str) -> None:
    size = (64, 128) if way == "stretch" else (96, 96)
    assert not uneven(Boxed(way), zoo.noise(1, *size)[0])


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_nothing_is_said_of_ordinary_networks(family: str) -> None:
    assert not uneven(zoo.FAMILIES[family](), zoo.noise(1)[0])


@pytest.mark.parametrize(("make", "size"), [(driver, (66, 200)), (lenet, (60, 160)), (lenet, (31, 45))])
def test_nor_of_unpadded_ones(make: object, size: tuple[int, int]) -> None:
    picture, module = zoo.noise(1, *size), make()
    module(picture)
    assert not uneven(zoo.redraw(module), picture[0])


def test_another_size_is_looked_at_anew() -> None:
    explainer, said = Explainer(Boxed("middle")), []
    for size in ((64, 64), (64, 128), (96, 96), (128, 64)):
        (found,) = explainer.explain(zoo.noise(1, *size)[0])
        said.append([note.found.count(" in ") for note in found.health if note.code == "uneven-grid"])
    assert [len(one) for one in said] == [0, 1, 0, 1]
