"""What methods declare is checked when they are registered, and holds in any number of dimensions."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from camlucida import Explainer
from camlucida.capture.captures import LayerCapture
from camlucida.heatmaps.combine import reduce
from camlucida.heatmaps.examine import WithFindings
from camlucida.methods import registry
from camlucida.methods.registry import FIELDS, all_methods, get_method, method, method_of
from camlucida.metrics.registry import all_metrics
from camlucida.metrics.registry import metric as register_metric
from camlucida.registry import Paper

NOBODY = Paper("", 0, "", "")


@pytest.fixture
def registered() -> Iterator[dict[str, Any]]:
    """What is registered, as it was afterwards."""
    entries = registry._METHODS._entries
    before = dict(entries)
    yield entries
    entries.clear()
    entries.update(before)


def test_the_fields_that_methods_can_need_are_those_of_a_capture() -> None:
    assert set(FIELDS) == {field.name for field in fields(LayerCapture)}


def test_a_need_that_no_capture_has_is_refused_at_once(registered: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="did you mean 'gradients'"):

        @method("mine")
        def mine(activations: Tensor, gradient: Tensor) -> Tensor:
            return activations * gradient

    assert "mine" not in registered
    with pytest.raises(ValueError, match="did you mean 'heatmap'"):

        @register_metric("mine", family="sanity", paper=NOBODY, better="lower", bounds=(0, 1))
        def other(heatmaps: Tensor) -> float:
            return float(heatmaps.mean())

    assert "mine" not in all_metrics()


@pytest.mark.usefixtures("registered")
def test_a_method_that_is_registered_late_is_found() -> None:
    assert "mine" not in all_methods()

    @method("mine")
    def mine(activations: Tensor, *, power: int = 2) -> Tensor:
        """Powers.

        power: which
        """
        return activations**power

    assert "mine" in all_methods()
    explainer = Explainer(zoo.resnet())
    (found,) = explainer.explain(zoo.noise(), "mine", [1], options={"mine": {"power": 1}})
    activations = explainer.capture(zoo.noise())["layer4"][0].activations
    torch.testing.assert_close(found.heatmap, activations.sum(dim=1)[0])
    assert repr(get_method("mine")) == "<method mine(activations, power=2)>"
    with pytest.raises(ValueError, match="already registered"):
        method("mine")(mine)


def test_a_method_needs_no_registration() -> None:
    def own(activations: Tensor, gradients: Tensor) -> Tensor:
        return activations * gradients

    found = Explainer(zoo.resnet()).explain(zoo.noise(), [method_of(own, "own"), "hirescam"], [1])
    assert torch.equal(found[0].heatmap, found[1].heatmap)


def test_what_methods_declare_is_what_they_are() -> None:
    by = dict(all_methods())
    assert {name for name, one in by.items() if one.scope == "network"} == {"fullgrad"}
    assert {name for name, one in by.items() if one.classless} == {"eigencam", "kpcacam", "fem", "random"}
    assert {name for name, one in by.items() if one.control} == {"random"}
    for name, one in by.items():
        assert ("activations" in one.needs) == (one.scope == "layer"), name
        assert not (one.classless and "gradients" in one.needs), name


SHAPES = {1: (2, 4, 6), 3: (2, 4, 3, 2, 2)}
ANY_DIMENSION = [
    name
    for name, one in all_methods().items()
    if set(one.needs) <= {"activations", "gradients", "hessian_products"} and name not in ("cam",)
]


@pytest.mark.parametrize("dimensions", SHAPES)
@pytest.mark.parametrize("name", ANY_DIMENSION)
def test_positions_are_all_axes_behind_the_channels(name: str, dimensions: int) -> None:
    """As many positions in a row, or in a volume, give the numbers that they give in a plane."""
    shape = SHAPES[dimensions]
    plane = (*shape[:2], 3, -1)
    draws = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    known = dict(zip(("activations", "gradients", "hessian_products"), draws, strict=True))
    one = get_method(name)

    def maps(form: tuple[int, ...]) -> Tensor:
        given = [known[need].reshape(form) for need in one.needs]
        result = one.function(*given)
        values = result.values if isinstance(result, WithFindings) else result
        return values if one.returns == "heatmap" else reduce(values)

    found, expected = maps(shape), maps(plane)
    assert found.shape == (shape[0], *shape[2:])
    torch.testing.assert_close(found.flatten(1), expected.flatten(1), rtol=1e-5, atol=1e-6)
