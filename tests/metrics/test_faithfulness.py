"""Measures of faithfulness against oracles and numbers done on paper, and what must hold of any of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from camlucida.errors import OptionError
from camlucida.metrics import road
from camlucida.metrics.registry import all_metrics, get_metric
from camlucida.metrics.trial import Trial
from oracles import faithfulness as oracles

ORDERED = ["deletion", "insertion", "pixel_flipping", "road_morf", "road_lerf", "road_combined"]
SEEN_THROUGH = ["average_drop", "increase_in_confidence", "average_gain"]
SUMMED = ["sensitivity_n", "infidelity"]
ALL = ORDERED + SEEN_THROUGH + SUMMED
DRAWN = ["pixel_flipping", "road_morf", "road_lerf", "road_combined", *SUMMED]
Toy = Callable[[Tensor], Tensor]


@dataclass
class Ran:
    """A function of pictures run a chunk at a time, as ``Trial.score`` is; keeps what it saw."""

    function: Toy
    chunk: int = 5
    seen: list[Tensor] = field(default_factory=list)

    def __call__(self, make: Callable[[range], Tensor], count: int) -> Tensor:
        results = []
        for start in range(0, count, self.chunk):
            indices = range(start, min(start + self.chunk, count))
            variants = make(indices)
            assert len(variants) == len(indices)
            self.seen += list(variants)
            results.append(self.function(variants))
        return torch.cat(results)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def curved(shape: tuple[int, ...], seed: int = 90) -> Toy:
    """A logit that is neither linear in the picture nor symmetric."""
    first, second = drawn(*shape, seed=seed), drawn(*shape, seed=seed + 1)

    def logit(inputs: Tensor) -> Tensor:
        ahead = (inputs * first.to(inputs.dtype)).flatten(1).sum(dim=1)
        aside = (inputs * second.to(inputs.dtype)).flatten(1).sum(dim=1)
        return 0.2 * ahead + torch.sin(aside) + 0.02 * ahead * aside

    return logit


def trial(logit: Toy | None = None, probability: Toy | None = None, chunk: int = 5, **changes: Any) -> Trial:
    """A trial of a random map and picture; the probability is the logit's sigmoid unless it is given."""
    input = changes.pop("input", drawn(3, 9, 7, seed=1))
    heatmap = changes.pop("heatmap", drawn(*input.shape[1:], seed=2))
    logit = logit or curved(tuple(input.shape))
    probability = probability or (lambda inputs: logit(inputs).sigmoid())

    def unused(*_: object) -> Any:
        raise AssertionError("not of this family")

    plain = Trial(
        heatmap=heatmap,
        raw_heatmap=heatmap,
        input=input,
        probability=float(probability(input[None])),
        logit=float(logit(input[None])),
        score=Ran(probability, chunk),
        logits=Ran(logit, chunk),
        mask=None,
        index=0,
        classes=2,
        explain_inputs=unused,
        explain_class=unused,
        randomised_maps=unused,
    )
    return replace(plain, **changes)


def single(run: Any) -> oracles.Score:
    """The function of a ``Ran`` for one NumPy picture, in float64."""
    return lambda input: float(run.function(torch.from_numpy(input)[None]))


def value(name: str, tried: Trial, **options: Any) -> float:
    return get_metric(name).run(tried, options)


def grid(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# -- oracles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 5])
@pytest.mark.parametrize("baseline", ["zero", "mean", "blur"])
@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_curves_equal_their_oracle(name: str, baseline: str, seed: int) -> None:
    tried = trial(heatmap=drawn(9, 7, seed=seed), input=drawn(3, 9, 7, seed=seed + 1))
    expected = getattr(oracles, name)(
        tried.heatmap.numpy(), tried.input.numpy(), single(tried.score), 11, baseline
    )
    assert value(name, tried, steps=11, baseline=baseline) == pytest.approx(expected, rel=1e-9)


def test_default_baselines_are_the_papers() -> None:
    tried = trial()
    assert value("deletion", tried) == value("deletion", tried, baseline="zero")
    assert value("insertion", tried) == value("insertion", tried, baseline="blur")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SEEN_THROUGH)
def test_seen_through_equals_its_oracle(name: str, seed: int) -> None:
    tried = trial(heatmap=drawn(9, 7, seed=seed), input=drawn(3, 9, 7, seed=seed + 10))
    expected = getattr(oracles, name)(tried.heatmap.numpy(), tried.input.numpy(), single(tried.score))
    assert value(name, tried) == pytest.approx(expected, rel=1e-9)


