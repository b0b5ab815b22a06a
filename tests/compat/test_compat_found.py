"""The drop-in for pytorch-grad-cam where a fresh pair of eyes found it wanting."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as peer
import timm
import torch
from test_compat import CLASSES, same
from torch import Tensor, nn

import zoo
from camlucida.compat import pytorch_grad_cam as ours
from camlucida.compat.pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from camlucida.errors import LayerError, ModelError, OptionError, TargetError

ONE, TWO = [ClassifierOutputTarget(1)], [ClassifierOutputTarget(1), ClassifierOutputTarget(2)]


@pytest.fixture(autouse=True)
def _warnings_may_be() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def cnn() -> nn.Module:
    return zoo.redraw(
        nn.Sequential(
            *(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        )
    )


def beside_the_peer(name: str, make: Any, picture: Tensor, targets: Any, **named: Any) -> list[np.ndarray]:
    """Of ours and of the peer, each on a copy of its own; ``make(module)`` gives the layers."""
    maps = []
    for package in (ours, peer):
        module = cnn()
        maps.append(getattr(package, name)(module, make(module), **named)(picture, targets))
    return maps


def test_channels_are_never_drawn_as_columns() -> None:
    """Where the grid is 1×1 nothing in the shape (1, 1, 1, 8) tells the channels: that is said, not guessed."""
    net = timm.models.convnext.ConvNeXt(depths=(1,) * 4, dims=(8,) * 4, num_classes=5).eval()
    layers = [net.stages[3].blocks[0].norm]
    with pytest.raises(LayerError, match="fits no grid"):
        ours.GradCAM(net, layers)(zoo.noise(1, 32, 32), ONE)
    assert not ours.GradCAM(net, layers, lambda t: t.permute(0, 3, 1, 2))(zoo.noise(1, 32, 32), ONE).any()


def test_what_is_read_does_not_depend_on_calls_before_or_other_layers() -> None:
    """At 32 pixels 8 channels of 8×8 may be read in two ways; at 4 pixels one position is no grid."""
    module = cnn()
    cam = ours.GradCAM(module, [module[5]])
    for size in (4, 32, 4):
        assert cam(zoo.noise(1, size, size), ONE).shape == (1, size, size)
    picture = zoo.noise(1, 32, 32)
    found, theirs = beside_the_peer("LayerCAM", lambda net: [net[6], net[5]], picture, ONE)
    assert same(found, theirs)


def test_strides_may_differ() -> None:
    net = zoo.redraw(
        nn.Sequential(nn.Conv2d(3, 40, 3, (4, 1), 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    picture = zoo.noise(1, 32, 32)
    copied = copy.deepcopy(net)
    theirs = peer.LayerCAM(copied, [copied[1]])(picture, ONE)
    assert same(ours.LayerCAM(net, [net[1]])(picture, ONE), theirs)


@pytest.mark.parametrize("name", CLASSES)
def test_a_layer_can_stand_there_twice(name: str) -> None:
    module, picture = cnn(), zoo.noise(2, 32, 32)
    np.random.seed(0)  # noqa: NPY002 - of RandomCAM
    once = getattr(ours, name)(module, [module[5]])(picture, TWO)
    if name in ("RefineCAM", "RandomCAM"):  # a square of the map, another draw
        assert getattr(ours, name)(module, [module[5], module[5]])(picture, TWO).shape == once.shape
    else:
        assert same(getattr(ours, name)(module, [module[5], module[5]])(picture, TWO), once)
    assert getattr(ours, name)(module, [module[5], module[2], module[5]])(picture, TWO).shape == once.shape


class Yolo(nn.Module):
    """Returns predictions in a list, with what they were made of."""

    def __init__(self) -> None:
        super().__init__()
        self.body = zoo.redraw(nn.Sequential(*cnn()[:6], nn.Conv2d(8, 4, 1)))

    def forward(self, picture: Tensor) -> list[Any]:
        maps = self.body(picture)
        return [maps.flatten(2), [maps]]


@pytest.mark.parametrize("name", ["EigenCAM", "FEM", "KPCA_CAM"])
def test_where_no_score_is_looked_at_none_is_needed(name: str) -> None:
    net, picture = Yolo(), zoo.noise(1, 32, 32)
    wanted = getattr(ours, name)(net, [net.body[5]])(picture, [lambda _: torch.zeros(())])
    assert wanted.any()
    assert np.array_equal(getattr(ours, name)(net, [net.body[5]])(picture), wanted)
    assert np.array_equal(getattr(ours, name)(net.body, [net.body[5]])(picture, [lambda _: 0.0]), wanted)


def test_a_list_is_read_as_the_peer_reads_it() -> None:
    net, picture = Yolo(), zoo.noise(1, 32, 32)
    target = [lambda output: output[..., 2].sum()]
    found = ours.LayerCAM(net, [net.body[5]])(picture, target)
    copied = copy.deepcopy(net)
    assert same(found, peer.LayerCAM(copied, [copied.body[5]])(picture, target))


def test_what_is_no_tensor_is_said() -> None:
    class Named(Yolo):
        def forward(self, picture: Tensor) -> Any:
            return {"a": self.body(picture), "b": self.body(picture)}

    net = Named()
    with pytest.raises(ModelError, match="wrap it in a module"):
        ours.GradCAM(net, [net.body[5]])(zoo.noise(1, 32, 32), ONE)


def test_forks_find_the_names_that_they_use() -> None:
    module, picture = cnn(), zoo.noise(2, 32, 48)
    cam = ours.GradCAM(module, [module[5]])
    assert cam.get_target_width_height(picture) == (48, 32)
    assert (cam.detach, cam.compute_input_gradient) == (True, False)
    seen = ours.ActivationsAndGradients(module, [module[5]], None)
    with pytest.raises(OptionError, match="super"):
        seen(picture)
    assert ours.FinerCAM(module, [module[5]]).uses_gradients

    class Fork(ours.GradCAM):
        def forward(self, input_tensor: Tensor, targets: Any, eigen_smooth: bool = False) -> Any:
            return super().forward(input_tensor, targets, eigen_smooth) / 2

        def compute_cam_per_layer(self, *given: Any) -> Any:
            activations = self.activations_and_grads.activations[0].numpy()
            return [np.abs(activations).mean(axis=1)[:, None]]

    assert Fork(module, [module[5]])(picture, TWO).max() == 0.5


@pytest.mark.parametrize("base", ["FinerCAM", "GradCAM", "partial"])
def test_refinecam_multiplies_whatever_its_base(base: str) -> None:
    picture, maps = zoo.noise(2, 32, 32), []
    for package in (ours, peer):
        module = cnn()
        method = functools.partial(package.GradCAM) if base == "partial" else getattr(package, base)
        maps.append(package.RefineCAM(module, [module[2], module[5]], base_method=method)(picture, TWO))
    assert same(*maps)


def test_threads_do_not_get_each_others_maps() -> None:
    module = cnn()
    cam = ours.GradCAM(module, [module[5]])
    pictures = [zoo.noise(1, 32, 32, seed=seed) for seed in range(12)]
    wanted, wrong = [cam(picture, ONE) for picture in pictures], []

    def work() -> None:
        for picture, expected in zip(pictures, wanted, strict=True):
            if not np.array_equal(cam(picture, ONE), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", ["GradCAM", "AblationCAM", "KPCA_CAM", "FEM"])
def test_the_order_of_older_releases(name: str) -> None:
    """model, target_layers, use_cuda, reshape_transform."""
    module, picture = cnn(), zoo.noise(2, 32, 32)
    with pytest.warns(DeprecationWarning, match="use_cuda"):
        cam = getattr(ours, name)(module, [module[5]], False, lambda tensor: tensor.flip(-1))
    now = getattr(ours, name)(module, [module[5]], lambda tensor: tensor.flip(-1))
    assert np.array_equal(cam(picture, TWO), now(picture, TWO))


def test_a_category_for_each_picture() -> None:
    module = cnn()
    cam = ours.GradCAM(module, [module[5]])
    with (
        pytest.warns(DeprecationWarning, match="target_category"),
        pytest.raises(TargetError, match="got 3 for 2 pictures"),
    ):
        cam(zoo.noise(2, 32, 32), target_category=[1, 2, 3])


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_can_be_pickled(name: str) -> None:
    module, picture = cnn(), zoo.noise(1, 32, 32)
    cam = getattr(ours, name)(module, [module[2], module[5]])
    again = pickle.loads(pickle.dumps(cam))
    np.random.seed(0)  # noqa: NPY002 - of RandomCAM
    expected = cam(picture, ONE)
    np.random.seed(0)  # noqa: NPY002
    assert np.array_equal(again(picture, ONE), expected)


def test_maps_of_its_own_have_no_weights() -> None:
    class Own(ours.SegEigenCAM):
        def get_cam_weights(self, *given: Any) -> Any:
            return super().get_cam_weights(*given)

    module = cnn()
    with pytest.raises(OptionError, match="write get_cam_image"):
        Own(module, [module[5]])(zoo.noise(2, 32, 32), TWO)
