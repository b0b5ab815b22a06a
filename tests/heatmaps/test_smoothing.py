"""Smoothing by views and by the principal component, and the fusion of maps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torch.nn.functional import interpolate

import zoo
from camlucida import Explainer, Explanation
from camlucida.cli import main
from camlucida.errors import OptionError
from camlucida.heatmaps.combine import fuse
from camlucida.heatmaps.examine import examine
from camlucida.heatmaps.scale import full_colour_values, peaks
from camlucida.heatmaps.smoothing import views
from camlucida.methods import registry
from oracles import methods as oracles

# cam, which is refused where positions are kept apart, has its own tests
ENTRIES = {name: entry for name, entry in registry.all_methods().items() if name != "cam"}
WHOLE = [name for name, entry in ENTRIES.items() if entry.returns == "heatmap"]
PARTS = [name for name, entry in ENTRIES.items() if entry.returns != "heatmap"]
OPTIONS = {"scorecam": {"channels": 5}}


class Small(nn.Module):
    """Positions are kept apart to the end, so that mirrored pictures have other maps."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 7, 3, padding=1, stride=2), nn.BatchNorm2d(7), nn.ReLU())
        self.head = nn.Linear(7 * 5 * 6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.features(inputs).flatten(1)) * 4


LAYER = "features"


def small() -> Explainer:
    return Explainer(zoo.redraw(Small()).double())


def picture(seed: int = 1) -> Tensor:
    return zoo.noise(1, 10, 12, seed=seed)[0]


def explained(explainer: Explainer, pictures: Any, method: str, *smooth: Any, target: Any = None) -> Any:
    options = {name: value for name, value in OPTIONS.items() if name == method}
    found = explainer.explain(pictures, [method], [target], [LAYER], options, smooth)
    return found if isinstance(pictures, list) else found[0]


def assert_same(found: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=share * scale)


def codes(explanation: Explanation) -> list[str]:
    return [finding.code for finding in explanation.health]


# -- views ------------------------------------------------------------------------------------------------


def six_by_hand(explainer: Explainer, one: Tensor, method: str, index: int, *smooth: Any) -> Tensor:
    """The six maps, upright: each view on its own, all for the same class."""
    maps = []
    for mirrored in (False, True):
        for factor in (0.9, 1, 1.1):
            view = (torch.flip(one, dims=[2]) if mirrored else one) * factor
            heatmap = explained(explainer, view, method, *smooth, target=index).heatmap
            maps.append(torch.flip(heatmap, dims=[1]) if mirrored else heatmap)
    return torch.stack(maps)


@pytest.mark.parametrize("smooth", [(), ("eigen",)], ids=["aug", "both"])
@pytest.mark.parametrize("method", ENTRIES)
def test_aug_is_the_mean_of_six_views(method: str, smooth: tuple[Any, ...]) -> None:
    explainer, pictures = small(), [picture(1), picture(2)]
    found = explained(explainer, pictures, method, "aug", *smooth)
    for one, explanation in zip(pictures, found, strict=True):
        plain = explained(explainer, one, method, *smooth)
        maps = six_by_hand(explainer, one, method, plain.index, *smooth)
        assert_same(explanation.heatmap, maps.mean(dim=0))
        squares = (maps - maps.mean(dim=0)).square().mean(dim=0)
        assert_same(explanation.spread, squares.sqrt(), 1e-4)
        assert (explanation.index, explanation.label) == (plain.index, plain.label)
        assert explanation.score == pytest.approx(plain.score)
        assert explanation.probability == pytest.approx(plain.probability)
        assert explanation.provenance.smooth == ("aug", *smooth)
        assert plain.spread is None


def test_views_are_plain_first() -> None:
    assert torch.equal(views(picture())[0], picture())
    assert len(views(picture())) == 6