def test_oracles_of_what_is_seen_through_are_put_to_work() -> None:
    """A drop of nothing and a gain of nothing would prove little."""
    tries = [trial(heatmap=drawn(9, 7, seed=seed), input=drawn(3, 9, 7, seed=seed + 10)) for seed in range(4)]
    for name in SEEN_THROUGH:
        assert {value(name, tried) > 0 for tried in tries} == {True, False}, name


@pytest.mark.parametrize("shape", [(9, 7), (31, 17)])
def test_pixel_flipping_equals_its_oracle(shape: tuple[int, int]) -> None:
    tried = trial(input=drawn(2, *shape, seed=3), seed=4)
    cells = (min(shape[0], 14), min(shape[1], 14))
    value("pixel_flipping", tried, steps=10**6)
    noise = tried.logits.seen[-1].numpy()  # when all regions are replaced nothing else is left
    low, high = tried.input.amin(dim=(1, 2)).numpy(), tried.input.amax(dim=(1, 2)).numpy()
    assert (noise >= low[:, None, None]).all()
    assert (noise <= high[:, None, None]).all()
    assert (noise.max(axis=(1, 2)) - noise.min(axis=(1, 2)) > 0.8 * (high - low)).all()
    heatmap, input = tried.heatmap.numpy(), tried.input.numpy()
    expected = oracles.aopc(heatmap, input, noise, cells, 20, single(tried.logits))
    assert value("pixel_flipping", tried, steps=20) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("raw_heatmap", "cells"), [((3, 4), (3, 4)), ((16, 5), (16, 5)), ((28, 5), (14, 5))])
def test_sensitivity_n_equals_its_oracle(raw_heatmap: tuple[int, int], cells: tuple[int, int]) -> None:
    tried = trial(input=drawn(2, 21, 13, seed=3), raw_heatmap=drawn(*raw_heatmap, seed=6), seed=4)
    found = value("sensitivity_n", tried, samples=12, share=0.3)
    variants = torch.stack(tried.logits.seen).numpy()
    input = tried.input.numpy()
    for variant in variants:
        away = {oracles.cell_of(at, input.shape, cells) for at in oracles.taken_away(input, variant)}
        assert len(away) == round(0.3 * cells[0] * cells[1])
    expected = oracles.sensitivity_n(tried.raw_heatmap.numpy(), cells, input, variants, single(tried.logits))
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("side", [7, 14, 16, 20, 24, 27, 28])
def test_sensitivity_n_of_what_each_position_adds_is_one(side: int) -> None:
    """Whatever the grid: ViT has 14 × 14 positions, or 16 × 16, or 24 × 24."""
    raw_heatmap, scale = drawn(side, side, seed=side), 10
    added = raw_heatmap.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    tried = trial(lambda inputs: (inputs[:, 0] * added).sum(dim=(1, 2)), input=torch.ones(1, *added.shape))
    assert value("sensitivity_n", replace(tried, raw_heatmap=raw_heatmap)) == pytest.approx(1)


def test_infidelity_equals_its_oracle() -> None:
    tried = trial(input=drawn(2, 21, 13, seed=3), seed=4)
    found = value("infidelity", tried, samples=200)
    input, variants = tried.input.numpy(), torch.stack(tried.logits.seen).numpy()
    sides = []
    for variant in variants:
        rows, columns = (sorted(set(axis)) for axis in zip(*oracles.taken_away(input, variant), strict=True))
        assert len(rows) == len(columns) == rows[-1] - rows[0] + 1 == columns[-1] - columns[0] + 1
        sides.append(len(rows))
    assert set(sides) == {1, 2, 3, 4, 5}  # 13 · 1/28 … 13 · 10/28
    expected = oracles.infidelity(tried.heatmap.numpy(), input, variants, single(tried.logits))
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(9, 7), (7, 11)])
def test_road_equals_its_oracle(shape: tuple[int, int]) -> None:
    tried = trial(input=drawn(3, *shape, seed=3), seed=8)
    noise = 0.01 * torch.randn(3, *shape, generator=torch.Generator().manual_seed(8)).double().numpy()
    heatmap, input = tried.heatmap.numpy(), tried.input.numpy()
    hottest, coldest = oracles.road(heatmap, input, noise, [20, 45, 80], single(tried.score))
    settings = {"percentiles": "20, 45,80"}
    assert value("road_morf", tried, **settings) == pytest.approx(hottest, abs=1e-5)
    assert value("road_lerf", tried, **settings) == pytest.approx(coldest, abs=1e-5)
    assert value("road_combined", tried, **settings) == pytest.approx((coldest - hottest) / 2, abs=1e-5)
    assert abs(hottest - coldest) > 0.01


