"""Every registered method against its oracle, its declared shapes and what must hold of any such method."""

from __future__ import annotations

import inspect
import types as python_types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import beartype
import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import zoo
from camlucida import Explainer, types
from camlucida.heatmaps import combine, components
from camlucida.heatmaps.examine import WithFindings
from camlucida.methods import registry
from camlucida.methods.registry import Method
from oracles import methods as oracles

METHODS = sorted(oracles.ORACLES)  # those that need no more than activations and gradients
GRADIENT_METHODS = [name for name in METHODS if "gradients" in registry.get_method(name).needs]
EIGEN_METHODS = ["eigencam", "eigengradcam", "kpcacam", "segeigencam"]
quick = settings(max_examples=20, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**31 - 1)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These tensors are so small that threads cost more than they bring, on a busy machine a hundred times."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def signed(shape: tuple[int, ...] = (2, 7, 5, 5), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Activations as behind a LayerNorm, and gradients."""
    return drawn(shape, seed), drawn(shape, seed + 1)


def positive(shape: tuple[int, ...] = (2, 7, 5, 5), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Activations as behind a ReLU: many are zero, none is negative."""
    activations, gradients = signed(shape, seed)
    return activations.clamp(min=0), gradients


def sparse() -> tuple[Tensor, Tensor]:
    """Most channels are zero everywhere, as in a trained network."""
    activations, gradients = positive((2, 12, 4, 6), seed=4)
    activations[:, ::2] = 0
    activations[:, 3] = 0
    return activations, gradients


# More channels than positions and fewer: the principal component is reached on two ways.
INPUTS: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "positive": positive,
    "signed": signed,
    "sparse": sparse,
    "tall": lambda: positive((2, 5, 9, 2), seed=6),
    "wide, signed": lambda: signed((2, 5, 3, 8), seed=8),
    "many channels": lambda: signed((2, 40, 2, 3), seed=10),
    "one row": lambda: signed((2, 6, 1, 7), seed=12),
}


# among so few positions none stands out by two standard deviations
BLANK = {("fem", "many channels"), ("fem", "one row")}


def values_of(result: Tensor | WithFindings) -> Tensor:
    return result.values if isinstance(result, WithFindings) else result


def result_of(entry: Method, activations: Tensor, gradients: Tensor) -> Tensor:
    fields = {"activations": activations, "gradients": gradients}
    return values_of(entry.function(*(fields[need] for need in entry.needs)))


def map_of(name: str, activations: Tensor, gradients: Tensor) -> Tensor:
    """The map (batch, height, width), as the pipeline makes it."""
    entry = registry.get_method(name)
    result = result_of(entry, activations, gradients)
    return combine.reduce(result) if entry.returns == "contributions" else result


def oracle_of(name: str, activations: Tensor, gradients: Tensor) -> Tensor:
    pairs = zip(activations.double().numpy(), gradients.double().numpy(), strict=True)
    return torch.from_numpy(np.stack([oracles.ORACLES[name](*pair) for pair in pairs]))


def assert_same(found: Tensor, expected: Tensor, share: float) -> None:
    """Equal to ``share`` of the expected map's largest magnitude."""
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=share * scale)


# -- oracles ----------------------------------------------------------------------------------------------


def test_every_method_has_an_oracle() -> None:
    assert set(oracles.ORACLES) | set(oracles.RUN_ORACLES) == set(registry.all_methods())


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", METHODS)
def test_method_equals_its_oracle(name: str, kind: str) -> None:
    activations, gradients = INPUTS[kind]()
    expected = oracle_of(name, activations, gradients)
    assert any(zoo.is_flat(one) for one in expected) == ((name, kind) in BLANK)
    found = map_of(name, activations, gradients)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["positive", "signed", "many channels"])
def test_oracles_tell_methods_apart(kind: str) -> None:
    """An input on which two methods agree proves nothing of either."""
    maps = {name: oracle_of(name, *INPUTS[kind]()) for name in METHODS}
    for name in METHODS:
        twins = [other for other in METHODS if other != name and torch.allclose(maps[name], maps[other])]
        assert set(twins) <= ({"layercam", "gradcam_elementwise"} if kind == "positive" else set())


