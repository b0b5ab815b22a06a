"""What the commands take, Python takes; and every public object is one readable line."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import camlucida as cl
import zoo
from camlucida.errors import LayerError, OptionError, TargetError
from camlucida.evaluation.api import Plan, measured
from camlucida.evaluation.dataset import items_in

NUMBERS = {"size": zoo.SIZE, "mean": 0.5, "std": 0.5}


@pytest.fixture(scope="module")
def explainer() -> cl.Explainer:
    return cl.Explainer(zoo.resnet(), preprocess=NUMBERS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def values(evaluation: Any) -> dict[tuple[str, str], Any]:
    return {(row.path, row.source): row.values for row in evaluation.rows}


def test_evaluating_takes_layers_options_and_a_folder_to_go_on_in(
    explainer: cl.Explainer, photos: Path, tmp_path: Path
) -> None:
    options = {"GradCAM++": {}, "insertion": {"steps": 4}}
    how: dict[str, Any] = {"layers": ["layer3", "layer4"], "options": options, "seed": 3, "out": tmp_path}
    found = cl.evaluate(photos, explainer, "gradcam++", "insertion", **how)
    assert {row.source for row in found.rows} >= {"gradcam++ layer3", "gradcam++ layer4"}
    assert found.request["measures"]["insertion"]["steps"] == 4
    assert found.request["seed"] == 3
    again = cl.evaluate(photos, explainer, "gradcam++", "insertion", **how)
    assert values(again) == values(found)
    assert again.asked == 0, "nothing is measured again"
    plan = Plan(["gradcam++"], ["layer3", "layer4"], ["insertion"], options, seed=3)
    assert values(measured(explainer, items_in(photos, None), plan)) == values(found)
    with pytest.raises(OptionError, match="options are given for 'layercam', but methods and metrics are"):
        cl.evaluate(photos, explainer, "gradcam", "insertion", options={"layercam": {}})


def test_recommending(explainer: cl.Explainer, photos: Path) -> None:
    found = cl.recommend(
        photos, explainer, ["gradcam", "layercam"], "insertion", options={"insertion": {"steps": 4}}
    )
    ranks = [one.rank for one in found.ranked]
    assert ranks == sorted(ranks)
    assert len({one.source.split()[1] for one in found.ranked}) == 3, "three layers"
    assert str(found).splitlines()[1].startswith("best")
    assert repr(found) == f"<Recommendation of {found.ranked[0].source}, from 3 pictures>"


def test_the_doctor() -> None:
    found = cl.doctor(zoo.resnet(), preprocess=NUMBERS)
    assert dict(found.facts)["custody"] == "the model came back as it was"
    outcomes = {one.method: one for one in found.methods}
    assert outcomes["gradcam"].refused == ""
    assert "gradcam             works" in str(found)


def test_the_explainer_has_a_signature() -> None:
    parameters = inspect.signature(cl.Explainer).parameters
    assert {"weights", "device", "preprocess", "batch_size", "labels", "activation"} < set(parameters)
    assert all(one.kind is not one.VAR_KEYWORD for one in parameters.values())
    documented = inspect.getdoc(cl.Explainer) or ""
    assert all(f"{name}: " in documented for name in parameters)


def test_layers_to_fuse_may_be_a_tuple(explainer: cl.Explainer) -> None:
    module = explainer.module
    names = ("layer3", module.get_submodule("layer4"))
    one, other = explainer.explain(zoo.noise(), layers=[names, "layer3+layer4"])
    assert one.layer == other.layer == "layer3+layer4"
    assert torch.equal(one.heatmap, other.heatmap)
    with pytest.raises(LayerError, match="inside the model"):
        explainer.explain(zoo.noise(), layers=[("layer3", torch.nn.ReLU())])


def test_a_name_with_a_plus_is_a_name_where_there_is_such_a_layer() -> None:
    module = torch.nn.Sequential()
    module.add_module("a+b", torch.nn.Conv2d(3, 4, 3))
    module.add_module("b", torch.nn.ReLU())
    module.add_module(
        "c", torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    )
    explainer = cl.Explainer(zoo.redraw(module))
    (one,) = explainer.explain(zoo.noise(), layers="a+b")
    assert one.layer == "a+b"
    assert torch.equal(
        one.heatmap, explainer.explain(zoo.noise(), layers=module.get_submodule("a+b"))[0].heatmap
    )
    with pytest.raises(LayerError, match="'a'"):
        explainer.explain(zoo.noise(), layers="a+c")


def test_a_negative_class_is_told_how_to_count(explainer: cl.Explainer) -> None:
    with pytest.raises(TargetError, match="class indices start at 0, got -1: give 0"):
        explainer.explain(zoo.noise(), targets="-1")


def test_every_public_object_is_one_line(explainer: cl.Explainer, photos: Path) -> None:
    explanations = explainer.explain(zoo.noise())
    capture = explainer.capture(zoo.noise())
    objects = [
        *(explainer, explainer.adapter, explanations, explanations[0], capture, capture["layer4"][0]),
        cl.compare(zoo.noise()[0], explainer),
        cl.evaluate(photos, explainer, "gradcam", "entropy"),
        cl.metrics.Accumulator("entropy", explainer),
        *(cl.TopClass(), cl.ClassScore(1), cl.Contrast(1, 2), cl.PerPicture([1])),
    ]
    for one in objects:
        line = repr(one)
        assert "\n" not in line
        assert len(line) < 120, line
        assert "tensor(" not in line
    assert repr(capture) == "<BatchCapture of (1, 10) outputs at layer4>"
    assert repr(capture["layer4"][0]) == "<LayerCapture of (1, 512, 2, 2): activations, gradients>"