# -- on paper ---------------------------------------------------------------------------------------------

PICTURE = grid([4, 3], [2, 1])[None]
TENTHS: Toy = lambda inputs: inputs.flatten(1).sum(dim=1) / 10  # noqa: E731


def test_deletion_on_paper() -> None:
    tried = trial(TENTHS, TENTHS, input=PICTURE, heatmap=grid([9, 8], [7, 6]))
    # 1, 0.6, 0.3, 0.1, 0 at equal steps
    assert value("deletion", tried, steps=4) == pytest.approx((1 / 2 + 0.6 + 0.3 + 0.1) / 4)
    # one pixel, then one, then two: 1, 0.6, 0.3, 0
    assert value("deletion", tried, steps=3) == pytest.approx(((1 + 0.6) / 2 + (0.6 + 0.3) / 2 + 0.3) / 4)
    assert value("deletion", tried, steps=99) == value("deletion", tried, steps=4)
    upside_down = replace(tried, heatmap=-tried.heatmap)
    assert value("deletion", upside_down, steps=4) == pytest.approx(0.625)
    # the mean is 2.5: 1, 0.85, 0.8, 0.85, 1
    assert value("deletion", tried, steps=4, baseline="mean") == pytest.approx((1 + 0.85 + 0.8 + 0.85) / 4)


def test_insertion_on_paper() -> None:
    tried = trial(TENTHS, TENTHS, input=PICTURE, heatmap=grid([9, 8], [7, 6]))
    # 0, 0.4, 0.7, 0.9, 1
    assert value("insertion", tried, steps=4, baseline="zero") == pytest.approx((0.4 + 0.7 + 0.9 + 0.5) / 4)


def test_blur_on_paper() -> None:
    # on 224 pixels the Gaussian is 5 wide; of a picture that is 1 left of a line, 25 pixels before it are
    # five standard deviations, and the line itself is half way
    input = torch.zeros(1, 224, 224, dtype=torch.float64)
    input[..., :112] = 1
    tried = trial(TENTHS, TENTHS, input=input)
    value("insertion", tried, steps=1)
    row = tried.score.seen[0][0, 50]
    assert row[0] == pytest.approx(1)  # what lies outside darkens nothing
    assert float(row[111] + row[112]) == pytest.approx(1)
    assert row[117] == pytest.approx(0.5 * math.erfc(5.5 / 5 / 2**0.5), abs=1e-3)