@quick
@given(
    shape=st.tuples(st.just(1), st.integers(1, 6), st.integers(1, 4), st.integers(2, 4)),
    seed=seeds,
    relu=st.booleans(),
)
def test_methods_equal_their_oracles_at_any_shape(shape: tuple[int, ...], seed: int, relu: bool) -> None:
    activations, gradients = (positive if relu else signed)(shape, seed)
    for name in METHODS:
        expected = oracle_of(name, activations, gradients)
        # a first component is as exact as its lead over the second, xgradcam as its sums are far from zero
        assert_same(map_of(name, activations, gradients), expected, 1e-6)


def test_seed_of_random_draws_other_weights_the_same_for_each_picture() -> None:
    entry = registry.get_method("random")
    ones = torch.ones(2, 5000, 1, 1)
    first, second = entry.function(ones), entry.function(ones, seed=1)
    assert torch.equal(first, entry.function(ones, seed=0))
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first, second)
    assert -1 <= float(first.min()) < -0.99
    assert 0.99 < float(first.max()) <= 1
    assert abs(float(first.mean())) < 0.03


def test_random_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    map_of("random", *positive())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", METHODS)
def test_method_leaves_its_input_alone(name: str) -> None:
    activations, gradients = signed()
    kept = activations.clone(), gradients.clone()
    map_of(name, activations, gradients)
    assert torch.equal(activations, kept[0])
    assert torch.equal(gradients, kept[1])


