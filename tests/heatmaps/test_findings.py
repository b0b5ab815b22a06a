"""Each finding is provoked once, and a healthy map has none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from camlucida import Explainer, Explanation
from camlucida.heatmaps.examine import examine
from camlucida.targets.base import ClassProbability


class Seen(nn.Module):
    """The layer is the input itself and the head pools it: class 0 counts it, class 1 its negative."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.head = nn.Linear(3, 2)
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.weight.copy_(gain * torch.tensor([[1.0, 1, 1], [-1, -1, -1]]))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.behind(self.layer(inputs)).mean(dim=(2, 3)))

    def behind(self, maps: Tensor) -> Tensor:
        return maps


class OfTheBatch(Seen):
    def behind(self, maps: Tensor) -> Tensor:
        return maps - 0.5 * maps.mean(dim=0, keepdim=True)


class Pooled(Seen):
    """The layer has a quarter of the input's rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.AvgPool2d(4)


class Dead(Seen):
    """Nothing below zero gets through."""

    def behind(self, maps: Tensor) -> Tensor:
        return maps.relu()


class Overflowing(Seen):
    """The layer has an infinite activation, which the rest clamps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)
        nn.init.constant_(self.layer.weight, 3e38)

    def behind(self, maps: Tensor) -> Tensor:
        return maps.clamp(-1, 1)


def bump(size: int = 8) -> Tensor:
    """Highest in the middle, positive everywhere, other in each channel."""
    ramp = torch.linspace(-1, 1, size)
    return torch.stack([torch.exp(-k * (ramp[:, None] ** 2 + ramp**2)) for k in (2.0, 3.0, 4.0)])


def frame() -> Tensor:
    picture = torch.ones(3, 8, 8)
    picture[:, 1:-1, 1:-1] = 0.01
    return picture * torch.tensor([1.0, 2, 3]).view(3, 1, 1)


def circle() -> Tensor:
    """Every position is as strong as any other: eigencam has nothing to choose a sign by."""
    angle = torch.linspace(0.1, 3, 64).view(8, 8)
    return torch.stack([angle.cos(), angle.sin(), torch.zeros(8, 8)])


def explained(module: nn.Module, picture: Tensor, method: str = "gradcam", **more: Any) -> Explanation:
    given = {"layers": ["layer"] if isinstance(module, Seen) else [None], **more}
    (one,) = Explainer(module).explain(picture, [method], **given)
    return one


SCORECAM = {"options": {"scorecam": {"channels": 1}}, "targets": [0]}
PROVOKED: dict[str, tuple[list[str], Callable[[], Explanation]]] = {
    "negative-only": (["negative-only"], lambda: explained(Seen(), bump(), targets=[1])),
    "zero-gradient": (
        ["zero-gradient", "constant"],
        lambda: explained(Dead(), -bump(), targets=[0]),
    ),
    "constant": (["constant"], lambda: explained(Seen(), torch.ones(3, 8, 8), targets=[0])),
    "saturated": (["saturated"], lambda: explained(Seen(40), bump(), targets=[ClassProbability(0)])),
    "not-finite": (
        ["layout-no-signal", "not-finite"],
        lambda: explained(Overflowing(), 9 * bump(), "eigencam"),
    ),
    "sign-ambiguous": (["sign-ambiguous"], lambda: explained(Seen(), circle(), "eigencam")),
    "border": (["border"], lambda: explained(Seen(), frame(), targets=[0])),
    "coarse": (["coarse"], lambda: explained(Pooled(), bump(24)[:, 8:16], targets=[0])),
    "resume-fallback": (
        ["resume-fallback", "leans-on-batch"],
        lambda: explained(OfTheBatch(), bump(), "ablationcam", targets=[0]),
    ),
    "channels-left-out": (["channels-left-out"], lambda: explained(Seen(), bump(), "scorecam", **SCORECAM)),
    "terms-left-out": (["terms-left-out"], lambda: explained(zoo.swin(), zoo.noise()[0], "fullgrad")),
    "eigen-smooth-not-applied": (
        ["eigen-smooth-not-applied"],
        lambda: explained(Seen(), bump(), "eigencam", smooth=["eigen"]),
    ),
}


