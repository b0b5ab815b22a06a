"""Modules around a model of a library keep what that says of it, as far as they hand on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

import snapshot
import zoo
from camlucida import Explainer

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
NAMES = ["ant", "bee", "fly"]


@pytest.fixture(scope="module")
def inner(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """A small classifier of transformers in a folder with its processor."""
    folder = tmp_path_factory.mktemp("vit")
    config = ViTConfig(**SMALL, image_size=32, patch_size=8, id2label=dict(enumerate(NAMES)))
    zoo.redraw(ViTForImageClassification(config)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4] * 3).save_pretrained(folder)
    return ViTForImageClassification.from_pretrained(folder)


class Holding(nn.Module):
    """A module around another."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.model = module

    def forward(self, *given: Any, **named: Any) -> Any:
        return self.model.forward(*given, **named)  # as peft's tuners do, past all hooks


class Adapted(nn.Module):
    """Of the shape of peft's: ``base_model.model``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.base_model = Holding(module)

    def forward(self, *given: Any, **named: Any) -> Any:
        return self.base_model(*given, **named)


class Training(Holding):
    """As training frameworks have it: the model, and a loss without weights."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.loss = nn.CrossEntropyLoss()

    def forward(self, batch: Tensor) -> Any:
        return self.model(pixel_values=batch).logits.softmax(dim=1)


HANDING_ON: dict[str, Callable[[nn.Module], nn.Module]] = {
    "base_model.model": Adapted,
    "training": Training,
    "in DataParallel": lambda module: nn.DataParallel(Adapted(module)),
    "of DataParallel": lambda module: Adapted(nn.DataParallel(module)),
    "averaged": torch.optim.swa_utils.AveragedModel,
}


@pytest.mark.parametrize("wrap", HANDING_ON.values(), ids=HANDING_ON)
def test_names_and_preprocessing_of_the_model_inside(inner: nn.Module, wrap: Any) -> None:
    module = wrap(inner)
    before = snapshot.take(module)
    explainer, plain = Explainer(module), Explainer(inner)
    snapshot.assert_same(before, snapshot.take(module))
    photo = Image.effect_noise((40, 40), 60).convert("RGB")
    (found,), (expected,) = explainer.explain(photo, targets=["bee"]), plain.explain(photo, targets=["bee"])
    assert explainer.adapter.labels == NAMES
    assert found.label == "bee"
    if wrap is not Training:
        torch.testing.assert_close(found.heatmap, expected.heatmap)
        assert (found.score, found.provenance.model) == (expected.score, expected.provenance.model)


class Normalising(Holding):
    def forward(self, batch: Tensor) -> Any:
        return self.model((batch - 0.5) / 0.5).logits


class Choosing(Holding):
    def forward(self, batch: Tensor) -> Any:
        return self.model(batch).logits[:, [2, 0]]


class Twice(Holding):
    def forward(self, batch: Tensor) -> Any:
        return self.model(batch).logits + self.model(batch.flip(-1)).logits


def test_what_is_changed_on_the_way_is_not_claimed(inner: nn.Module) -> None:
    own = Explainer(Normalising(inner)).adapter
    assert (own.labels, own.input_size, own.normalisation) == (NAMES, None, None)
    own = Explainer(Choosing(inner)).adapter
    assert (own.labels, own.input_size) == (None, (3, 32, 32))
    for strange in (
        Twice(inner),
        nn.Sequential(timm.create_model("test_resnet", num_classes=0), nn.Linear(96, 3)),
    ):
        own = Explainer(strange).adapter
        assert (own.labels, own.input_size, own.library) == (None, None, "torch")