# -- declared shapes --------------------------------------------------------------------------------------


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of ``function`` whose annotated shapes are checked when it runs.

    The methods import the shape vocabulary for type checkers only, so that their annotations are strings.
    """
    names = {name: getattr(types, name) for name in dir(types) if not name.startswith("_")}
    copy = python_types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = get_type_hints(function, globalns={**function.__globals__, **names})
    return jaxtyping.jaxtyped(typechecker=beartype.beartype)(copy)


@pytest.mark.parametrize("name", METHODS)
def test_declared_shapes_are_the_real_ones(name: str) -> None:
    entry = registry.get_method(name)
    hints = get_type_hints(entry.function, globalns={**vars(types), **entry.function.__globals__})
    assert hints["return"] is (types.Contributions if entry.returns == "contributions" else WithFindings)
    assert set(entry.needs) <= set(hints)
    fields = dict(zip(("activations", "gradients"), signed((2, 7, 3, 5)), strict=True))
    checked(entry.function)(*(fields[need] for need in entry.needs))


@pytest.mark.parametrize("function", [combine.reduce, components.principal_component])
def test_declared_shapes_of_the_reducers_are_the_real_ones(function: Callable[..., Any]) -> None:
    values = drawn((2, 7, 3, 5), 0)
    arguments = [values, values.sum(dim=1)][: len(inspect.signature(function).parameters)]
    checked(function)(*arguments)


@pytest.mark.parametrize("name", METHODS)
def test_shape_check_refuses_wrong_input(name: str) -> None:
    entry = registry.get_method(name)
    wrong = {"activations": drawn((7,), 0), "gradients": drawn((2, 7, 3, 5), 1)}
    with pytest.raises(jaxtyping.TypeCheckError, match="activations"):
        checked(entry.function)(*(wrong[need] for need in entry.needs))


def test_shape_check_refuses_shapes_that_differ() -> None:
    function = checked(registry.get_method("gradcam").function)
    with pytest.raises(jaxtyping.TypeCheckError, match="gradients"):
        function(drawn((2, 7, 3, 5), 0), drawn((2, 7, 5, 3), 1))


def test_shape_check_refuses_a_wrong_result() -> None:
    def transposed(activations: types.Activations) -> types.Contributions:
        return activations.mT

    def unreduced(activations: types.Activations) -> types.Heatmaps:
        return activations

    for function in (transposed, unreduced):
        with pytest.raises(jaxtyping.TypeCheckError, match="return"):
            checked(function)(drawn((2, 7, 3, 5), 0))


# -- properties -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["positive", "signed", "many channels"])
@pytest.mark.parametrize("name", METHODS)
def test_map_does_not_depend_on_the_rest_of_the_batch(name: str, kind: str) -> None:
    activations, gradients = INPUTS[kind]()
    if not (name == "xgradcam" and "positive" not in kind):  # ill-conditioned there: float64
        activations, gradients = activations.float(), gradients.float()
    together = map_of(name, activations, gradients)
    for i in range(len(activations)):
        alone = map_of(name, activations[i : i + 1], gradients[i : i + 1])
        assert_same(together[i : i + 1], alone, 1e-5)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
def test_map_does_not_depend_on_the_order_of_channels(name: str, kind: str) -> None:
    """The signs of eigencam and eigengradcam included."""
    activations, gradients = INPUTS[kind]()
    expected = map_of(name, activations, gradients)
    for seed in range(8):
        order = torch.randperm(activations.shape[1], generator=torch.Generator().manual_seed(seed))
        assert_same(map_of(name, activations[:, order], gradients[:, order]), expected, 1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_map_moves_with_the_positions(name: str) -> None:
    """No method knows where a position lies."""
    activations, gradients = signed()
    expected = map_of(name, activations, gradients)
    flipped = map_of(name, activations.flip(-1).mT, gradients.flip(-1).mT)
    assert_same(flipped, expected.flip(-1).mT, 1e-9)


@pytest.mark.parametrize("kind", ["positive", "signed"])
@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_zero_gradient_gives_a_zero_map(name: str, kind: str) -> None:
    activations, gradients = INPUTS[kind]()
    assert torch.equal(map_of(name, activations, gradients * 0), torch.zeros(2, 5, 5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", METHODS)
def test_zero_activations_give_a_zero_map(name: str, dtype: torch.dtype) -> None:
    gradients = positive()[1].to(dtype)
    assert torch.equal(map_of(name, gradients * 0, gradients), torch.zeros(2, 5, 5, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, -0.1, 1e-20, 1e6])
@pytest.mark.parametrize("name", METHODS)
def test_constants_give_no_nan(name: str, value: float, dtype: torch.dtype) -> None:
    gradients = positive()[1].to(dtype)
    constant = torch.full_like(gradients, value)
    for pair in ((constant, gradients), (constant, constant)):
        found = map_of(name, *pair)
        assert found.dtype == dtype
        assert found.isfinite().all()


@pytest.mark.parametrize("name", EIGEN_METHODS)
def test_constants_have_no_principal_component(name: str) -> None:
    """Else rounding would be drawn as if it were structure."""
    level = torch.arange(1, 8).float().mul(0.1).view(1, 7, 1, 1).expand(2, 7, 5, 5)
    assert torch.equal(map_of(name, level, torch.full_like(level, 0.3)), torch.zeros(2, 5, 5))


@pytest.mark.parametrize("kind", ["positive", "signed"])
@pytest.mark.parametrize("size", [1e-12, 1e-30])
def test_gradcam_plus_plus_survives_tiny_gradients(size: float, kind: str) -> None:
    """An epsilon drowns the square of the larger; that of the smaller is 0 in float32, as printed it is 0/0."""
    activations, gradients = (one.float() for one in INPUTS[kind]())
    found = map_of("gradcam++", activations, gradients * size)
    # so far from saturation that alpha is 1/2
    expected = (gradients.clamp(min=0).sum(dim=(2, 3), keepdim=True) / 2 * activations).sum(dim=1)
    assert_same(found / size, expected, 1e-5)


@pytest.mark.parametrize("kind", ["positive", "signed", "wide, signed"])
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("gradcam++", "kpcacam")])
def test_map_grows_with_its_input(name: str, kind: str) -> None:
    activations, gradients = INPUTS[kind]()
    expected = map_of(name, activations, gradients)
    assert_same(map_of(name, 4 * activations, gradients), 4 * expected, 1e-9)
    by_gradients = 1 if registry.get_method(name).classless else 8
    assert_same(map_of(name, activations, 8 * gradients), by_gradients * expected, 1e-9)


def test_gradcam_plus_plus_does_not_depend_on_units() -> None:
    """Activations in other units have gradients in the inverse ones, and give the same map."""
    activations, gradients = positive()
    assert_same(
        map_of("gradcam++", 4 * activations, gradients / 4), map_of("gradcam++", activations, gradients), 1e-12
    )


@pytest.mark.parametrize(
    "name", [name for name in METHODS if registry.get_method(name).returns == "contributions"]
)
def test_unsigned_methods_have_no_evidence_against_on_relu_activations(name: str) -> None:
    found = map_of(name, *positive((2, 3, 5, 5)))
    assert (float(found.min()) < 0) == registry.get_method(name).signed


@pytest.mark.parametrize("name", ["gradcam", "xgradcam", "hirescam"])
def test_evidence_for_the_opposite_is_evidence_against(name: str) -> None:
    activations, gradients = signed()
    assert torch.equal(map_of(name, activations, -gradients), -map_of(name, activations, gradients))


# -- identities -------------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """Convolution, global average pooling, one linear layer: what CAM was made for."""

    def __init__(self, relu: bool) -> None:
        super().__init__()
        layers = [("convolution", nn.Conv2d(3, 6, 3, stride=2, padding=1)), ("relu", nn.ReLU())]
        self.features = nn.Sequential(OrderedDict(layers[: 1 + relu]))
        self.head = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.features(inputs).mean(dim=(2, 3)))


@pytest.fixture(params=[True, False], ids=["relu", "signed"])
def pooled(request: pytest.FixtureRequest) -> nn.Module:
    return zoo.redraw(Pooled(request.param))


def explained(module: nn.Module, inputs: Tensor, method: str, target: int) -> Tensor:
    """Through the whole pipeline: the maps of a batch."""
    found = Explainer(module).explain(inputs, [method], [target], ["features"])
    return torch.stack([explanation.heatmap for explanation in found])


@pytest.mark.parametrize("target", range(4))
def test_gradcam_is_cam_on_a_pooled_network(pooled: nn.Module, target: int) -> None:
    inputs = zoo.noise(2, 12, 20)
    with torch.no_grad():
        features = pooled.features(inputs)
        cam = torch.einsum("k,nkhw->nhw", pooled.head.weight[target], features)
    assert not any(zoo.is_flat(one) for one in cam)
    assert_same(explained(pooled, inputs, "gradcam", target) * features[0, 0].numel(), cam, 1e-5)


@pytest.mark.parametrize("method", ["hirescam", "gradcam", "xgradcam"])
def test_evidence_adds_up_to_the_logit_without_its_bias(pooled: nn.Module, method: str) -> None:
    inputs = zoo.noise(3, 12, 20)
    with torch.no_grad():
        expected = pooled(inputs)[:, 1] - pooled.head.bias[1]
    torch.testing.assert_close(explained(pooled, inputs, method, 1).sum(dim=(1, 2)), expected)


class Flattened(Pooled):
    """The linear layer sees each position on its own: only hirescam is faithful here."""

    def __init__(self) -> None:
        super().__init__(relu=True)
        self.head = nn.Linear(6 * 6 * 10, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.features(inputs).flatten(1))


def test_hirescam_alone_adds_up_where_positions_are_not_alike() -> None:
    module, inputs = zoo.redraw(Flattened()), zoo.noise(2, 12, 20)
    with torch.no_grad():
        expected = module(inputs)[:, 1] - module.head.bias[1]
    torch.testing.assert_close(explained(module, inputs, "hirescam", 1).sum(dim=(1, 2)), expected)
    averaged = explained(module, inputs, "gradcam", 1).sum(dim=(1, 2))
    assert not torch.allclose(averaged, expected, rtol=0.01)


@quick
@given(seed=seeds, relu=st.booleans())
def test_xgradcam_conserves(seed: int, relu: bool) -> None:
    """A channel's contributions add up to gradient times activation, whatever the signs."""
    activations, gradients = (positive if relu else signed)((2, 6, 3, 4), seed)
    contributions = registry.get_method("xgradcam").function(activations, gradients)
    expected = (activations * gradients).sum(dim=(2, 3))
    torch.testing.assert_close(contributions.sum(dim=(2, 3)), expected, rtol=1e-9, atol=1e-9)


