"""Metrics of maps that one has, and accumulators as in torchmetrics."""

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import camlucida as cl
import zoo
from camlucida.errors import OptionError, TargetError
from camlucida.evaluation.evaluator import Evaluator, TensorItem
from camlucida.evaluation.run import map_sources, metrics_of
from camlucida.images.frame import EVEN
from camlucida.metrics import Accumulator
from camlucida.metrics.registry import all_metrics
from zoo import driver

MASK = torch.zeros(zoo.SIZE, zoo.SIZE, dtype=torch.bool)
MASK[16:40, 20:50] = True
BY_OTHER_MAPS = ("random_logit", "class_sensitivity", "randomisation")  # which a single map does not tell
OF_OTHER_INPUTS = ("max_sensitivity", "coherency", "adcc")


@pytest.fixture(scope="module")
def explainer() -> cl.Explainer:
    return cl.Explainer(zoo.resnet())


@pytest.fixture(scope="module")
def row(explainer: cl.Explainer) -> Any:
    """What an evaluation says of gradcam's map, by all metrics."""
    evaluator = Evaluator(explainer, map_sources(["gradcam"], controls=False), metrics_of(list(all_metrics())))
    return evaluator.rows(TensorItem("x", zoo.noise()[0], 3, MASK))[0]


@pytest.mark.parametrize("name", [name for name in all_metrics() if name not in BY_OTHER_MAPS])
def test_a_map_that_one_has_is_worth_what_an_evaluation_says(
    explainer: cl.Explainer, row: Any, name: str
) -> None:
    image = zoo.noise()[0]
    explanation = explainer.explain(image, targets=3)[0]

    def explain(inputs: Tensor) -> Tensor:
        return explainer.explain(inputs, targets=3).heatmaps()

    more = {"explain": explain} if name in OF_OTHER_INPUTS else {}
    value = getattr(cl.metrics, name)(explanation, explainer, image, 3, mask=MASK, **more)
    assert value == pytest.approx(row.values[name], rel=1e-4, nan_ok=True)


def test_an_explanation_knows_where_its_cells_lie() -> None:
    """Behind unpadded convolutions they do not cover the input evenly."""
    module = driver()
    module(zoo.noise(1, 66, 200))  # lazy layers
    explainer, image = cl.Explainer(zoo.redraw(module)), zoo.noise(1, 66, 200)[0]
    evaluator = Evaluator(explainer, map_sources(["gradcam"], controls=False), metrics_of(["deletion"]))
    expected = evaluator.rows(TensorItem("x", image, 1))[0].values["deletion"]
    (one,) = explainer.explain(image, targets=1)
    assert one.frame.cells != EVEN
    assert cl.metrics.deletion(one, explainer, image, 1) == pytest.approx(expected, rel=1e-6)
    assert cl.metrics.deletion(one.heatmap, explainer, image, 1) != pytest.approx(expected, rel=1e-6)


def test_maps_of_any_kind_and_size(explainer: cl.Explainer) -> None:
    image = zoo.noise()[0]
    heatmap = torch.rand(zoo.SIZE, zoo.SIZE, generator=torch.Generator().manual_seed(0))
    expected = cl.metrics.deletion(heatmap, explainer, image, 3, steps=8)
    assert cl.metrics.deletion(heatmap.numpy().astype(np.float64), explainer, image, 3, steps=8) == expected
    assert cl.metrics.deletion(heatmap, explainer.module, image, 3, steps=8) == expected
    coarse = torch.rand(7, 7, generator=torch.Generator().manual_seed(0))
    larger = torch.nn.functional.interpolate(coarse[None, None], (64, 64), mode="bilinear")[0, 0]
    found = [cl.metrics.deletion(one, explainer, image, steps=8) for one in (coarse, larger)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_what_does_not_fit_is_refused(explainer: cl.Explainer) -> None:
    image, heatmap = zoo.noise()[0], torch.rand(8, 8)
    with pytest.raises(OptionError, match=r"\(height, width\), got \(2, 8, 8\)"):
        cl.metrics.deletion(torch.rand(2, 8, 8), explainer, image)
    with pytest.raises(OptionError, match="no option 'stepps'"):
        cl.metrics.deletion(heatmap, explainer, image, stepps=3)
    with pytest.raises(TargetError, match="classes 0 to 9"):
        cl.metrics.deletion(heatmap, explainer, image, 10)
    with pytest.raises(OptionError, match="needs masks"):
        cl.metrics.pointing_game(heatmap, explainer, image)
    for name in (*BY_OTHER_MAPS, "max_sensitivity"):
        with pytest.raises(OptionError, match=f"{name} asks the method for more maps"):
            getattr(cl.metrics, name)(heatmap, explainer, image)
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = cl.metrics.nonesuch


def test_an_accumulator_takes_maps_one_by_one(explainer: cl.Explainer) -> None:
    inputs = zoo.noise(4)
    maps = explainer.explain(inputs, targets=3)
    whole = Accumulator("insertion", explainer, steps=8)
    values = [whole.update(one, image, 3) for one, image in zip(maps, inputs, strict=True)]
    assert whole.values == values
    assert whole.compute() == pytest.approx(sum(values) / 4)
    parts = [Accumulator("insertion", explainer, steps=8) for _ in range(2)]
    for i, (one, image) in enumerate(zip(maps, inputs, strict=True)):
        parts[i % 2].update(one, image, 3)
    parts[0].merge(pickle.loads(pickle.dumps(parts[1])))
    assert parts[0].compute() == pytest.approx(whole.compute())
    assert repr(whole) == "<insertion, steps=8, baseline='blur' of 4 maps of resnet10t>"
    with pytest.raises(OptionError, match="one metric"):
        whole.merge(Accumulator("insertion", explainer, steps=9))
    whole.reset()
    assert whole.values == []
    assert math.isnan(whole.compute())


def test_the_model_comes_back_as_it_was(explainer: cl.Explainer) -> None:
    explainer.module.train()
    cl.metrics.insertion(torch.rand(8, 8), explainer, zoo.noise()[0], steps=4)
    assert explainer.module.training
    explainer.module.eval()


def test_metrics_are_listed() -> None:
    assert set(all_metrics()) < set(dir(cl.metrics))
    assert "Petsiuk" not in (cl.metrics.insertion.__doc__ or "Petsiuk")
