"""Measures of localisation, complexity and sanity, the floors and the mosaics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from math import isnan
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import skimage.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camlucida.errors import OptionError
from camlucida.metrics import controls, similarity
from camlucida.metrics.mosaic import mosaics
from camlucida.metrics.registry import get_metric
from camlucida.metrics.trial import Trial
from oracles import quality as oracles

LOCALISATION = ["pointing_game", "energy_inside", "best_iou", "relevance_rank", "top_k_intersection"]
SANITY = ["randomisation", "random_logit", "class_sensitivity"]
NAMES = [*LOCALISATION, "entropy", "sparseness", "coherency", "adcc", "max_sensitivity", *SANITY]
SIZE = (12, 14)  # more than SSIM's window
NAN = float("nan")
quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**31 - 1)


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def blob(seed: int = 0, size: tuple[int, int] = SIZE) -> Tensor:
    """A mask: a rectangle and some positions beside it."""
    mask = torch.rand(size, generator=torch.Generator().manual_seed(seed)) > 0.95
    mask[2:5, 3:8] = True
    return mask


def tied(seed: int) -> Tensor:
    """Few values, many times each."""
    return (2 * drawn(SIZE, seed)).round() / 2


def one_spot(seed: int) -> Tensor:
    heatmap = torch.zeros(SIZE)
    heatmap[seed % 12, seed % 14] = 2.5
    return heatmap


# As methods give them: of both signs, cut off at zero, hardly anything above zero.
MAPS: dict[str, Callable[[int], Tensor]] = {
    "signed": lambda seed: drawn(SIZE, seed),
    "positive": lambda seed: drawn(SIZE, seed).clamp(min=0),
    "no zero": lambda seed: drawn(SIZE, seed).abs() + 1,
    "mostly negative": lambda seed: drawn(SIZE, seed) - 1.5,
}


def some_map(inputs: Tensor) -> Tensor:
    """A method of explaining that depends on the picture, smoothly: (n, channels, …) to (n, …)."""
    return inputs[:, 0] * inputs[:, 1] + 0.5 * inputs[:, 2]


def some_score(inputs: Tensor) -> Tensor:
    """A network's probability (n,)."""
    return torch.sigmoid(inputs.double().mean(dim=(1, 2, 3)) * 3)


def trial(**changes: Any) -> Trial:
    """A trial whose parts are random numbers, small and cheap."""
    input = changes.get("input", drawn((3, *SIZE), 1))
    standard: dict[str, Any] = {
        "heatmap": drawn(SIZE, 0),
        "raw_heatmap": drawn((3, 3), 0),
        "input": input,
        "probability": float(some_score(input[None])[0]),
        "logit": 1.0,
        "score": lambda make, count: some_score(make(range(count))),
        "logits": lambda make, count: some_score(make(range(count))),
        "mask": blob(),
        "index": 1,
        "classes": 5,
        "explain_inputs": some_map,
        "explain_class": lambda index: drawn(SIZE, 100 + index),
        "randomised_maps": lambda: [drawn(SIZE, 200 + stage) for stage in range(4)],
        "ranking": [1, 3, 0, 4, 2],
    }
    return Trial(**(standard | changes))


def value(name: str, options: dict[str, Any] | None = None, **changes: Any) -> float:
    return get_metric(name).run(trial(**changes), options)


def row(*values: float) -> Tensor:
    """A map of one row."""
    return torch.tensor([values])


def on(*columns: int, width: int) -> Tensor:
    """A mask of one row."""
    mask = torch.zeros(1, width, dtype=torch.bool)
    mask[0, list(columns)] = True
    return mask


def wide(one: Tensor) -> np.ndarray:
    return one.double().numpy() if one.is_floating_point() else one.numpy()


# -- oracles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("name", [*LOCALISATION, "entropy", "sparseness"])
def test_value_equals_its_oracle(name: str, kind: str) -> None:
    values = []
    for seed in range(5):
        heatmap, mask = MAPS[kind](seed), blob(seed)
        arguments = [wide(heatmap), wide(mask)][: len(get_metric(name).needs)]
        if name == "relevance_rank" and kind == "positive":
            mask = mask & (heatmap > 0)  # there are too many ways to choose among so many zeros
            arguments[1] = wide(mask)
        values.append(value(name, heatmap=heatmap, mask=mask))
        assert values[-1] == pytest.approx(getattr(oracles, name)(*arguments), abs=1e-12)
    assert len(set(values)) > 1