def test_xgradcam_gives_a_channel_that_adds_up_to_nothing_no_weight() -> None:
    activations = torch.tensor([[1.0, -1.0], [0.0, 0.0], [3.0, 1.0]]).view(1, 3, 1, 2)
    gradients = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 6.0]]).view(1, 3, 1, 2)
    contributions = registry.get_method("xgradcam").function(activations, gradients)
    assert contributions.flatten(1).tolist() == [[0, 0, 0, 0, 9, 3]]


def test_gradcam_plus_plus_weights_are_the_papers_derivatives() -> None:
    """By autograd from the paper's general formula, with score exp(S): no closed form is assumed."""
    coefficients = drawn((3, 2, 2), 5)
    activations = drawn((3, 2, 2), 6).clamp(min=0).requires_grad_()
    score = ((coefficients * activations).sum() / 4).exp()

    def derivative(value: Tensor) -> Tensor:
        """Of each element with respect to itself alone."""
        rows = [
            torch.autograd.grad(one, activations, create_graph=True)[0].flatten()[i]
            for i, one in enumerate(value.flatten())
        ]
        return torch.stack(rows).view_as(activations)

    (first,) = torch.autograd.grad(score, activations, create_graph=True)
    second = derivative(first)
    third = derivative(second)
    alpha = second / (2 * second + activations.sum(dim=(1, 2), keepdim=True) * third)
    weights = (alpha * first.relu()).sum(dim=(1, 2), keepdim=True)
    expected = (weights * activations).sum(dim=0).detach()
    # the method is given the gradient of the logit S, and leaves the factor exp(S) out
    found = map_of("gradcam++", activations.detach()[None], coefficients[None] / 4)[0]
    assert_same(found * score.detach(), expected, 1e-10)


