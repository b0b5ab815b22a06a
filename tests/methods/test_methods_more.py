"""The methods that ask for more than one gradient of a target at one layer; cam, which asks more of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import zoo
from camlucida import (
    ClassProbability,
    ClassScore,
    Contrast,
    Explainer,
    Explanation,
    TopClass,
)
from camlucida.capture import capture
from camlucida.errors import LayerError, OptionError, TargetError
from camlucida.heatmaps.smoothing import views
from camlucida.methods import registry
from camlucida.targets.derived import Finer, Residual
from oracles import methods as oracles

EARLY, LATE = "early", "late"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are so small that threads cost more than they bring, on a busy machine a hundred times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Small(nn.Module):
    """Two layers, the later with fewer positions; behind it each position has weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.GELU())
        self.late = nn.Sequential(nn.Conv2d(5, 6, 3, padding=1, stride=2), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 3 * 4, 8), nn.Tanh(), nn.Linear(8, 6))

    def behind(self, late: Tensor) -> Tensor:
        return self.head(late)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.late(self.early(inputs)))


class Pooled(nn.Module):
    """What CAM was made for; with more than one linear layer, or with an average of another kind."""

    def __init__(self, deep: bool = False) -> None:
        super().__init__()
        self.late = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 4)) if deep else nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.late(inputs).mean(dim=(2, 3)))


def small() -> nn.Module:
    return zoo.redraw(Small()).double()


def pictures(count: int = 2, seed: int = 1) -> Tensor:
    return zoo.noise(count, 6, 8, seed=seed).double()


def explained(
    module: nn.Module, batch: Tensor, method: str, target: Any = None, layer: str = LATE, **more: Any
) -> list[Explanation]:
    options = {method: more.pop("options", {})}
    return Explainer(module).explain(batch, [method], [target], [layer], options, **more)


def maps(*arguments: Any, **more: Any) -> Tensor:
    return torch.stack([one.heatmap for one in explained(*arguments, **more)])


def codes(explanation: Explanation) -> list[str]:
    return [finding.code for finding in explanation.health]


def assert_same(found: Tensor, expected: Tensor, share: float = 1e-6) -> None:
    """Maps are handed out in float32."""
    assert found.shape == expected.shape
    assert not any(zoo.is_flat(one) for one in expected)
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=0, atol=share * float(expected.abs().max())
    )


def stacked(heatmaps: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(heatmaps))


def late_of(module: nn.Module, one: Tensor) -> Tensor:
    with torch.no_grad():
        return module.late(module.early(one[None]))