@quick
@given(seed=seeds, count=st.integers(1, 8), width=st.integers(1, 6))
def test_equally_hot_positions_count_alike(seed: int, count: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    heatmap = torch.randint(-1, 3, (2, width), generator=generator).float()
    mask = torch.rand((2, width), generator=generator) > 0.5
    mask[0, 0] = True
    found = {"heatmap": heatmap, "mask": mask}
    arguments = wide(heatmap), wide(mask)
    k = min(count, 2 * width) / (2 * width)
    assert value("top_k_intersection", {"k": k}, **found) == pytest.approx(
        oracles.top_k_intersection(*arguments, k), abs=1e-12
    )
    for name in ("relevance_rank", "pointing_game", "best_iou", "energy_inside"):
        assert value(name, **found) == pytest.approx(getattr(oracles, name)(*arguments), abs=1e-12)


@pytest.mark.parametrize("tolerance", [0, 1, 2, 3, 5, 40])
def test_pointing_game_with_tolerance_equals_its_oracle(tolerance: int) -> None:
    values = set()
    for seed in range(20):
        heatmap, mask = one_spot(7 * seed), torch.zeros(SIZE, dtype=torch.bool)
        mask[3:5, 6:9] = True
        values.add(value("pointing_game", {"tolerance": tolerance}, heatmap=heatmap, mask=mask))
        expected = oracles.pointing_game(wide(heatmap), wide(mask), tolerance)
        assert value("pointing_game", {"tolerance": tolerance}, heatmap=heatmap, mask=mask) == expected
    assert values == ({0.0, 1.0} if tolerance < 40 else {1.0})


@pytest.mark.parametrize("kind", MAPS)
def test_coherency_and_adcc_equal_their_oracles(kind: str) -> None:
    def explain_inputs(input: np.ndarray) -> np.ndarray:
        return some_map(torch.from_numpy(input)[None])[0].numpy()

    def score(input: np.ndarray) -> float:
        return float(some_score(torch.from_numpy(input)[None])[0])

    for seed in range(4):
        heatmap, input = MAPS[kind](seed).double(), drawn((3, *SIZE), seed + 50).double() + 0.3
        found = {"heatmap": heatmap, "input": input}
        expected = oracles.coherency(heatmap.numpy(), input.numpy(), explain_inputs)
        assert value("coherency", **found) == pytest.approx(expected, abs=1e-10)
        expected = oracles.adcc(heatmap.numpy(), input.numpy(), explain_inputs, score)
        assert value("adcc", **found) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", oracles.SIMILARITIES)
def test_similarity_equals_its_oracle(name: str) -> None:
    function = similarity.get_similarity(name)
    for seed in range(3):
        for one, other in ((drawn(SIZE, seed), drawn(SIZE, seed + 9)), (tied(seed), drawn(SIZE, seed).abs())):
            expected = oracles.SIMILARITIES[name](wide(one), wide(other))
            assert function(one, other) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", oracles.SIMILARITIES)
def test_sanity_measures_equal_their_oracles(name: str) -> None:
    options, one = {"similarity": name}, wide(drawn(SIZE, 0))
    stages = [100 * drawn(SIZE, 5), drawn(SIZE, 0) - 2 * drawn(SIZE, 6), -drawn(SIZE, 0)]
    expected = oracles.randomisation(one, [wide(stage) for stage in stages], name)
    assert value("randomisation", options, randomised_maps=lambda: stages) == pytest.approx(expected, abs=1e-12)
    for metric in ("random_logit", "class_sensitivity"):
        asked: list[int] = []

        def explain_class(index: int, asked: list[int] = asked) -> Tensor:
            asked.append(index)
            return drawn(SIZE, 0) + 3 * drawn(SIZE, index)

        found = value(metric, options, explain_class=explain_class)
        other = wide(drawn(SIZE, 0) + 3 * drawn(SIZE, asked[0]))
        assert found == pytest.approx(oracles.of_another_class(one, other, name), abs=1e-6)
        assert len(asked) == 1


def test_max_sensitivity_equals_its_oracle_on_the_pictures_it_asked_for() -> None:
    asked: list[Tensor] = []

    def explain_inputs(inputs: Tensor) -> Tensor:
        asked.extend(inputs)
        return some_map(inputs)

    input = drawn((3, *SIZE), 1)
    heatmap = some_map(input[None])[0]
    found = value(
        "max_sensitivity",
        {"samples": 19, "radius": 0.1},
        heatmap=heatmap,
        input=input,
        explain_inputs=explain_inputs,
    )
    assert len(asked) == 19
    expected = oracles.max_sensitivity(wide(heatmap), [wide(some_map(one[None])[0]) for one in asked])
    assert found == pytest.approx(expected, rel=1e-6)
    reach = 0.1 * float(input.max() - input.min())
    noise = torch.stack(asked) - input
    assert reach * 0.99 < float(noise.max()) <= reach * 1.00001
    assert -reach * 1.00001 <= float(noise.min()) < -reach * 0.99
    assert abs(float(noise.mean())) < 0.05 * reach
    assert float(noise.std()) == pytest.approx(reach / 3**0.5, rel=0.05)
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[8])  # of the next chunk