class Fickle(Small):
    """The top class is 0 on the plain picture and 1 on views that are darker or mirrored."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, inputs: Tensor) -> Tensor:
        logits = super().forward(inputs)
        left, right = inputs[..., :6].mean(dim=(1, 2, 3)), inputs[..., 6:].mean(dim=(1, 2, 3))
        bonus = 100 * torch.stack([left - right, torch.full_like(left, self.level)], dim=1)
        return torch.cat([logits[:, :2] + bonus, logits[:, 2:]], dim=1)


def test_the_class_is_that_of_the_plain_view() -> None:
    one = picture()
    one[..., :6] += 1
    gap = float(one[..., :6].mean() - one[..., 6:].mean())
    module = zoo.redraw(Fickle(gap * 0.95)).double()
    explainer = Explainer(module)
    with torch.no_grad():
        tops = module(torch.stack(views(one)).double()).argmax(dim=1).tolist()
    assert tops == [0, 1, 0, 1, 1, 1]
    found = explained(explainer, one, "gradcam", "aug")
    assert found.index == 0
    assert_same(found.heatmap, six_by_hand(explainer, one, "gradcam", 0).mean(dim=0))
    other = six_by_hand(explainer, one, "gradcam", 1).mean(dim=0)
    assert not torch.allclose(found.heatmap, other, rtol=0.1)


@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_both_smoothings_of_a_batch_are_those_of_its_pictures(family: str) -> None:
    explainer, pictures = Explainer(zoo.FAMILIES[family]()), zoo.noise(2)
    together = explainer.explain(pictures, ["gradcam", "layercam"], [None, 3], smooth=("aug", "eigen"))
    alone = [
        one
        for each in pictures
        for one in explainer.explain(each, ["gradcam", "layercam"], [None, 3], smooth=("aug", "eigen"))
    ]
    for one, expected in zip(together, alone, strict=True):
        assert one.index == expected.index
        assert_same(one.heatmap, expected.heatmap, 1e-3)  # components, in float32


def test_other_smoothings_are_refused() -> None:
    with pytest.raises(OptionError, match="did you mean 'aug'"):
        explained(small(), picture(), "gradcam", "aut")


# -- principal component ----------------------------------------------------------------------------------


def contributions_of(method: str) -> tuple[Tensor, Explainer]:
    """The method's contributions (channels, height, width) of the top class, caught on the way."""
    caught: list[Tensor] = []
    from camlucida.pipeline import maps

    real = maps.reduce

    def spy(contributions: Tensor) -> Tensor:
        caught.append(contributions[0])
        return real(contributions)

    explainer = small()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "reduce", spy)
        explained(explainer, picture(), method)
    return caught[0], explainer


@pytest.mark.parametrize("method", PARTS)
def test_eigen_is_the_first_component_of_the_contributions(method: str) -> None:
    contributions, explainer = contributions_of(method)
    plain = explained(explainer, picture(), method)
    found = explained(explainer, picture(), method, "eigen")
    assert_same(plain.heatmap, contributions.sum(dim=0))
    values = contributions.numpy()
    expected = oracles.first_component(values, values.sum(axis=0))
    assert_same(found.heatmap, torch.from_numpy(expected))
    assert "eigen-smooth-not-applied" not in codes(found)
    assert found.provenance.smooth == ("eigen",)
    rises = (found.heatmap * (plain.heatmap - plain.heatmap.mean())).sum()
    assert float(rises) >= 0


@pytest.mark.parametrize("method", WHOLE)
def test_eigen_keeps_maps_without_contributions_and_says_so(method: str) -> None:
    explainer = small()
    plain, found = (explained(explainer, picture(), method, *smooth) for smooth in ((), ("eigen",)))
    assert torch.equal(found.heatmap, plain.heatmap)
    assert codes(found) == [
        *(note.code for note in plain.findings),
        "eigen-smooth-not-applied",
        *(one.code for one in examine(plain.heatmap)),
    ]


def test_methods_without_contributions() -> None:
    assert sorted(WHOLE) == ["eigencam", "eigengradcam", "fullgrad", "kpcacam", "segeigencam"]


# -- fusion -----------------------------------------------------------------------------------------------

SHAPES = [(3, 4), (6, 8), (2, 2)]


def several() -> list[Tensor]:
    draws = [torch.rand(shape, generator=torch.Generator().manual_seed(i)) for i, shape in enumerate(SHAPES)]
    return [one * 4**i - 0.2 for i, one in enumerate(draws)]


@pytest.mark.parametrize("how", ["mean", "product"])
def test_fuse(how: Any) -> None:
    layers = [oracles.upsampled(one.double().numpy(), (6, 8)) for one in several()]
    expected = {"mean": np.mean, "product": np.prod}[how](np.stack(layers), axis=0)
    found = fuse(several(), how)
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    batch = [torch.stack([one, 2 * one]) for one in several()]
    torch.testing.assert_close(fuse(batch, how)[0], found, rtol=0, atol=0)


def test_fuse_refuses_other_words() -> None:
    with pytest.raises(OptionError, match="did you mean 'mean'"):
        fuse([torch.ones(2, 2)], "men")


def test_peaks_are_the_largest_finite_values() -> None:
    maps = torch.tensor([[[1.0, -3.0]], [[-1.0, -2.0]], [[float("nan"), 5.0]], [[float("inf"), 0.5]]])
    assert peaks(maps).tolist() == [1, 0, 5, 0.5]
    assert peaks(maps, signed=True).tolist() == [3, 2, 5, 0.5]
    assert full_colour_values(list(maps), "picture") == [1, 0, 5, 0.5]
    assert full_colour_values(list(maps), "panel") == [5] * 4
    with pytest.raises(OptionError, match="scale"):
        full_colour_values(list(maps), "whole")