@pytest.mark.parametrize(("codes", "provoke"), PROVOKED.values(), ids=PROVOKED.keys())
def test_each_finding_is_provoked(codes: list[str], provoke: Callable[[], Explanation]) -> None:
    found = provoke().health
    assert [one.code for one in found] == codes
    for one in found:
        assert str(one) == f"{one.found}: {one.advice}"
        assert len(one.found) > 10
        assert len(one.advice) > 10


@pytest.mark.parametrize("smooth", [(), ("aug",), ("eigen",), ("aug", "eigen")])
@pytest.mark.parametrize("method", ["gradcam", "layercam", "ablationcam", "scorecam"])
def test_a_healthy_map_has_none(method: str, smooth: tuple[Any, ...]) -> None:
    found = explained(Seen(), bump(), method, targets=[0], smooth=smooth)
    assert not zoo.is_flat(found.heatmap)
    assert found.health == ()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_said_first(value: float) -> None:
    heatmap = torch.zeros(2, 2)
    heatmap[1, 0] = value
    assert [one.code for one in examine(heatmap)] == ["not-finite"]


@pytest.mark.parametrize(("gain", "saturated"), [(0.5, False), (2.0, False), (40.0, True)])
def test_a_probability_is_saturated_close_to_one_only(gain: float, saturated: bool) -> None:
    found = explained(Seen(gain), bump(), targets=[ClassProbability(0)])
    assert (found.score > 0.999) == saturated
    assert [one.code for one in found.health] == ["saturated"] * saturated
    assert explained(Seen(gain), bump(), "eigencam", targets=[ClassProbability(0)]).health == ()
    assert explained(Seen(gain), bump(), targets=[0]).health == ()


@pytest.mark.parametrize(("inside", "border"), [(0.11, False), (0.09, True)])
def test_the_border_counts_from_nine_tenths(inside: float, border: bool) -> None:
    heatmap = torch.zeros(5, 6)
    heatmap[2, 2], heatmap[0, 3], heatmap[1, 1] = inside, 1 - inside, -5
    assert [one.code for one in examine(heatmap)] == ["border"] * border


@pytest.mark.parametrize(("shape", "coarse"), [((3, 3), False), ((2, 9), True), ((1, 4), True)])
def test_fewer_than_three_positions_a_side_are_coarse(shape: tuple[int, int], coarse: bool) -> None:
    heatmap = torch.arange(float(math.prod(shape))).view(shape) + 1
    assert [one.code for one in examine(heatmap)] == ["coarse"] * coarse


def test_findings_belong_to_their_picture() -> None:
    pictures = [bump(), torch.ones(3, 8, 8), frame()]
    found = Explainer(Seen()).explain(pictures, ["gradcam"], [0], ["layer"])
    assert [[note.code for note in one.health] for one in found] == [[], ["constant"], ["border"]]


def test_findings_stand_in_the_json(tmp_path: Path) -> None:
    found = explained(Seen(), frame(), "scorecam", **SCORECAM)
    found.save(tmp_path / "one.npz")
    stated = json.loads((tmp_path / "one.json").read_text(encoding="utf-8"))["health"]
    assert [one["code"] for one in stated] == [one.code for one in found.health]
    assert stated[0]["code"] == "channels-left-out"
    assert set(stated[0]) == {"code", "found", "advice"}


def test_every_picture_of_a_batch_says_that_resuming_did_not_work() -> None:
    """Recordings are kept for one picture at a time, what was found out is not."""
    pictures = torch.stack([bump(), bump().flip(-1)])
    found = Explainer(OfTheBatch()).explain(pictures, ["ablationcam"], targets=[0], layers=["layer"])
    assert ["resume-fallback" in [finding.code for finding in one.health] for one in found] == [True, True]