# -- by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "heatmap", "mask", "expected"),
    [
        ("pointing_game", {}, row(0, 1, 2, 2), on(2, width=4), 1 / 2),
        ("pointing_game", {}, row(0, 1, 3, 2), on(2, width=4), 1),
        ("pointing_game", {}, row(0, 1, 3, 2), on(1, 3, width=4), 0),
        ("pointing_game", {"tolerance": 2}, row(1, 0, 0, 0), on(3, width=4), 0),
        ("pointing_game", {"tolerance": 3}, row(1, 0, 0, 0), on(3, width=4), 1),
        ("pointing_game", {"tolerance": 1}, torch.tensor([[1.0, 0], [0, 0]]), torch.eye(2).flip(0) > 1, NAN),
        ("energy_inside", {}, row(1, -5, 2, 1), on(1, 2, 3, width=4), 3 / 4),
        ("best_iou", {}, row(3, 2, 1, -1), on(0, 2, width=4), 2 / 3),
        ("best_iou", {}, row(1, -1), on(0, 1, width=2), 1 / 2),  # at -1 it would be 1
        ("best_iou", {}, row(2, 2, 1), on(0, width=3), 1 / 2),  # equals are taken together
        ("relevance_rank", {}, row(4, 3, 2, 1), on(0, 2, width=4), 1 / 2),
        ("relevance_rank", {}, row(4, 1, 1, 1), on(0, 2, width=4), (1 + 1 / 3) / 2),
        ("top_k_intersection", {"k": 0.3}, row(*range(10, 0, -1)), on(0, 1, 5, width=10), 2 / 3),
        ("top_k_intersection", {"k": 0.19}, row(*range(10, 0, -1)), on(0, width=10), 1 / 2),
        ("top_k_intersection", {"k": 0.01}, row(1, 2, 3), on(2, width=3), 1),
        ("top_k_intersection", {"k": 1.0}, row(1, 2, 3, 4), on(2, width=4), 1 / 4),
        ("entropy", {}, row(1, 1, 0, -3), on(0, width=4), 1 / 2),
        ("entropy", {}, row(0, 7, 0, 0), on(0, width=4), 0),
        ("entropy", {}, row(2, 2, 2), on(0, width=3), 1),
        ("sparseness", {}, row(0, 0, 5, 0), on(0, width=4), 3 / 4),
        ("sparseness", {}, row(1, 3), on(0, width=2), 1 / 4),
        ("sparseness", {}, row(2, 2, 2), on(0, width=3), 0),
    ],
)
def test_value_by_hand(
    name: str, options: dict[str, Any], heatmap: Tensor, mask: Tensor, expected: float
) -> None:
    found = value(name, options, heatmap=heatmap, mask=mask)
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(("tolerance", "hit"), [(0, 0), (1, 0), (2, 1)])
def test_tolerance_is_a_distance_and_not_a_square(tolerance: int, hit: float) -> None:
    heatmap, mask = torch.tensor([[1.0, 0], [0, 0]]), torch.tensor([[False, False], [False, True]])
    assert value("pointing_game", {"tolerance": tolerance}, heatmap=heatmap, mask=mask) == hit


@pytest.mark.parametrize(
    ("explain_inputs", "expected"),
    [(row(0, 5, 10), 1), (row(2, 1, 0), 0), (row(0, 1, 0), 1 / 2), (row(-9, 1, 2), 1)],
)
def test_coherency_by_hand(explain_inputs: Tensor, expected: float) -> None:
    shown: list[Tensor] = []

    def method(inputs: Tensor) -> Tensor:
        shown.append(inputs)
        return explain_inputs[None]

    found = value("coherency", heatmap=row(-7, 1, 2), input=torch.full((2, 1, 3), 6.0), explain_inputs=method)
    assert found == pytest.approx(expected)
    assert torch.equal(shown[0], torch.tensor([0.0, 3, 6]).expand(1, 2, 1, 3))