@pytest.mark.parametrize("smooth", [(), ("aug",)])
def test_layers_with_a_plus_are_the_mean_of_both(smooth: tuple[Any, ...]) -> None:
    explainer = Explainer(zoo.convnext())
    names = ["stages.2", "stages.3"]
    one, other, both = explainer.explain(zoo.noise(), layers=[*names, "+".join(names)], smooth=smooth)
    scaled = [one.heatmap / one.heatmap.abs().max(), other.heatmap / other.heatmap.abs().max()]
    scaled[1] = interpolate(scaled[1][None, None], scaled[0].shape, mode="bilinear")[0, 0]
    assert one.heatmap.numel() > other.heatmap.numel()
    assert_same(both.heatmap, sum(scaled) / 2)
    assert both.layer == "stages.2+stages.3"
    assert both.provenance.layout == f"{one.provenance.layout} + {other.provenance.layout}"
    assert (both.spread is None) == (not smooth)
    if both.spread is not None:
        assert both.spread.shape == both.heatmap.shape


# -- the spread, drawn and saved --------------------------------------------------------------------------


def test_the_spread_is_drawn_on_request() -> None:
    photo = Image.fromarray(data.chelsea()[:120, :120])
    found = Explainer(zoo.convnext()).explain(photo, smooth=["aug"])[0]
    maps, spread = (np.asarray(found.overlay(show=show)) for show in ("map", "spread"))
    assert (maps != spread).any()
    assert torch.equal(found.map_or_spread("spread"), found.spread)
    swapped = Explanation(**{**vars_of(found), "heatmap": found.spread})
    np.testing.assert_array_equal(spread, np.asarray(swapped.overlay()))


def vars_of(explanation: Explanation) -> dict[str, Any]:
    return {name: getattr(explanation, name) for name in explanation.__dataclass_fields__}


@pytest.mark.parametrize(("smooth", "show"), [((), "spread"), (("eigen",), "spread"), (("aug",), "spred")])
def test_no_spread_is_an_error(smooth: tuple[Any, ...], show: Any) -> None:
    found = explained(small(), picture(), "gradcam", *smooth)
    with pytest.raises(OptionError, match="comes with aug smoothing"):
        found.overlay(show=show)


def test_spread_and_notes_come_back_from_the_file(tmp_path: Path) -> None:
    found = explained(small(), picture(), "scorecam", "aug", "eigen")
    assert "channels-left-out" in [note.code for note in found.findings]
    loaded = Explanation.load(found.save(tmp_path / "one.npz"))
    assert torch.equal(loaded.spread, found.spread)
    assert torch.equal(loaded.heatmap, found.heatmap)
    assert (loaded.findings, loaded.health) == (found.findings, found.health)
    assert loaded.provenance == found.provenance


# -- the command line -------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    path = tmp_path / "cat.png"
    Image.fromarray(data.chelsea()).resize((150, 100)).save(path)
    return path


def run(*arguments: object, code: int = 0) -> None:
    stopped: Any = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        stopped = stop.code or 0
    assert stopped == code


def test_flags_reach_the_map(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--aug-smooth", "--eigen-smooth", "--show", "spread"]
    run("explain", photo, "--method", "eigencam", *flags, "--save-raw", "--out", "flagged")
    err = capsys.readouterr().err
    assert "eigen smoothing does not apply to eigencam" in err
    loaded = Explanation.load("flagged/cat.npz")
    (expected,) = Explainer().explain(photo, ["eigencam"], smooth=["aug", "eigen"])
    assert loaded.provenance.smooth == ("aug", "eigen")
    assert_same(loaded.heatmap, expected.heatmap)
    assert_same(loaded.spread, expected.spread, 1e-3)
    expected.save("expected.png", show="spread")
    with Image.open("flagged/cat.png") as one, Image.open("expected.png") as other:
        difference = np.asarray(one).astype(int) - np.asarray(other)
        assert abs(difference).max() <= 2


def test_show_spread_without_views_is_one_line(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("explain", photo, "--show", "spread", code=2)
    out, err = capsys.readouterr()
    assert "--aug-smooth" in err
    assert err.count("\n") == 1
    assert out == ""


def test_compare_takes_the_flags(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("compare", photo, "--aug-smooth", "--show", "spread", "--save-raw", "--quiet")
    assert capsys.readouterr().out == "results/cat-compare.png\n"
    (raw,) = Path("results").glob("*.npz")
    assert Explanation.load(raw).spread is not None