def test_equally_hot_pixels_go_in_reading_order() -> None:
    tried = trial(TENTHS, TENTHS, input=PICTURE, heatmap=grid([1, 1], [1, 2]))
    value("deletion", tried, steps=4)
    left = [seen.flatten().tolist() for seen in tried.score.seen]
    assert left == [[4, 3, 2, 0], [0, 3, 2, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    halves = torch.zeros(40, 40)
    halves[:, 20:] = 1
    many = trial(TENTHS, TENTHS, input=torch.ones(1, 40, 40), heatmap=halves)
    value("deletion", many, steps=4)
    assert not many.score.seen[0][0, :20, 20:].any()  # a quarter is gone: the upper half of the hot half
    assert many.score.seen[0].sum() == 1200


def test_average_drop_is_relative() -> None:
    share: Toy = lambda inputs: TENTHS(inputs) * 0.8  # noqa: E731
    tried = trial(share, share, input=PICTURE, heatmap=grid([2, 1], [0, -1]))
    # y = 0.8; the map is 1, ½, 0, 0: o = (4 + 1.5) · 0.08 = 0.44
    assert value("average_drop", tried) == pytest.approx(0.36 / 0.8)
    assert value("increase_in_confidence", tried) == 0
    assert value("average_gain", tried) == 0


def test_average_gain_on_paper() -> None:
    tried = trial(TENTHS, TENTHS, input=grid([4, 3], [-2, 1])[None], heatmap=grid([2, 2], [0, 0]))
    # y = 0.6, o = 0.7
    assert value("average_gain", tried) == pytest.approx(0.1 / 0.4)
    assert value("increase_in_confidence", tried) == 1
    assert value("average_drop", tried) == 0


def test_increase_in_confidence_is_the_share_of_pictures() -> None:
    assert get_metric("increase_in_confidence").compute([1.0, 0.0, math.nan, 1.0, 1.0]) == 0.75


@pytest.mark.parametrize(("name", "certain"), [("average_drop", 0.0), ("average_gain", 1.0)])
def test_there_is_no_share_of_nothing(name: str, certain: float) -> None:
    assert math.isnan(value(name, trial(probability=lambda inputs: torch.full((len(inputs),), certain))))


def test_pixel_flipping_on_paper() -> None:
    same: Toy = lambda inputs: ((inputs == PICTURE) * PICTURE).flatten(1).sum(dim=1)  # noqa: E731
    tried = trial(same, input=PICTURE, heatmap=grid([9, 8], [7, 6]))
    # ten logits, then 6, 3, 1, 0
    assert value("pixel_flipping", tried) == pytest.approx((4 + 7 + 9 + 10) / 5)
    assert value("pixel_flipping", tried, steps=2) == pytest.approx((4 + 7) / 3)
    assert value("pixel_flipping", replace(tried, heatmap=-tried.heatmap)) == pytest.approx(
        (1 + 3 + 6 + 10) / 5
    )


def test_sensitivity_n_on_paper() -> None:
    tried = trial(TENTHS, input=PICTURE, heatmap=grid([1, 0], [0, 0]))
    # single cells lose 0.4, 0.3, 0.2, 0.1: with 1, 0, 0, 0 that is 0.375 / (0.433 · 1.118)
    assert value("sensitivity_n", tried, samples=4000) == pytest.approx(0.7746, abs=0.03)
    assert value("sensitivity_n", replace(tried, raw_heatmap=PICTURE[0])) == pytest.approx(1)
    assert value("sensitivity_n", replace(tried, raw_heatmap=-PICTURE[0])) == pytest.approx(-1)


def test_infidelity_on_paper() -> None:
    total: Toy = lambda inputs: inputs.flatten(1).sum(dim=1)  # noqa: E731
    tried = trial(total, input=PICTURE, heatmap=grid([1, 1], [1, 0]))
    # squares of one pixel lose 4, 3, 2, 1; the best scale is 3: (1² + 0² + 1² + 1²) / 4
    assert value("infidelity", tried, samples=8000) == pytest.approx(0.75, abs=0.03)
    assert value("infidelity", replace(tried, heatmap=7 * PICTURE[0])) == pytest.approx(0, abs=1e-12)


def test_imputation_on_paper() -> None:
    corner = road.impute(np.array([[[7.0, 1], [2, 3]]]), np.array([[True, False], [False, False]]))
    # (1/6 + 2/6 + 3/12) / (1/6 + 1/6 + 1/12)
    np.testing.assert_allclose(corner, [[[1.8, 1], [2, 3]]], rtol=1e-6)
    alone = road.impute(np.array([[[7.0, 7, 6]]]), np.array([[True, True, False]]))
    np.testing.assert_allclose(alone, [[[6, 6, 6]]], rtol=1e-6)
    # from 0 at one end to 9 at the other, straight
    slope = road.impute(np.array([[[0.0], [5], [5], [9]]]), np.array([[False], [True], [True], [False]]))
    np.testing.assert_allclose(slope, [[[0], [3], [6], [9]]], rtol=1e-6)


def test_road_on_paper() -> None:
    first: Toy = lambda inputs: inputs[:, 0, 0, 0]  # noqa: E731
    tried = trial(first, first, input=grid([0.9, 0.1], [0.2, 0.3])[None], heatmap=grid([9, 1], [2, 3]))
    noise = 0.01 * float(torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(0))[0, 0, 0])
    # a quarter of the pixels is one: the hottest becomes 0.18, the coldest does not matter
    assert value("road_morf", tried, percentiles="25") == pytest.approx(0.18 + noise - 0.9, abs=1e-6)
    assert value("road_lerf", tried, percentiles="25") == pytest.approx(0, abs=1e-12)
    assert value("road_combined", tried, percentiles="25") == pytest.approx((0.9 - 0.18 - noise) / 2, abs=1e-6)
    # a list does as well
    assert value("road_lerf", tried, percentiles=[25]) == pytest.approx(0, abs=1e-12)


# -- the peer ---------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # the peer's
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(20, 23), (23, 20), (1, 30)])
def test_imputation_is_grad_cams(shape: tuple[int, int], share: float) -> None:
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    input = drawn(3, *shape, seed=5).float()
    gone = drawn(*shape, seed=6).argsort(dim=1).double() < share * shape[1]
    expected = NoisyLinearImputer(noise=0)(input, (~gone).float())
    found = road.impute(input.numpy(), gone.numpy())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert np.abs(found - input.numpy()).max() > 0.5


