"""Explainers in other processes: pickled, copied, and in the workers of a DataLoader."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

import zoo
from camlucida import Explainer

WAYS: dict[str, Callable[[Explainer], Explainer]] = {
    "pickle": lambda explainer: pickle.loads(pickle.dumps(explainer)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def first_of(output: Any) -> Tensor:
    found: Tensor = output
    return found


def as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def small() -> nn.Module:
    body = (nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
    return zoo.redraw(nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)))


def photo() -> Image.Image:
    return Image.effect_noise((70, 70), 60).convert("RGB")


MADE: dict[str, Callable[[], Explainer]] = {
    "plain": lambda: Explainer(small()),
    "a copy": lambda: Explainer(small(), copy=True),
    "own functions": lambda: Explainer(small(), logits_of=first_of, reshape=as_it_is),
    "timm": lambda: Explainer("test_resnet", weights="random", cache=False),
}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made", MADE)
def test_it_goes_on_as_before(made: str, way: str, used: bool) -> None:
    explainer = MADE[made]()
    picture = zoo.noise(1)[0] if explainer.adapter.library == "torch" else photo()
    layers = ["2"] if made == "own functions" else [None]
    if used:
        explainer.explain(picture, layers=layers)
    other = WAYS[way](explainer)
    (expected,), (found,) = (one.explain(picture, layers=layers) for one in (explainer, other))
    torch.testing.assert_close(found.heatmap, expected.heatmap)
    assert found.layer == expected.layer


def test_an_image_processor_goes_along(tmp_path: Any) -> None:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    zoo.redraw(ViTForImageClassification(ViTConfig(**sizes, image_size=32, patch_size=8))).save_pretrained(
        tmp_path
    )
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    explainer = Explainer(ViTForImageClassification.from_pretrained(tmp_path))
    picture = photo()
    (expected,), (found,) = (one.explain(picture) for one in (explainer, WAYS["pickle"](explainer)))
    torch.testing.assert_close(found.heatmap, expected.heatmap)


def test_a_function_that_cannot_be_pickled_is_named() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(Explainer(small(), logits_of=lambda output: output))


class Maps(Dataset[Tensor]):
    """Explained in the workers."""

    def __init__(self, explainer: Explainer) -> None:
        self.explainer = explainer

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        return self.explainer.explain(zoo.noise(1, seed=index)[0])[0].heatmap


def test_the_workers_of_a_loader() -> None:
    maps = Maps(Explainer(small()))
    loader = DataLoader(maps, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    (found,) = list(loader)
    torch.testing.assert_close(found, torch.stack([maps[0], maps[1]]), rtol=1e-4, atol=1e-6)