@pytest.mark.parametrize(
    ("probability", "left", "expected"),
    [
        (0.8, 0.4, 3 / (1 + 2 + 2)),
        (0.8, 0.9, 3 / (1 + 2 + 1)),
        (0.8, 0.0, 0),
        (0.5, 0.375, 3 / (1 + 2 + 4 / 3)),
    ],
)
def test_adcc_by_hand(probability: float, left: float, expected: float) -> None:
    """Coherency 1, complexity one half."""
    heatmap = row(4, 2, 0, 2)
    found = value(
        "adcc",
        heatmap=heatmap,
        input=torch.ones(1, 1, 4),
        probability=probability,
        score=lambda make, count: left + 0 * make(range(count))[:, 0, 0, 0],
        explain_inputs=lambda inputs: 9 * inputs[:, 0],
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_max_sensitivity_by_hand() -> None:
    """The norm of the map is 5, the largest change 2."""
    heatmap = row(3, 4)

    def explain_inputs(inputs: Tensor) -> Tensor:
        change = torch.tensor([0.0, 1, -2, 1]).view(4, 1, 1) * torch.tensor([0.6, 0.8])
        return heatmap + change

    found = value(
        "max_sensitivity",
        {"samples": 4},
        heatmap=heatmap,
        input=drawn((3, 1, 2), 0),
        explain_inputs=explain_inputs,
    )
    assert found == pytest.approx(2 / 5)


def test_randomisation_by_hand() -> None:
    """Once the same, once turned over, once blank, once 1/2; what is not finite is left out."""
    stages = [row(10, 20, 30), row(3, 2, 1), row(0, 0, 0), row(2, 1, 3), row(NAN, 1, 2)]
    assert value("randomisation", heatmap=row(1, 2, 3), randomised_maps=lambda: stages) == pytest.approx(
        2.5 / 4
    )


def test_random_logit_by_hand() -> None:
    other = {0: row(3, 2, 1)}
    found = value("random_logit", heatmap=row(1, 2, 3), index=1, classes=2, explain_class=other.get)
    assert found == pytest.approx(-1)


@pytest.mark.parametrize(("index", "other"), [(0, 1), (1, 0), (2, 1)])
def test_class_sensitivity_asks_for_the_least_likely_of_the_others(index: int, other: int) -> None:
    maps = {other: row(2, 1, 3)}
    found = value(
        "class_sensitivity",
        heatmap=row(1, 2, 3),
        index=index,
        ranking=[2, 0, 1],
        explain_class=lambda i: maps[i],
    )
    assert found == pytest.approx(0.5)


def test_random_logit_draws_every_other_class_and_never_its_own() -> None:
    asked: list[int] = []

    def explain_class(index: int) -> Tensor:
        asked.append(index)
        return drawn(SIZE, index)

    for seed in range(60):
        value("random_logit", index=2, classes=4, explain_class=explain_class, seed=seed)
    assert set(asked) == {0, 1, 3}
    value("random_logit", index=2, classes=4, explain_class=explain_class, seed=7)
    assert asked[-1] == asked[7]


# -- parity -------------------------------------------------------------------------------------------------


def test_spearman_is_scipys() -> None:
    for seed in range(5):
        for one, other in ((drawn(SIZE, seed), drawn(SIZE, seed + 1)), (tied(seed), tied(seed + 1))):
            expected = scipy.stats.spearmanr(wide(one).ravel(), wide(other).ravel()).statistic
            assert similarity.spearman(one, other) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [(11, 11), (24, 31), (64, 40)])
def test_ssim_is_scikit_images(size: tuple[int, int]) -> None:
    for seed in range(3):
        one = wide(drawn(size, seed))
        other = one + wide(drawn(size, seed + 1)) + 0.2
        span = max(one.max(), other.max()) - min(one.min(), other.min())
        expected = skimage.metrics.structural_similarity(
            one, other, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=span
        )
        found = similarity.ssim(torch.from_numpy(one), torch.from_numpy(other))
        assert found == pytest.approx(expected, abs=1e-10)


# -- properties ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pointing_game", "energy_inside", "best_iou", "relevance_rank"])
def test_a_perfect_map_is_best_and_its_reverse_worst(name: str) -> None:
    mask = blob()
    assert value(name, heatmap=mask.float(), mask=mask) == 1
    worst = value(name, heatmap=1 - mask.float(), mask=mask)
    assert worst == 0
    assert 0 < value(name, heatmap=torch.ones(SIZE), mask=mask) < 1


def test_top_k_reaches_1_where_the_object_is_as_large() -> None:
    mask = blob()
    k = float(mask.float().mean())
    assert value("top_k_intersection", {"k": k}, heatmap=mask.float(), mask=mask) == 1
    assert value("top_k_intersection", {"k": k}, heatmap=1 - mask.float(), mask=mask) == 0
    assert value("top_k_intersection", {"k": 2 * k}, heatmap=mask + drawn(SIZE, 0).abs() / 10, mask=mask) == 0.5


