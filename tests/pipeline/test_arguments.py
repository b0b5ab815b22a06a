"""One or several, by whatever name: what a person asks for first is understood, or refused with what to say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import camlucida as cl
import zoo
from camlucida import Explainer, PerPicture
from camlucida.errors import LayerError, OptionError, TargetError
from camlucida.methods.registry import get_method


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(zoo.resnet())


ONE: dict[str, dict[str, Any]] = {
    "method": {"methods": "gradcam"},
    "target": {"targets": 4},
    "name of a target": {"targets": "4"},
    "target as a tensor": {"targets": torch.tensor(4)},
    "layer": {"layers": "layer4"},
    "smoothing": {"smooth": "eigen"},
    "for each picture": {"targets": PerPicture([4])},
}


@pytest.mark.parametrize("given", ONE.values(), ids=ONE)
def test_one_where_several_are_taken(explainer: Explainer, given: dict[str, Any]) -> None:
    (one,) = explainer.explain(zoo.noise(), **given)
    (listed,) = explainer.explain(zoo.noise(), **{name: [value] for name, value in given.items()})
    assert torch.equal(one.heatmap, listed.heatmap)
    assert one.manifest() == listed.manifest()


def test_a_layer_may_be_the_module_itself(explainer: Explainer) -> None:
    module = explainer.module
    (one,) = explainer.explain(zoo.noise(), layers=module.get_submodule("layer3"))
    assert one.layer == "layer3"
    copied = Explainer(module, copy=True)
    assert copied.explain(zoo.noise(), layers=[module.get_submodule("layer3")])[0].layer == "layer3"
    for wrong, said in ((torch.nn.ReLU(), "ReLU, which is no part of the model"), (module, "the model itself")):
        with pytest.raises(LayerError, match=said):
            explainer.explain(zoo.noise(), layers=wrong)


@pytest.mark.parametrize("targets", [torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 4]).numpy()])
def test_a_tensor_of_targets_is_not_taken_for_each_in_every_picture(explainer: Explainer, targets: Any) -> None:
    with pytest.raises(TargetError, match=r"PerPicture"):
        explainer.explain(zoo.noise(4), targets=targets)
    found = explainer.explain(zoo.noise(4), targets=PerPicture(targets.tolist()))
    assert [one.index for one in found] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "name", ["GradCAM++", "grad-cam++", "gradcampp", "GradCAMPlusPlus", "grad_cam_plus_plus"]
)
def test_methods_are_known_whatever_their_case_and_punctuation(name: str) -> None:
    assert get_method(name).name == "gradcam++"


@pytest.mark.parametrize("name", ["gradcams", "", "+", "cam3"])
def test_other_names_are_still_refused(name: str) -> None:
    with pytest.raises(OptionError, match="is not known"):
        get_method(name)


WRONG = {
    "without the method": ({"alpha": 0.3}, "'alpha'.*the methods are finercam"),
    "another method": ({"gradcam": {}}, "'gradcam'.*the methods are finercam"),
    "misspelled option": ({"finercam": {"alfa": 0.3}}, "no option 'alfa'"),
    "no options": ({"finercam": 0.3}, "{option: value}, got float"),
}


@pytest.mark.parametrize(("options", "said"), WRONG.values(), ids=WRONG)
def test_options_of_nothing_asked_for_are_refused(explainer: Explainer, options: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        explainer.explain(zoo.noise(), ["finercam"], options=options)


@pytest.mark.parametrize("name", [None, "finercam", "FinerCAM"])
def test_explain_takes_options_and_smoothing(explainer: Explainer, name: str | None) -> None:
    options = {"alpha": 0.3} if name is None else {name: {"alpha": 0.3}}
    one = cl.explain(zoo.noise(), explainer.module, "finercam", options=options, smooth="eigen")
    assert one.provenance.options["alpha"] == 0.3
    assert one.provenance.smooth == ("eigen",)


def test_compare_takes_explainers_names_and_a_layer(explainer: Explainer) -> None:
    sheet = cl.compare(
        zoo.noise(), {"before": explainer, "after": explainer.module}, "gradcam", 4, layer="layer3"
    )
    assert list(sheet.columns) == ["before", "after"]
    assert {one.layer for one in sheet.explanations} == {"layer3"}
    alone = cl.compare(zoo.noise(), explainer, ["GradCAM", "eigencam"])
    assert list(alone.columns) == ["gradcam", "eigencam"]