def test_imputation_of_a_large_picture_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    input, gone = drawn(3, 20, 23, seed=5).numpy(), (drawn(20, 23, seed=6) > -0.5).numpy()
    band = road.impute(input, gone)
    monkeypatch.setattr(road, "_LARGEST_BAND", 0)
    monkeypatch.setattr("scipy.linalg.solveh_banded", None)
    np.testing.assert_allclose(road.impute(input, gone), band, atol=1e-5)


# -- what must hold ---------------------------------------------------------------------------------------


def test_all_are_registered_with_their_direction() -> None:
    lower = {"deletion", "average_drop", "road_morf", "infidelity"}
    found = {name: known.better for name, known in all_metrics().items() if known.family == "faithfulness"}
    assert found == {name: "lower" if name in lower else "higher" for name in ALL}


@pytest.mark.parametrize("name", [*ORDERED, *SUMMED])
def test_the_right_map_is_better_than_any_other(name: str) -> None:
    """The evidence of a linear model is its weight times the picture, known for each position."""
    weights, input = drawn(3, 9, 7, seed=30).abs() / 10, drawn(3, 9, 7, seed=31).abs()
    linear: Toy = lambda inputs: (inputs * weights).flatten(1).sum(dim=1)  # noqa: E731
    evidence = (weights * input).sum(dim=0)
    known = get_metric(name)
    sign = 1 if known.better == "higher" else -1
    settings = {"baseline": "zero"} if name == "insertion" else {}

    def worth(heatmap: Tensor) -> float:
        tried = trial(linear, lambda some: (linear(some) - 2).sigmoid(), input=input, heatmap=heatmap)
        return sign * value(name, tried, **settings)

    others = [drawn(9, 7, seed=seed) for seed in range(3)]
    if name != "infidelity":  # whose scale may turn a map over
        others.append(-evidence)
    assert all(worth(evidence) > worth(other) for other in others)


@pytest.mark.parametrize("name", SEEN_THROUGH)
def test_a_map_of_the_evidence_alone_is_best_seen_through(name: str) -> None:
    input = drawn(1, 9, 7, seed=31).abs()
    marks = drawn(9, 7, seed=32).sign()  # what speaks for the class and what against it
    summed: Toy = lambda inputs: (inputs * marks).flatten(1).sum(dim=1) / 10  # noqa: E731
    right, wrong = (value(name, trial(summed, input=input, heatmap=heatmap)) for heatmap in (marks, -marks))
    assert right != wrong
    assert (right > wrong) == (get_metric(name).better == "higher")


def test_deletion_of_a_single_pixel_of_evidence() -> None:
    """The probability is 1 while the pixel is there, and gone is all but half of the first step's area."""
    heatmap = torch.zeros(8, 8)
    heatmap[3, 4] = 1
    there: Toy = lambda inputs: (inputs[:, 0, 3, 4] == 1).double()  # noqa: E731
    tried = trial(there, there, input=torch.ones(1, 8, 8), heatmap=heatmap)
    assert value("deletion", tried, steps=64) == pytest.approx(1 / 128)
    assert value("insertion", tried, steps=64, baseline="zero") == pytest.approx(127 / 128)
    assert value("deletion", replace(tried, heatmap=-heatmap), steps=64) == pytest.approx(127 / 128)