@pytest.mark.parametrize("name", LOCALISATION)
def test_an_even_map_finds_the_object_by_chance(name: str) -> None:
    mask = blob()
    found = value(name, heatmap=torch.full(SIZE, 0.3), mask=mask)
    assert found == pytest.approx(float(mask.double().mean()), abs=1e-12)


def scaled_trial(factor: float) -> dict[str, Any]:
    """All maps multiplied."""
    return {
        "heatmap": factor * drawn(SIZE, 0),
        "explain_inputs": lambda inputs: factor * some_map(inputs),
        "explain_class": lambda index: factor * drawn(SIZE, 100 + index),
        "randomised_maps": lambda: [factor * (stage + 1) * drawn(SIZE, 200 + stage) for stage in range(4)],
    }


@pytest.mark.parametrize("factor", [2.0**-30, 3.0, 1e12])
@pytest.mark.parametrize("name", NAMES)
def test_the_scale_of_maps_does_not_matter(name: str, factor: float) -> None:
    plain, scaled = (value(name, **scaled_trial(one)) for one in (1.0, factor))
    assert scaled == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("name", SANITY)
def test_ssim_does_not_depend_on_how_large_the_other_map_is(name: str) -> None:
    def found(factor: float) -> float:
        changes = {
            "randomised_maps": lambda: [factor * drawn(SIZE, 3)],
            "explain_class": lambda index: factor * drawn(SIZE, index),
        }
        return value(name, {"similarity": "ssim"}, **changes)

    assert found(1000.0) == pytest.approx(found(1.0), rel=1e-5)


@quick
@given(seed=seeds, level=st.sampled_from([-2.0, 0.0, 2.0]))
def test_values_lie_within_their_bounds(seed: int, level: float) -> None:
    heatmap = drawn(SIZE, seed) + level
    for name in NAMES:
        low, high = get_metric(name).bounds
        assert low <= value(name, heatmap=heatmap, mask=blob(seed), seed=seed) <= high


@pytest.mark.parametrize("name", [*LOCALISATION, "entropy", "sparseness"])
def test_the_order_of_positions_does_not_matter(name: str) -> None:
    order = torch.randperm(SIZE[0] * SIZE[1], generator=torch.Generator().manual_seed(0))
    heatmap, mask = tied(0), blob()
    moved = [one.flatten()[order].reshape(SIZE) for one in (heatmap, mask)]
    expected = value(name, heatmap=heatmap, mask=mask)
    assert value(name, heatmap=moved[0], mask=moved[1]) == pytest.approx(expected, abs=1e-12)


def test_what_speaks_against_the_class_does_not_change_the_shape_of_a_map() -> None:
    heatmap = drawn(SIZE, 0)
    for name in ("entropy", "sparseness", "coherency", "adcc", "energy_inside", "best_iou"):
        assert value(name, heatmap=heatmap.clamp(min=0)) == pytest.approx(
            value(name, heatmap=heatmap), abs=1e-9
        )


def test_a_narrower_map_is_simpler() -> None:
    at = torch.arange(20) - 9.5
    distance = at[:, None] ** 2 + at**2
    widths = [(-distance / (2 * sigma**2)).exp() for sigma in (1, 2, 4, 8)]
    spread = [value("entropy", heatmap=heatmap) for heatmap in widths]
    gini = [value("sparseness", heatmap=heatmap) for heatmap in widths]
    assert spread == sorted(spread)
    assert gini == sorted(gini, reverse=True)
    assert len(set(spread) | set(gini)) == 8


@pytest.mark.parametrize("name", [*SANITY])
def test_a_method_that_ignores_model_and_class_is_worst(name: str) -> None:
    own = drawn(SIZE, 0)
    assert value(name, randomised_maps=lambda: [own] * 3, explain_class=lambda _: own) == pytest.approx(1)
    assert abs(value(name)) < 0.3


def test_a_map_that_does_not_change_has_no_sensitivity_and_more_noise_changes_more() -> None:
    own = drawn(SIZE, 0)
    assert value("max_sensitivity", explain_inputs=lambda inputs: own.expand(len(inputs), *SIZE)) == 0
    input = drawn((3, *SIZE), 1)
    own = {"input": input, "heatmap": some_map(input[None])[0]}
    little, much = (value("max_sensitivity", {"radius": radius}, **own) for radius in (0.01, 0.1))
    assert 0 < little < much / 5
    assert value("max_sensitivity", {"samples": 8}, **own) <= value("max_sensitivity", {"samples": 24}, **own)
    assert value("max_sensitivity", **own) == value("max_sensitivity", **own)
    assert value("max_sensitivity", **own) != value("max_sensitivity", **own, seed=1)


