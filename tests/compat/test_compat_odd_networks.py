"""The drop-in on networks whose grids no one stride makes, and on outputs without an axis of classes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from test_compat import same
from torch import Tensor, nn
from torch.nn import functional

import zoo
from by_hand import assert_near
from camlucida import Explainer
from camlucida.compat import pytorch_grad_cam as ours
from camlucida.compat.pytorch_grad_cam.utils.model_targets import (
    BinaryClassifierOutputTarget,
    ClassifierOutputTarget,
    RawScoresOutputTarget,
)
from camlucida.errors import ModelError, OptionError, TargetError
from zoo import driver, lenet


@pytest.fixture(autouse=True)
def _warnings_may_be() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


class Convolved(nn.Module):
    """A convolution of the module's own, which says nothing of channels."""

    def __init__(self, channels: int, made: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(made, channels, 3, 3))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.elu(functional.conv2d(maps, self.weight, stride=(2, 1)))


class Resized(nn.Module):
    """Pads the picture to a square, if asked, and resizes it."""

    def __init__(self, padded: bool) -> None:
        super().__init__()
        self.body, self.padded = pooled(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 12, 3, 2, 1)), padded

    def forward(self, batch: Tensor) -> Tensor:
        height, width = batch.shape[-2:]
        if self.padded:
            batch = functional.pad(batch, (0, max(0, height - width), 0, max(0, width - height)))
        return self.body(functional.interpolate(batch, (32, 32), mode="bilinear"))


def pooled(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(5))


NETWORKS: dict[str, tuple[Callable[[int, int], nn.Module], list[tuple[int, int]]]] = {
    "unpadded": (driver, [(66, 200), (120, 160)]),
    "lenet": (lenet, [(60, 160), (64, 128), (31, 45)]),
    "uneven": (
        lambda *_: pooled(
            nn.Conv2d(3, 16, 3, (2, 1)), nn.ReLU(), nn.Conv2d(16, 16, (5, 3), (1, 3)), nn.MaxPool2d((1, 2))
        ),
        [(60, 160), (32, 32)],
    ),
    "one row": (lambda height, _: pooled(nn.Conv2d(3, 16, (height, 3), (1, 2)), nn.ReLU()), [(16, 64)]),
    "functions": (lambda *_: pooled(Convolved(3, 12), Convolved(12, 24)), [(66, 200), (31, 45)]),
    "resized": (lambda *_: Resized(False), [(24, 48), (8, 8), (64, 48)]),
    "letterbox": (lambda *_: Resized(True), [(24, 48), (64, 48)]),
}
CASES = [(name, size) for name, (_, sizes) in NETWORKS.items() for size in sizes]


@pytest.mark.parametrize(("name", "size"), CASES)
def test_every_layer_with_positions_gives_the_peers_map(name: str, size: tuple[int, int]) -> None:
    picture, module = zoo.noise(2, *size), NETWORKS[name][0](*size)
    returned = []
    for layer, part in module.named_modules():
        part.register_forward_hook(lambda *seen, layer=layer: returned.append((layer, seen[-1].shape)))
    module(picture[:1])
    module = zoo.redraw(module)
    layers = [layer for layer, shape in returned if layer and len(shape) == 4 and max(shape[2:]) > 1]
    assert len(layers) >= 2
    for part in module.modules():
        part._forward_hooks.clear()
    for layer in (layers[0], layers[-1]):
        maps = []
        for package in (ours, peer):
            copied = copy.deepcopy(module)
            maps.append(package.LayerCAM(copied, [copied.get_submodule(layer)])(picture, None))
        assert same(*maps), layer


class Squeezed(nn.Module):
    def __init__(self, squeeze: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.squeeze = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), squeeze
        self.head = nn.Linear(8, 1)
        zoo.redraw(self)

    def forward(self, batch: Tensor) -> Tensor:
        return self.squeeze(self.head(self.body(batch).mean(dim=(2, 3))))


WAYS = {"all": torch.squeeze, "classes": lambda logits: logits[:, 0], "none": lambda logits: logits}
TARGETS: list[Any] = [None, ClassifierOutputTarget(0), BinaryClassifierOutputTarget(1), RawScoresOutputTarget()]


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_one_logit_with_or_without_its_axes(way: str, pictures: int) -> None:
    module, plain, batch = Squeezed(WAYS[way]), Squeezed(WAYS["none"]), zoo.noise(pictures, 32, 32)
    theirs = peer.GradCAM(plain, [plain.body])(batch, [ClassifierOutputTarget(0)] * pictures)
    for target in TARGETS:
        targets = None if target is None else [target] * pictures
        assert same(ours.GradCAM(module, [module.body])(batch, targets), theirs)
    for one, other in zip(Explainer(module).explain(batch), Explainer(plain).explain(batch), strict=True):
        assert_near(one.heatmap, other.heatmap.double())


def test_a_loss_of_the_batch_is_one_number_of_a_picture_alone() -> None:
    module, plain, batch = Squeezed(torch.sum), Squeezed(WAYS["none"]), zoo.noise(2, 32, 32)
    with pytest.raises(ModelError, match="returns 1 rows for a batch of 2"):
        ours.GradCAM(module, [module.body])(batch, None)
    for one, other in zip(Explainer(module).explain(batch), Explainer(plain).explain(batch), strict=True):
        assert_near(one.heatmap, other.heatmap.double())


def test_two_names_for_one_logit_are_told_what_to_do() -> None:
    module, picture = Squeezed(WAYS["none"]), zoo.noise(1, 32, 32)
    with pytest.raises(OptionError, match=r"one logit.*labels=\['malignant'\].*-logits\[:, 0\]"):
        Explainer(module, labels=["benign", "malignant"]).explain(picture)
    with pytest.raises(TargetError, match=r"one logit: class 0 .*-logits\[:, 0\]"):
        Explainer(module, labels=["benign", "malignant"]).explain(picture, targets=["malignant"])
    against = lambda logits: -logits[:, 0]  # noqa: E731 - as the message says
    one, other = Explainer(module, labels=["malignant"]).explain(picture, targets=["malignant", against])
    assert np.allclose(one.heatmap, -other.heatmap)