@pytest.mark.parametrize("name", ALL)
def test_a_maps_scale_does_not_matter(name: str) -> None:
    tried = trial()
    scaled = replace(tried, heatmap=1000 * tried.heatmap, raw_heatmap=1000 * tried.raw_heatmap)
    assert value(name, scaled) == pytest.approx(value(name, tried), rel=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_seeds_and_chunks(name: str) -> None:
    """The seed alone decides what is drawn, not how many variants are run at once."""
    first = value(name, trial(seed=1))
    assert math.isfinite(first)
    for chunk in (1, 3, 100):
        assert value(name, trial(seed=1, chunk=chunk)) == pytest.approx(first, rel=1e-12)
    assert (value(name, trial(seed=2)) != first) == (name in DRAWN)


@pytest.mark.parametrize("name", ALL)
def test_variants_can_be_made_again(name: str) -> None:
    """A chunk that did not fit into memory is asked for anew, in parts."""
    tried = trial()
    made: list[Tensor] = []

    def run(make: Callable[[range], Tensor], count: int) -> Tensor:
        made.extend([make(range(count)), torch.cat([make(range(at, at + 1)) for at in reversed(range(count))])])
        return torch.zeros(count)

    value(name, replace(tried, score=run, logits=run))
    torch.testing.assert_close(made[0], made[1].flip(0), rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_run_in_vain(name: str) -> None:
    """The plain picture's score is known; the picture and the map stay as they are."""
    tried = trial()
    before = tried.input.clone(), tried.heatmap.clone()
    value(name, tried)
    seen = [*tried.score.seen, *tried.logits.seen]
    assert seen
    assert not any(torch.equal(variant, tried.input) for variant in seen)
    assert torch.equal(tried.input, before[0])
    assert torch.equal(tried.heatmap, before[1])


@pytest.mark.parametrize("name", ALL)
def test_values_lie_within_the_bounds(name: str) -> None:
    low, high = get_metric(name).bounds
    inputs = [drawn(3, 9, 7, seed=seed) for seed in range(8)]
    found = [
        value(name, trial(heatmap=drawn(9, 7, seed=90 + seed), input=input))
        for seed, input in enumerate(inputs)
    ]
    assert all(low <= one <= high for one in found)
    assert len(set(found)) > 1


@pytest.mark.parametrize("name", ALL)
def test_single_precision_is_kept(name: str) -> None:
    double = trial()
    single_precision = trial(input=double.input.float(), heatmap=double.heatmap.float())
    found = value(name, single_precision)
    seen = [*single_precision.score.seen, *single_precision.logits.seen]
    assert {variant.dtype for variant in seen} == {torch.float32}
    assert found == pytest.approx(value(name, double), rel=1e-3, abs=1e-4)


def broken(kind: str) -> Tensor:
    heatmap = drawn(9, 7)
    if kind == "zero":
        heatmap[:] = 0
    elif kind == "constant":
        heatmap[:] = 3
    else:
        heatmap[4, 4] = float(kind)
    return heatmap


@pytest.mark.parametrize("kind", ["zero", "constant", "nan", "inf"])
@pytest.mark.parametrize("name", ALL)
def test_a_map_that_ranks_nothing_has_no_value(name: str, kind: str) -> None:
    tried = trial(heatmap=broken(kind))
    assert math.isnan(value(name, tried))
    assert not tried.score.seen
    assert not tried.logits.seen


@pytest.mark.parametrize("name", SEEN_THROUGH)
def test_a_map_without_evidence_shows_nothing(name: str) -> None:
    assert math.isnan(value(name, trial(heatmap=-drawn(9, 7).abs())))


def test_sensitivity_n_of_a_model_that_sees_nothing() -> None:
    assert math.isnan(value("sensitivity_n", trial(lambda inputs: torch.ones(len(inputs)))))


WRONG = [
    ("deletion", {"steps": 0}, "steps is at least 1, got 0"),
    ("insertion", {"baseline": "blurr"}, "did you mean 'blur'"),
    ("deletion", {"baseline": "noise"}, "zero, mean, blur"),
    ("pixel_flipping", {"steps": -1}, "steps is at least 1"),
    ("road_morf", {"percentiles": "20,100"}, "between 0 and 100, like 20,40,60,80, got '20,100'"),
    ("road_lerf", {"percentiles": "0"}, "between 0 and 100"),
    ("road_combined", {"percentiles": "a few"}, "between 0 and 100"),
    ("road_combined", {"percentiles": ()}, "between 0 and 100"),
    ("road_combined", {"percentiles": 20}, "between 0 and 100"),
    ("road_morf", {"percentiles": "nan"}, "between 0 and 100"),
    ("sensitivity_n", {"share": 1.0}, "share is a share between 0 and 1"),
    ("sensitivity_n", {"samples": 2}, "samples is at least 3"),
    ("infidelity", {"samples": 0}, "samples is at least 1"),
    ("infidelity", {"steps": 3}, "has no option 'steps'"),
]


@pytest.mark.parametrize(("name", "options", "said"), WRONG)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        value(name, trial(), **options)


def test_road_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(road, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"camlucida\[metrics\]"):
        value("road_morf", trial())