# -- where there is nothing to measure ----------------------------------------------------------------------

ZERO_WHEN_BLANK = {*LOCALISATION, "coherency", "adcc"}


def poisoned(bad: float) -> Tensor:
    heatmap = drawn(SIZE, 0)
    heatmap[0, 0] = bad
    return heatmap


@pytest.mark.parametrize(
    "heatmap", [torch.zeros(SIZE), torch.full(SIZE, -1.0), poisoned(NAN), poisoned(float("inf"))]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_blank_or_broken_map_is_worst_or_has_no_value(name: str, heatmap: Tensor) -> None:
    found = value(name, heatmap=heatmap)
    if name in ZERO_WHEN_BLANK:
        assert found == 0
    elif name == "max_sensitivity" and bool((heatmap == -1).all()):
        assert found > 0  # it has a size
    else:
        assert isnan(found)


@pytest.mark.parametrize("name", [*LOCALISATION, "coherency", "adcc", "entropy", "sparseness"])
def test_a_map_without_evidence_for_the_class_is_blank(name: str) -> None:
    found = value(name, heatmap=-drawn(SIZE, 0).abs())
    assert found == 0 if name in ZERO_WHEN_BLANK else isnan(found)


@pytest.mark.parametrize(
    "explain_inputs", [torch.zeros(SIZE), torch.ones(SIZE), torch.full(SIZE, NAN), -torch.ones(SIZE)]
)
def test_what_is_not_found_again_is_not_coherent(explain_inputs: Tensor) -> None:
    assert value("coherency", explain_inputs=lambda _: explain_inputs[None]) == 0
    assert value("adcc", explain_inputs=lambda _: explain_inputs[None]) == 0


def test_adcc_of_an_even_map_is_0_and_without_probability_nothing_drops() -> None:
    assert value("adcc", heatmap=torch.ones(SIZE)) == 0
    heatmap = row(4, 2, 0, 2)
    found = value(
        "adcc",
        heatmap=heatmap,
        input=torch.ones(1, 1, 4),
        probability=0.0,
        explain_inputs=lambda inputs: inputs[:, 0],
    )
    assert found == pytest.approx(3 / (1 + 2 + 1))


@pytest.mark.parametrize("other", [torch.zeros(SIZE), torch.ones(SIZE)])
@pytest.mark.parametrize("name", SANITY)
def test_a_blank_map_has_nothing_in_common_with_the_first(name: str, other: Tensor) -> None:
    assert value(name, randomised_maps=lambda: [other], explain_class=lambda _: other) == 0


@pytest.mark.parametrize("name", SANITY)
def test_a_map_that_is_not_finite_cannot_be_compared(name: str) -> None:
    assert isnan(value(name, randomised_maps=lambda: [poisoned(NAN)], explain_class=lambda _: poisoned(NAN)))


@pytest.mark.parametrize("name", oracles.SIMILARITIES)
@pytest.mark.parametrize("flat", [torch.full(SIZE, 0.1), torch.zeros(SIZE), poisoned(NAN)])
def test_maps_without_structure_have_no_similarity(name: str, flat: Tensor) -> None:
    function = similarity.get_similarity(name)
    assert isnan(function(flat, drawn(SIZE, 0)))
    assert isnan(function(drawn(SIZE, 0), flat))
    assert function(drawn(SIZE, 0), drawn(SIZE, 0)) == pytest.approx(1)
    if name != "ssim":
        assert function(drawn(SIZE, 0), -drawn(SIZE, 0)) == pytest.approx(-1)


def test_without_another_class_or_stage_there_is_no_value() -> None:
    assert isnan(value("random_logit", index=0, classes=1))
    assert isnan(value("class_sensitivity", ranking=()))
    assert isnan(value("class_sensitivity", index=3, ranking=[3]))
    assert isnan(value("randomisation", randomised_maps=list))
    assert Trial.__dataclass_fields__["ranking"].default == ()


@pytest.mark.parametrize("name", LOCALISATION)
def test_masks_are_needed_and_may_be_empty(name: str) -> None:
    with pytest.raises(OptionError, match=rf"metric {name} needs masks .*: give"):
        value(name, mask=None)
    with pytest.raises(OptionError, match=r"size 12 × 14, got 12 × 13: give"):
        value(name, mask=blob()[:, 1:])
    assert isnan(value(name, mask=torch.zeros(SIZE, dtype=torch.bool)))
    assert isnan(value(name, mask=torch.zeros(SIZE, dtype=torch.bool), heatmap=torch.zeros(SIZE)))
    assert value(name, mask=blob().to(torch.uint8)) == value(name, mask=blob())
    assert value(name, mask=torch.ones(SIZE, dtype=torch.bool), heatmap=torch.rand(SIZE) + 1) == 1


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("pointing_game", {"tolerance": -1}, "give 0 or more"),
        ("top_k_intersection", {"k": 0.0}, "above 0 and at most 1"),
        ("top_k_intersection", {"k": 1.5}, "above 0 and at most 1"),
        ("max_sensitivity", {"samples": 0}, "1 sample or more"),
        ("max_sensitivity", {"radius": 0.0}, "radius above 0"),
        ("randomisation", {"similarity": "spearmen"}, "did you mean 'spearman'"),
        ("random_logit", {"similarity": "cosine"}, "it is one of spearman, pearson, ssim"),
    ],
)
def test_options_are_checked(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        value(name, options)


def test_ssim_refuses_maps_smaller_than_its_window() -> None:
    with pytest.raises(OptionError, match=r"11 × 11 positions or more, got 10 × 14: take spearman"):
        similarity.ssim(torch.rand(10, 14), torch.rand(10, 14))


@pytest.mark.parametrize("name", NAMES)
def test_a_measure_leaves_what_it_is_given_and_the_global_generator_alone(name: str) -> None:
    own = trial()
    tensors = [
        getattr(own, field.name) for field in fields(own) if isinstance(getattr(own, field.name), Tensor)
    ]
    kept, state = [one.clone() for one in tensors], torch.get_rng_state()
    get_metric(name).run(own)
    assert all(torch.equal(one, before) for one, before in zip(tensors, kept, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


# -- floors -------------------------------------------------------------------------------------------------


@pytest.fixture(params=controls.CONTROLS)
def control(request: pytest.FixtureRequest) -> controls.Control:
    return controls.CONTROLS[request.param]


def test_floors_have_the_pictures_size_and_leave_the_generator_alone(control: controls.Control) -> None:
    state = torch.get_rng_state()
    for shape in ((3, 40, 57), (1, 9, 8), (12, 224, 224)):
        heatmap = control(drawn(shape, 0), 3)
        assert heatmap.shape == shape[1:]
        assert heatmap.dtype == torch.float32
        assert bool(heatmap.isfinite().all())
        assert float(heatmap.min()) >= 0
        assert float(heatmap.max()) > float(heatmap.min())
        assert torch.equal(heatmap, control(drawn(shape, 0), 3))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_random_map_knows_its_seed_and_nothing_of_the_picture() -> None:
    first = controls.random_map(drawn((3, 70, 84), 0), 1)
    assert torch.equal(first, controls.random_map(drawn((3, 70, 84), 5), 1))
    assert not torch.equal(first, controls.random_map(drawn((3, 70, 84), 0), 2))
    raw_heatmap = torch.rand((7, 7), generator=torch.Generator().manual_seed(1))
    centres = first.view(7, 10, 7, 12)[:, 4:6, :, 5:7].mean(dim=(1, 3))  # those of the 49 cells
    assert similarity.pearson(centres, raw_heatmap) > 0.99


def test_the_centre_is_a_gaussian_of_a_quarter_of_each_side() -> None:
    heatmap = controls.centred_gaussian(torch.zeros(3, 81, 41), 0)
    assert float(heatmap[40, 20]) == 1 == float(heatmap.max())
    for turned in (heatmap.flip(0), heatmap.flip(1)):
        torch.testing.assert_close(turned, heatmap)
    assert float(heatmap[40, 0]) == pytest.approx(np.exp(-((20 / (41 / 4)) ** 2) / 2), rel=1e-5)
    assert float(heatmap[0, 20]) == pytest.approx(np.exp(-((40 / (81 / 4)) ** 2) / 2), rel=1e-5)


def test_edges_equal_smoothed_sobel_magnitudes() -> None:
    input = drawn((3, 64, 70), 0)
    slopes = oracles.sobel(input.double().numpy())
    smooth = scipy.ndimage.gaussian_filter(slopes, 64 / 32, mode="nearest", radius=6)
    found = controls.edge_map(input, 0)
    torch.testing.assert_close(found.double(), torch.from_numpy(smooth), rtol=1e-5, atol=1e-5)


def test_an_even_picture_has_no_edges() -> None:
    assert not controls.edge_map(torch.full((3, 20, 20), 0.5), 0).any()


# -- mosaics ------------------------------------------------------------------------------------------------


def pictures_of(classes: int, each: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Even pictures, whose brightness is that of the class and hardly of the picture."""
    labels = torch.arange(classes).repeat(each)
    brightness = labels + torch.arange(len(labels)) / 1000
    return brightness.view(-1, 1, 1, 1).expand(-1, 3, *size).contiguous(), labels


@pytest.mark.parametrize("rows", [2, 3])
@pytest.mark.parametrize("size", [(24, 36), (25, 31)])
def test_masks_lie_where_the_pictures_are(rows: int, size: tuple[int, int]) -> None:
    made = mosaics(*pictures_of(11, 4, size), rows=rows, seed=3, count=18)
    assert made.inputs.shape == (18, 3, *size)
    assert made.masks.shape == (18, *size)
    assert made.labels.shape == (18,)
    assert made.shown.shape == (18, rows**2)
    for input, label, mask, shown in zip(made.inputs, made.labels, made.masks, made.shown, strict=True):
        assert torch.equal(input[0].floor() == label, mask)
        assert int(mask.sum()) in {
            (size[0] // rows + i) * (size[1] // rows + j) for i in (0, 1) for j in (0, 1)
        }
        assert len(shown.unique()) == rows**2
        assert torch.equal(input[0].floor().unique(), shown.unique().float())
        corners = [input[0, 0, 0], input[0, 0, -1], input[0, -1, 0], input[0, -1, -1]]
        reading = shown.view(rows, rows)
        assert [int(one) for one in corners] == [int(reading[i, j]) for i in (0, -1) for j in (0, -1)]


def test_every_cell_is_asked_for_equally_often_and_together_they_are_the_picture() -> None:
    made = mosaics(*pictures_of(9, 2, (20, 23)), rows=3, seed=1, count=27)
    assert torch.equal(made.masks.sum(dim=0), torch.full((20, 23), 3))
    assert len({tuple(mask.flatten().tolist()) for mask in made.masks}) == 9


def test_mosaics_are_drawn_by_their_seed_from_all_classes_and_pictures() -> None:
    inputs, labels = pictures_of(6, 3, (8, 8))
    state = torch.get_rng_state()
    one, same, other = (mosaics(inputs, labels, 2, seed, 60) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.labels, same.labels)
    assert torch.equal(one.masks, same.masks)
    assert not torch.equal(one.inputs, other.inputs)
    assert len((one.inputs * 1000).round().unique()) == 18
    assert set(one.labels.tolist()) == set(range(6))
    as_list = mosaics(inputs, labels.tolist(), 2, 0, 60)
    assert torch.equal(as_list.inputs, one.inputs)


def test_cells_are_whole_pictures_upright_and_antialiased() -> None:
    slope = torch.linspace(0, 1, 30).view(1, 30, 1) + torch.linspace(0, 10, 30)
    stripes = (torch.arange(30) % 3 == 1).float().expand(30, 30)  # a third: a cell's pixels hit them all
    inputs = torch.stack([slope.expand(3, 30, 30)] + [stripes.expand(3, 30, 30)] * 8)
    made = mosaics(inputs, range(9), rows=3, seed=0, count=9)
    for input, shown in zip(made.inputs, made.shown, strict=True):
        place = int((shown == 0).nonzero())
        cells = [cell for band in input[0].split(10) for cell in band.split(10, dim=1)]
        expected = slope[0].view(10, 3, 10, 3).mean(dim=(1, 3))
        torch.testing.assert_close(cells.pop(place)[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-3, atol=1e-3)
        for cell in cells:
            assert bool((cell[:, 1:-1] < 0.7).all())  # 1 without antialiasing
            assert float(cell.mean()) == pytest.approx(1 / 3, abs=0.05)


def test_the_grid_pointing_game_is_the_energy_inside_a_cell() -> None:
    made = mosaics(*pictures_of(4, 1, (12, 14)), count=4)
    for mask in made.masks:
        assert value("energy_inside", heatmap=mask.float(), mask=mask) == 1
        assert value("energy_inside", heatmap=torch.ones(SIZE), mask=mask) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("classes", "labels", "rows", "count", "match"),
    [
        (3, None, 2, 1, r"2 × 2 cells needs 4 classes, got 3: give"),
        (8, None, 3, 1, r"3 × 3 cells needs 9 classes, got 8"),
        (4, [0, 1, 2], 2, 1, "got 3 for 4: give as many"),
        (4, None, 1, 1, "rows=1"),
        (4, None, 2, 0, "count=0"),
    ],
)
def test_mosaics_that_cannot_be_made_are_refused(
    classes: int, labels: list[int] | None, rows: int, count: int, match: str
) -> None:
    inputs, own = pictures_of(classes, 1, (8, 8))
    with pytest.raises(OptionError, match=match):
        mosaics(inputs, own if labels is None else labels, rows, 0, count)
