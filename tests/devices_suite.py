"""Another device than the CPU, without having one: every method, the drop-in and doctor.

Run by ``test_other_devices`` in a process of its own, since a device changes the whole process.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils import backend_registration
from torchvision.transforms import Compose, Resize, ToTensor

if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch has no devices written in Python", allow_module_level=True)

import elsewhere
import zoo
from camlucida import Explainer, evaluate
from camlucida.compat import pytorch_grad_cam as ours
from camlucida.layers.stages import stages
from camlucida.methods import registry
from camlucida.metrics.registry import all_metrics
from camlucida.pipeline import diagnosis

LAYERS = {"resnet": "layer4", "vit": "blocks.2.norm1", "swin": "norm"}


@cache
def network(family: str, away: bool) -> nn.Module:
    module = zoo.FAMILIES[family]()
    return elsewhere.moved(module) if away else module


@cache
def explainer(family: str, away: bool) -> Explainer:
    return Explainer(network(family, away))


REFUSED = ("vit", "cam")  # no mean over positions follows there
PLAIN = [
    (family, method, ())
    for family in LAYERS
    for method in registry.all_methods()
    if (family, method) != REFUSED
]
SMOOTH = [("resnet", method, ("aug", "eigen")) for method in ("gradcam", "eigencam", "layercam")]


@pytest.mark.parametrize(("family", "method", "smooth"), [*PLAIN, *SMOOTH])
def test_every_method_gives_the_cpus_map(family: str, method: str, smooth: Any) -> None:
    found, expected = (
        explainer(family, away).explain(zoo.noise(), [method], [1], smooth=smooth) for away in (True, False)
    )
    for one, other in zip(found, expected, strict=True):
        assert type(one.heatmap) is torch.Tensor
        assert one.heatmap.device.type == "cpu"
        assert one.layer == other.layer
        largest = float(other.heatmap.nan_to_num().abs().max())
        torch.testing.assert_close(one.heatmap, other.heatmap, rtol=1e-3, atol=1e-4 * largest, equal_nan=True)
        one.overlay()


NONE = {"BaseCAM", "AblationLayer", "AblationLayerVit", "AblationLayerFasterRCNN"}  # have no maps
CLASSES = [name for name in ours.__all__ if hasattr(getattr(ours, name), "forward") and name not in NONE]


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_the_drop_in(name: str) -> None:
    maps = []
    for away in (True, False):
        module = network("resnet", away)
        np.random.seed(0)  # noqa: NPY002 - of RandomCAM
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            batch = elsewhere.Elsewhere(zoo.noise()) if away else zoo.noise()
            maps.append(getattr(ours, name)(module, [module.layer4])(batch))
    assert np.abs(maps[0] - maps[1]).max() < 1e-3


def small(away: bool) -> nn.Module:
    body = (nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
    module = zoo.redraw(nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)))
    return elsewhere.moved(module) if away else module


def test_evaluating_with_measures_of_every_need(tmp_path: Path) -> None:
    """One measure for all that ask for the same; the numbers are the CPU's up to rounding."""
    of_needs = {frozenset(one.needs): name for name, one in all_metrics().items()}
    Image.effect_noise((24, 24), 60).convert("RGB").save(tmp_path / "one.png")
    (tmp_path / "boxes.csv").write_text("path,label,box\none.png,3,3 3 16 20\n", encoding="utf-8")
    preprocess = Compose([Resize((24, 24)), ToTensor()])
    found, expected = (
        evaluate(
            tmp_path / "boxes.csv", small(away), ["gradcam"], list(of_needs.values()), preprocess=preprocess
        )
        for away in (True, False)
    )
    assert not found.failed
    assert len(found.rows) == len(expected.rows) > 1
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert row.values.keys() == other.values.keys()
        assert dict(row.values) == pytest.approx(dict(other.values), rel=0.02, abs=0.02, nan_ok=True)


def test_recommending_layers() -> None:
    found, expected = (
        stages(explainer.inspector, diagnosis.noise_for(explainer))
        for explainer in (Explainer(network("resnet", away)) for away in (True, False))
    )
    assert found == expected != []


def test_the_doctor_and_an_evaluation() -> None:
    explainer, plain = Explainer(network("resnet", True)), Explainer(network("resnet", False))
    picture, other = (diagnosis.noise_for(one) for one in (explainer, plain))
    facts, expected = dict(diagnosis.facts(explainer, picture, 1.0)), dict(diagnosis.facts(plain, other, 1.0))
    assert [facts[name] for name in ("layer", "layout")] == [expected[name] for name in ("layer", "layout")]
    assert diagnosis.check_method(explainer, picture, "gradcam", 1.0)
    choice = explainer.inspector.default(picture)
    assert diagnosis.places(explainer, picture, choice)["layer4"].device.type == "cpu"