# -- the principal component ------------------------------------------------------------------------------


def rise(projection: Tensor, guide: Tensor) -> Tensor:
    """The covariance of two maps (batch, height, width), but for a factor."""
    centred = guide - guide.mean(dim=(1, 2), keepdim=True)
    return (projection * centred).sum(dim=(1, 2))


@quick
@given(shape=st.tuples(st.integers(1, 2), st.integers(2, 9), st.integers(1, 3), st.integers(2, 4)), seed=seeds)
def test_component_rises_with_its_guide(shape: tuple[int, ...], seed: int) -> None:
    values, guide = drawn(shape, seed), drawn((shape[0], *shape[2:]), seed + 1)
    projection = components.principal_component(values, towards=guide)
    assert (rise(projection, guide) >= 0).all()
    assert torch.equal(components.principal_component(values, towards=-guide), -projection)
    assert torch.equal(components.principal_component(values, towards=guide + 8), projection)
    assert torch.equal(components.principal_component(-values, towards=guide).abs(), projection.abs())


def test_sign_is_chosen_for_each_picture_of_a_batch() -> None:
    values = drawn((1, 4, 3, 3), 0).expand(2, -1, -1, -1)
    guide = drawn((3, 3), 1)
    projection = components.principal_component(values, towards=torch.stack([guide, -guide]))
    assert torch.equal(projection[0], -projection[1])


def test_component_does_not_depend_on_the_level_of_a_channel() -> None:
    values, guide = drawn((2, 4, 3, 3), 0), drawn((2, 3, 3), 1)
    level = 10 * drawn((1, 4, 1, 1), 2)
    expected = components.principal_component(values, towards=guide)
    assert_same(components.principal_component(values + level, towards=guide), expected, 1e-10)


def test_component_keeps_the_dtype() -> None:
    values = drawn((2, 4, 3, 3), 0).float()
    assert components.principal_component(values, towards=values.norm(dim=1)).dtype == torch.float32


@pytest.mark.parametrize(("channels", "count"), [(4, 30), (30, 4), (6, 6), (1, 8), (8, 2)])
def test_leading_projection_is_that_of_a_full_decomposition(channels: int, count: int) -> None:
    points = drawn((2, channels, count), channels)
    points -= points.mean(dim=2, keepdim=True)
    found = components._leading_projection(points)
    for projection, table in zip(found, points.numpy(), strict=True):
        _, sizes, right = np.linalg.svd(table, full_matrices=True)
        expected = torch.from_numpy(sizes[0] * right[0])
        assert_same(projection * torch.sign(projection @ expected), expected, 1e-10)


@pytest.mark.parametrize(("channels", "count"), [(3, 1), (1, 1), (5, 5)])
def test_leading_projection_of_nothing_is_nothing(channels: int, count: int) -> None:
    assert torch.equal(components._leading_projection(torch.zeros(1, channels, count)), torch.zeros(1, count))


def test_the_sign_of_eigencam_where_all_norms_are_equal() -> None:
    """Behind a fresh LayerNorm the strength of activations tells nothing: then the furthest position does."""
    activations = torch.tensor([[3.0, 4], [4, 3], [5, 0], [4, -3], [0, 5]], dtype=torch.float64).T.reshape(
        1, 2, 1, 5
    )
    function = registry.get_method("eigencam").function
    found = function(activations).values
    torch.testing.assert_close(found, function(activations[:, [1, 0]]).values)
    assert found.flatten()[found.abs().argmax()] > 0


def test_what_is_not_finite_gives_no_component_and_leaves_the_others() -> None:
    """Half precision overflows."""
    activations = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    alone = registry.get_method("eigencam").function(activations[1:]).values
    activations[0, 0, 0, 0] = float("inf")
    found = registry.get_method("eigencam").function(activations).values
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1:], alone)