def slopes_of(module: nn.Module, one: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations of the late layer, the gradients of all logits there, and the logits, of one picture."""
    late = late_of(module, one).requires_grad_()
    jacobian = torch.autograd.functional.jacobian(module.behind, late)[0, :, 0]
    return late.detach()[0].numpy(), jacobian.numpy(), module.behind(late.detach())[0].detach().numpy()


# -- cam --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(4))
def test_cam_is_the_papers(index: int) -> None:
    module, batch = zoo.redraw(Pooled()).double(), pictures()
    with torch.no_grad():
        features, logits = module.late(batch), module(batch)
    weights, bias = module.head.weight[index].detach(), module.head.bias[index].detach()
    expected = stacked([oracles.cam(one.numpy(), weights.numpy()) for one in features])
    found = maps(module, batch, "cam", index)
    assert_same(found, expected)
    torch.testing.assert_close(found.mean(dim=(1, 2)).double() + bias, logits[:, index], rtol=1e-5, atol=1e-5)


def test_cam_is_gradcam_times_the_number_of_positions() -> None:
    module, batch = zoo.resnet(), zoo.noise(2, 64, 96)
    found, other = (maps(module, batch, name, 3, "layer4") for name in ("cam", "gradcam"))
    assert_same(found, other * found[0].numel(), 1e-5)


def test_cam_of_a_difference_and_behind_more_than_one_linear_layer() -> None:
    module, batch = zoo.redraw(Pooled(deep=True)).double(), pictures()
    assert_same(maps(module, batch, "cam", 1), maps(module, batch, "gradcam", 1) * 12)
    one, other = (maps(module, batch, "cam", index) for index in (1, 2))
    assert_same(maps(module, batch, "cam", Contrast(1, 2)), one - other, 1e-5)


def test_cam_in_six_views() -> None:
    module, batch = zoo.redraw(Pooled()).double(), pictures()
    found = maps(module, batch, "cam", 1, smooth=["aug"])
    assert_same(found, maps(module, batch, "gradcam", 1, smooth=["aug"]) * 12)


@pytest.mark.parametrize(("layer", "module"), [(LATE, Small), (EARLY, Small)])
def test_cam_is_refused_where_positions_differ(layer: str, module: type[nn.Module]) -> None:
    with pytest.raises(LayerError, match=r"differs between positions.*hirescam or gradcam"):
        explained(zoo.redraw(module()), pictures().float(), "cam", 1, layer)


def test_cam_is_refused_where_one_picture_of_many_differs() -> None:
    activations, gradients = torch.rand(2, 3, 2, 2), torch.ones(2, 3, 2, 2)
    cam = registry.get_method("cam").function
    torch.testing.assert_close(cam(activations, gradients), 4 * activations)
    gradients[1, 2, 0, 1] += 1e-3
    with pytest.raises(LayerError):
        cam(activations, gradients)


# -- fem and the kernels ----------------------------------------------------------------------------------


def test_fem_counts_what_stands_out_with_the_channels_mean() -> None:
    activations = torch.zeros(1, 3, 3, 3)
    activations[0, 0, 1, 2] = 9  # its mean is 1
    activations[0, 1] = 5  # the same everywhere
    activations[0, 2] = torch.arange(9.0).view(3, 3)  # nothing is two deviations above the mean
    function = registry.get_method("fem").function
    expected = torch.zeros(1, 3, 3)
    expected[0, 1, 2] = 1
    assert torch.equal(function(activations).sum(dim=1), expected)
    expected[0, 2, 2] = 4
    assert torch.equal(function(activations, k=1.5).sum(dim=1), expected)


def test_fem_among_few_positions_is_blank_with_a_reason() -> None:
    (found,) = explained(zoo.resnet(), zoo.noise(1), "fem", layer="layer4")
    assert codes(found) == ["constant"]


@pytest.mark.parametrize("name", ["fem", "kpcacam"])
def test_classless_methods_compute_once(name: str) -> None:
    method, calls = registry.get_method(name), []

    def counted(activations: Tensor, **options: Any) -> Any:
        calls.append(name)
        return method.function(activations, **options)

    class Counted(type(method)):  # type: ignore[misc]
        def run(self, captured: Any, settings: Any) -> Any:
            return counted(captured.activations, **settings)

    own = Counted(**{field.name: getattr(method, field.name) for field in fields(method)})
    one, other = Explainer(small()).explain(pictures(1), [own], [0, 1], [LATE])
    assert calls == [name]
    assert torch.equal(one.heatmap, other.heatmap)
    assert one.heatmap is not other.heatmap  # nobody shares what he may write to


def kernel_map(activations: Tensor, **options: Any) -> Tensor:
    return registry.get_method("kpcacam").function(activations, **options).values


def test_kpcacam_with_the_linear_kernel_is_eigencam() -> None:
    activations = torch.randn(2, 7, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = registry.get_method("eigencam").function(activations).values
    assert_same(kernel_map(activations, kernel="linear"), expected, 1e-10)


@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_kpcacam_with_the_rbf_kernel(gamma: float) -> None:
    activations = torch.randn(1, 7, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    width = gamma or 1 / 7
    table = activations[0].flatten(1).T.numpy()
    expected = oracles.kernel_component(table, lambda a, b: np.exp(-width * ((a - b) ** 2).sum()))
    found = kernel_map(activations, kernel="rbf", gamma=gamma).flatten().numpy()
    sign = np.sign(found @ expected)
    np.testing.assert_allclose(found, sign * expected, atol=1e-10)
    assert not np.allclose(abs(found), abs(kernel_map(activations).flatten().numpy()), rtol=0.01)


def test_kpcacam_refuses_other_kernels_and_keeps_what_is_not_finite_apart() -> None:
    activations = torch.rand(2, 3, 4, 4)
    with pytest.raises(OptionError, match="did you mean 'sigmoid'"):
        kernel_map(activations, kernel="sigmoide")
    alone = kernel_map(activations[1:])
    activations[0, 0, 0, 0] = float("inf")
    found = kernel_map(activations)
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1:], alone)


def test_segeigencam_says_where_its_sign_is_against_the_strength() -> None:
    """Strong everywhere but at one position: that one is furthest from the mean, and weak."""
    activations = torch.ones(1, 2, 3, 3)
    activations[0, :, 1, 1] = 0.1
    found = registry.get_method("segeigencam").function(activations, torch.ones(1, 2, 3, 3))
    assert found.values[0].flatten().argmax() == 4
    assert [[note.code for note in one] for one in found.findings] == [["sign-ambiguous"]]
    found = registry.get_method("segeigencam").function(2 - activations, -torch.ones(1, 2, 3, 3))
    assert found.values[0].flatten().argmax() == 4
    assert found.findings == ((),)


# -- finercam ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [None, 4])
@pytest.mark.parametrize(("alpha", "references"), [(0.6, 3), (1.0, 1), (0.3, 50)])
def test_finercam_is_the_papers(index: int | None, alpha: float, references: int) -> None:
    module, batch = small(), pictures(3)
    expected, scores = [], []
    for one in batch:
        activations, variant_gradients, logits = slopes_of(module, one)
        own = int(logits.argmax()) if index is None else index
        expected.append(oracles.finercam(activations, variant_gradients, logits, own, alpha, references))
        scores.append((own, logits[own]))
    found = explained(module, batch, "finercam", index, options={"alpha": alpha, "references": references})
    assert_same(torch.stack([one.heatmap for one in found]), stacked(expected))
    for explanation, (own, score) in zip(found, scores, strict=True):
        assert explanation.index == own
        assert explanation.score == pytest.approx(score)


def test_finercam_without_a_contrast_is_its_base() -> None:
    module, batch = small(), pictures()
    for base in ("gradcam", "layercam"):
        found = maps(module, batch, "finercam", 2, options={"alpha": 0.0, "base": base})
        assert_same(found, maps(module, batch, base, 2))


@pytest.mark.parametrize("base", ["hirescam", "gradcam++", "xgradcam"])
def test_finercam_is_its_base_for_the_contrast(base: str) -> None:
    module, batch = small(), pictures()
    target = Finer(ClassScore(2), alpha=0.5, references=2)
    found = maps(module, batch, "finercam", 2, options={"alpha": 0.5, "references": 2, "base": base})
    assert_same(found, maps(module, batch, base, target))


@pytest.mark.parametrize("base", ["scorecam", "eigencam", "finercam", "fullgrad", "nonesuch"])
def test_other_bases_are_refused(base: str) -> None:
    for name in ("finercam", "refinecam"):
        with pytest.raises(OptionError):
            explained(small(), pictures(), name, options={"base": base})


@pytest.mark.parametrize("target", [Contrast(0, 1), ClassProbability(0), lambda logits: logits[:, 0]])
def test_finercam_asks_for_a_class(target: Any) -> None:
    with pytest.raises(TargetError, match="compares the logits of classes"):
        explained(small(), pictures(), "finercam", target)


def test_finercam_needs_another_class() -> None:
    with pytest.raises(TargetError, match="at least one other class"):
        explained(small(), pictures(), "finercam", options={"references": 0})
    with pytest.raises(TargetError, match="at least one other class"):
        Finer(TopClass()).bind(torch.zeros(1, 1), 0)


def test_references_that_are_equally_near_are_taken_in_order() -> None:
    bound = Finer(ClassScore(1), references=2).bind(torch.tensor([[9.0, 0, 2, -2, 1, -1]]), 0)
    assert bound.others == (4, 5)
    bound = Finer(ClassScore(1), references=1).bind(torch.tensor([[0.0, 0, 0]]), 0)
    assert bound.others == (0,)
    torch.testing.assert_close(bound(torch.tensor([[1.0, 5, 7]])), torch.tensor([5 - 0.6]))


def test_references_are_those_of_the_plain_view() -> None:
    """Else the mean would be over maps of other contrasts."""
    module, one = small(), pictures(1)[0]
    bound = Finer(ClassScore(2), references=1).bind(module(one[None]).detach(), 0)
    margin = lambda logits: logits[:, 2] - 0.6 * logits[:, bound.others[0]]  # noqa: E731
    expected = maps(module, one[None], "gradcam", margin, smooth=["aug"])
    found = maps(module, one[None], "finercam", 2, smooth=["aug"], options={"references": 1})
    assert_same(found, expected)
    with torch.no_grad():
        logits = module(torch.stack(views(one)))
    others = {Finer(ClassScore(2), references=1).bind(logits, view).others for view in range(6)}
    assert len(others) > 1  # so that it matters


def test_many_at_once_are_those_of_each_alone() -> None:
    """Targets that methods make do not mix with those asked for, nor with each other's."""
    explainer, batch = Explainer(small()), pictures()
    methods = [
        "shapleycam",
        "gradcam",
        "finercam",
        "ablationcam",
        "smoothgradcam++",
        "refinecam",
        "fem",
        "scorecam",
    ]
    layers, targets = [LATE, f"{EARLY}+{LATE}"], [None, 3, 1]
    together = explainer.explain(batch, methods, targets, layers)
    alone = [
        explainer.explain(one, [method], [target], [layer])[0]
        for one in batch
        for layer in layers
        for method in methods
        for target in targets
    ]
    assert len(together) == len(alone)
    for found, expected in zip(together, alone, strict=True):
        assert (found.method, found.layer, found.index) == (expected.method, expected.layer, expected.index)
        assert found.score == pytest.approx(expected.score)
        scale = float(expected.heatmap.abs().max())
        torch.testing.assert_close(found.heatmap, expected.heatmap, rtol=0, atol=1e-6 * scale)
        assert found.findings == expected.findings


# -- refinecam --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["gradcam++", "gradcam"])
def test_refinecam_is_the_papers(base: str) -> None:
    module, batch = small(), pictures(3)
    layers = [maps(module, batch, base, 1, layer) for layer in (EARLY, LATE)]
    assert (layers[0].amax(dim=(1, 2)) > 0).all()
    expected = stacked(
        [oracles.refinecam([one.double().numpy() for one in pair]) for pair in zip(*layers, strict=True)]
    )
    found = explained(module, batch, "refinecam", 1, f"{EARLY}+{LATE}", options={"base": base})
    assert_same(torch.stack([one.heatmap for one in found]), expected)
    assert all("single-layer" not in codes(one) for one in found)
    assert [one.layer for one in found] == ["early+late"] * 3


def test_two_that_speak_against_do_not_speak_for() -> None:
    """Their product would be positive."""
    module, batch = small(), pictures(3)
    raw = [maps(module, batch, "gradcam", 1, layer) for layer in (EARLY, LATE)]
    raw[1] = nn.functional.interpolate(raw[1][None], raw[0].shape[1:], mode="nearest-exact")[0]
    against = (raw[0] < 0) & (raw[1] < 0)
    assert against.any()
    found = maps(module, batch, "refinecam", 1, f"{EARLY}+{LATE}", options={"base": "gradcam"})
    assert (found[raw[0] <= 0] == 0).all()


def test_refinecam_of_one_layer_is_its_base_and_says_so() -> None:
    module, batch = small(), pictures()
    found = explained(module, batch, "refinecam", 1)
    assert_same(torch.stack([one.heatmap for one in found]), maps(module, batch, "gradcam++", 1))
    assert all("single-layer" in codes(one) for one in found)


def test_refinecam_in_six_views_is_the_mean_of_products() -> None:
    module, one = small(), pictures(1)[0]
    name = f"{EARLY}+{LATE}"
    (found,) = explained(module, one[None], "refinecam", 1, name, smooth=["aug"])
    six = [maps(module, view[None], "refinecam", 1, name)[0] for view in views(one)]
    upright = torch.stack([*six[:3], *(heatmap.flip(-1) for heatmap in six[3:])])
    assert_same(found.heatmap[None], upright.mean(dim=0)[None])
    assert_same(found.spread[None], upright.std(dim=0, correction=0)[None], 1e-4)


# -- smoothgradcam++ --------------------------------------------------------------------------------------


def noisy_by_hand(one: Tensor, samples: int, std: float, seed: int) -> Tensor:
    draws = torch.randn((samples, *one.shape), generator=torch.Generator().manual_seed(seed))
    return one + std * (one.max() - one.min()) * draws


@pytest.mark.parametrize(("samples", "std", "seed"), [(8, 0.15, 0), (3, 0.5, 0), (11, 0.1, 7)])
def test_smoothgradcam_plus_plus_is_the_papers(samples: int, std: float, seed: int) -> None:
    module, batch = small(), pictures()
    expected = []
    for one in batch:
        noise = noisy_by_hand(one, samples, std, seed)
        variant_gradients = [slopes_of(module, view)[1][2] for view in noise]
        expected.append(oracles.smoothgradcam_plus_plus(slopes_of(module, one)[0], variant_gradients))
    options = {"samples": samples, "std": std, "seed": seed}
    assert_same(maps(module, batch, "smoothgradcam++", 2, options=options), stacked(expected))


def test_cubes_below_zero_matter_here() -> None:
    """Else the test above would not see what is done about them."""
    module, one = small(), pictures(1)[0]
    variant_gradients = np.stack([slopes_of(module, view)[1][2] for view in noisy_by_hand(one, 3, 0.5, 0)])
    assert ((variant_gradients.mean(axis=0) > 0) & ((variant_gradients**3).mean(axis=0) < 0)).any()


@pytest.mark.parametrize("layer", [EARLY, LATE])
def test_without_noise_it_is_gradcam_plus_plus(layer: str) -> None:
    module, batch = small(), pictures()
    found = maps(module, batch, "smoothgradcam++", 1, layer, options={"std": 0.0, "samples": 5})
    assert_same(found, maps(module, batch, "gradcam++", 1, layer))


def test_noise_is_of_the_seed_alone() -> None:
    module, batch = small(), pictures()
    before = torch.get_rng_state()
    first = maps(module, batch, "smoothgradcam++", 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(maps(module, batch, "smoothgradcam++", 1), first)
    assert_same(maps(module, batch[1:], "smoothgradcam++", 1), first[1:])
    assert not torch.allclose(maps(module, batch, "smoothgradcam++", 1, options={"seed": 1}), first, rtol=0.01)


def test_tiny_gradients_are_not_lost() -> None:
    """Powers of what a softmax near 1 leaves are 0 in float32, and 0 / 0 is not a weight."""
    module, batch = small().float(), pictures().float()
    found = maps(module, batch, "smoothgradcam++", lambda logits: logits[:, 1] * 1e-25)
    far = maps(module, batch, "smoothgradcam++", lambda logits: logits[:, 1] * 1e-9)
    assert_same(found * 1e16, far, 1e-4)


def test_a_score_that_needs_no_layer_has_no_slope() -> None:
    found = explained(small(), pictures(), "smoothgradcam++", lambda logits: logits[:, 1].detach() * 0)
    assert all(not one.heatmap.any() for one in found)


def test_no_samples_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 1 sample"):
        explained(small(), pictures(), "smoothgradcam++", options={"samples": 0})


# -- shapleycam -------------------------------------------------------------------------------------------

UTILITIES = {
    "rest": lambda logits: logits[:, 2] + logits.log_softmax(dim=1)[:, 2],
    "target": lambda logits: logits[:, 2],
}


@pytest.mark.parametrize("utility", UTILITIES)
def test_shapleycam_is_the_papers(utility: str) -> None:
    module, batch = small(), pictures()
    expected = []
    for one in batch:
        late = late_of(module, one)
        score = lambda maps: UTILITIES[utility](module.behind(maps)).sum()  # noqa: E731
        hessian = torch.autograd.functional.hessian(score, late).reshape(late.numel(), late.numel())
        (slope,) = torch.autograd.functional.jacobian(score, late)
        expected.append(oracles.shapleycam(late[0].numpy(), slope.numpy(), hessian.numpy()))
    found = explained(module, batch, "shapleycam", 2, options={"utility": utility})
    assert_same(torch.stack([one.heatmap for one in found]), stacked(expected))
    assert all("no-curvature" not in codes(one) for one in found)
    assert not torch.allclose(maps(module, batch, "gradcam", 2).double(), stacked(expected), rtol=0.05)
    logits = module(batch).detach()[:, 2]
    assert [one.score for one in found] == pytest.approx(logits.tolist())


class Ending(nn.Module):
    """The small network with an activation of its own at the end."""

    def __init__(self, ending: nn.Module) -> None:
        super().__init__()
        self.net, self.ending = small(), ending

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.ending(self.net(batch))


LOGARITHMS = {
    "softmax": (nn.Softmax(dim=1), "auto", lambda outputs: outputs.log()),
    "sigmoid": (nn.Sigmoid(), "auto", lambda outputs: outputs.log()),
    "logits of a sigmoid": (nn.Identity(), "sigmoid", lambda outputs: outputs.sigmoid().log()),
    "logarithms": (nn.LogSoftmax(dim=1), "auto", lambda outputs: outputs),
    "logits": (nn.Identity(), "auto", lambda outputs: outputs.softmax(dim=1).log()),
}


@pytest.mark.parametrize(("ending", "activation", "logarithm"), LOGARITHMS.values(), ids=LOGARITHMS)
def test_shapleycam_takes_the_logarithm_of_the_models_own_probability(
    ending: nn.Module, activation: Any, logarithm: Any
) -> None:
    module, batch = Ending(ending), pictures()
    told = Explainer(module, activation=activation)
    found = told.explain(batch, ["shapleycam"], [2])
    utility = lambda outputs: outputs[:, 2] + logarithm(outputs)[:, 2]  # noqa: E731
    expected = Explainer(module).explain(
        batch, ["shapleycam"], [utility], [found[0].layer], {"shapleycam": {"utility": "target"}}
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.heatmap, other.heatmap, rtol=1e-5, atol=1e-7)


def test_shapleycam_is_exact_where_the_score_is_quadratic() -> None:
    """The Shapley values of the channels by enumeration: their marginal scores in all orders."""
    channels, positions = 5, 6
    generator = torch.Generator().manual_seed(0)
    activations = torch.randn(1, channels, 2, 3, generator=generator, dtype=torch.float64)
    linear = torch.randn(channels, generator=generator, dtype=torch.float64)
    square = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    square = square + square.T

    def score(maps: Tensor) -> Tensor:
        pooled = maps.mean(dim=(2, 3))[0]
        return linear @ pooled + pooled @ square @ pooled / 2

    def worth(coalition: tuple[int, ...]) -> float:
        kept = torch.zeros(channels, dtype=torch.float64)
        kept[list(coalition)] = 1
        return float(score(activations * kept.view(1, -1, 1, 1)))

    shapley = []
    for k in range(channels):
        others, total = [other for other in range(channels) if other != k], 0.0
        for size in range(channels):
            share = factorial(size) * factorial(channels - size - 1) / factorial(channels)
            total += sum(share * (worth((*s, k)) - worth(s)) for s in combinations(others, size))
        shapley.append(total)

    gradients = torch.autograd.functional.jacobian(score, activations)
    hessian = torch.autograd.functional.hessian(score, activations).reshape(2 * (channels * positions,))
    products = (hessian @ activations.flatten()).view_as(activations)
    found = registry.get_method("shapleycam").function(activations, gradients, products).values
    torch.testing.assert_close(found.sum(dim=(0, 2, 3)), torch.tensor(shapley, dtype=torch.float64))


def test_a_linear_score_says_that_the_map_is_gradcams() -> None:
    module, batch = zoo.redraw(Pooled()).double(), pictures()
    for target, options in [(1, {"utility": "target"}), (Contrast(1, 2), {})]:
        found = explained(module, batch, "shapleycam", target, options=options)
        assert torch.equal(torch.stack([one.heatmap for one in found]), maps(module, batch, "gradcam", target))
        assert all("no-curvature" in codes(one) for one in found)
    assert all("no-curvature" not in codes(one) for one in explained(module, batch, "shapleycam", 1))


def test_other_utilities_are_refused() -> None:
    with pytest.raises(OptionError, match="utility"):
        Residual(ClassScore(0), utility="rust").bind(torch.zeros(1, 2), 0)


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_attention_is_differentiated_twice(family: str) -> None:
    """By its slope along the activations, from gradients at two points; prefix tokens stay as they are."""
    module = zoo.FAMILIES[family]().double()
    layer = {"vit": "blocks.1.norm1", "swin": "layers.2.blocks.1.norm1"}[family]
    batch, step = zoo.noise(1).double(), 1e-5
    prefix = 1 if family == "vit" else 0
    gradients = {}
    for factor in (-step, 0, step):
        kept: list[Tensor] = []

        def scale(
            _layer: nn.Module, _args: Any, output: Tensor, factor: float = factor, kept: Any = kept
        ) -> Tensor:
            moved = output * (1 + factor)
            if prefix:
                moved = torch.cat([output[:, :prefix], moved[:, prefix:]], dim=1)
            kept.append(moved.detach().requires_grad_())
            return kept[0].clone()

        handle = module.get_submodule(layer).register_forward_hook(scale)
        logits = module(batch)
        handle.remove()
        (gradients[factor],) = torch.autograd.grad(UTILITIES["rest"](logits).sum(), kept)
        gradients[factor], activations = (one[:, prefix:] for one in (gradients[factor], kept[0]))
    products = (gradients[step] - gradients[-step]) / (2 * step)
    positions = tuple(range(1, products.ndim - 1))
    weights = (gradients[0] - products / 2).mean(dim=positions, keepdim=True)
    expected = (weights * activations / (1 + step)).sum(dim=-1).detach()
    found = maps(module, batch, "shapleycam", 2, layer)
    assert_same(found, expected.reshape(found.shape), 1e-5)
    plain = (gradients[0].mean(dim=positions, keepdim=True) * activations).sum(dim=-1).reshape(found.shape)
    assert not torch.allclose(found.double(), plain, rtol=0.05)


def test_an_operation_without_a_second_derivative_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the fused attention, which is put aside otherwise."""
    monkeypatch.setattr(capture, "double_backward", lambda _wanted: nullcontext())
    module, layer = zoo.vit(), "blocks.1.norm1"
    with pytest.raises(LayerError, match=rf"layer '{layer}' cannot be differentiated twice.*gradcam"):
        explained(module, zoo.noise(1), "shapleycam", 1, layer)


# -- what the registry knows of them ----------------------------------------------------------------------


def test_options_of_the_target_are_options_of_the_method() -> None:
    entry = registry.get_method("finercam")
    assert {name: option.default for name, option in entry.options.items()} == {
        "base": "gradcam",
        "alpha": 0.6,
        "references": 3,
    }
    assert all(option.doc for option in entry.options.values())
    assert list(registry.get_method("shapleycam").options) == ["utility"]
    (found,) = explained(small(), pictures(1), "finercam", options={"alpha": 0.2})
    assert found.provenance.options == {"base": "gradcam", "alpha": 0.2, "references": 3}


@pytest.mark.parametrize(
    "name", sorted(set(oracles.RUN_ORACLES) - {"scorecam", "ablationcam", "fullgrad", "cam"})
)
@pytest.mark.parametrize("family", zoo.FAMILIES)
def test_every_family_gives_a_map_that_does_not_depend_on_the_batch(name: str, family: str) -> None:
    explainer, batch = Explainer(zoo.FAMILIES[family]().double()), zoo.noise(2).double()
    together = explainer.explain(batch, [name], [3])
    for found, one in zip(together, batch, strict=True):
        (alone,) = explainer.explain(one, [name], [3])
        assert_same(found.heatmap[None], alone.heatmap[None])
