"""Models of one channel: grey pictures of any depth, and errors that say what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import camlucida
from camlucida.errors import OptionError
from camlucida.images import load

NOISE = np.random.default_rng(0).integers(0, 256, (40, 48)).astype(np.uint8)
GREY = {
    "L": Image.fromarray(NOISE),
    "I;16": Image.fromarray(NOISE.astype(np.uint16) * 257),
    "RGB": Image.fromarray(NOISE).convert("RGB"),
}
STEPS = (transforms.Resize((32, 32)), transforms.ToTensor())


def net(channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize("mode", GREY)
@pytest.mark.parametrize("preprocess", ["steps", "grayscale", "numbers"])
def test_a_grey_picture_reaches_a_model_of_one_channel(mode: str, preprocess: str) -> None:
    normalise = transforms.Normalize([0.5], [0.5])
    given: Any = {
        "steps": transforms.Compose([*STEPS, normalise]),
        "grayscale": transforms.Compose([transforms.Grayscale(), *STEPS, normalise]),
        "numbers": {"size": 32, "crop": "squash", "mean": 0.5, "std": 0.5},
    }[preprocess]
    explainer = camlucida.Explainer(net(), preprocess=given)
    assert explainer.explain(GREY[mode])[0].frame.view == (32, 32)
    wanted = (STEPS[1](STEPS[0](GREY["L"])) - 0.5) / 0.5
    torch.testing.assert_close(explainer.preprocess(load(GREY[mode]))[0], wanted)


def test_steps_for_colours_are_refused_with_what_to_do() -> None:
    colours = transforms.Compose([*STEPS, transforms.Normalize([0.5] * 3, [0.5] * 3)])
    with pytest.raises(OptionError, match=r"Normalize.* one channel, as the model takes"):
        camlucida.explain(GREY["L"], net(), preprocess=colours)
    three = transforms.Compose([transforms.Grayscale(3), *STEPS])
    with pytest.raises(OptionError, match=r"gives 3 channels and the model takes 1: .*Grayscale\(1\)"):
        camlucida.explain(GREY["L"], net(), preprocess=three)


def test_a_model_that_repeats_its_channel_is_left_alone() -> None:
    class Repeats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(3)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.net(pictures.expand(-1, 3, -1, -1))

    grey = transforms.Compose([transforms.Grayscale(), *STEPS])
    assert camlucida.explain(GREY["RGB"], Repeats(), preprocess=grey).frame.view == (32, 32)


def test_a_checkpoint_of_one_channel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", in_chans=1, num_classes=3).state_dict(), tmp_path / "grey.pt")
    explainer = camlucida.Explainer(f"test_resnet@{tmp_path / 'grey.pt'}")
    assert explainer.adapter.input_size is not None
    assert explainer.adapter.input_size[0] == 1
    assert explainer.explain(GREY["L"])[0].heatmap.isfinite().all()
