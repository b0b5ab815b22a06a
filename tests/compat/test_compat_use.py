"""The drop-in for pytorch-grad-cam as scripts use it: old arguments, classes of one's own, what goes wrong."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
import ttach
from test_compat import CASES, inputs, network, reshape, run, same, targets
from torch import nn

import zoo
from camlucida.compat import pytorch_grad_cam as ours
from camlucida.compat.pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputTarget,
    SemanticSegmentationTarget,
    SoftmaxOutputTarget,
)
from camlucida.errors import LayerError, ModelError, OptionError, PictureError, TargetError

CNN, VIT = CASES[2], CASES[4]


@pytest.fixture(autouse=True)
def _blank_maps_may_be() -> Iterator[None]:
    """Networks with re-drawn weights often have nothing but evidence against."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the map is blank", UserWarning)
        yield


def layers_of(module: nn.Module, case: Any) -> list[nn.Module]:
    return [module.get_submodule(layer) for layer in case.layers]


def cam_of(case: Any, name: str = "GradCAM", **named: Any) -> Any:
    module = network(case)
    return getattr(ours, name)(module, layers_of(module, case), reshape(case), **named)


# -- what scripts rely on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CNN, VIT], ids=str)
def test_a_class_of_ones_own_gets_what_the_peers_gets(case: Any) -> None:
    """By weights, by maps, and with another way to join layers."""

    def weights(self: Any, input_tensor: Any, layer: Any, targets: Any, activations: Any, grads: Any) -> Any:
        assert isinstance(layer, nn.Module)
        assert len(targets) == len(input_tensor) == len(activations) == len(grads)
        return np.abs(grads).max(axis=(2, 3))

    def image(self: Any, *given: Any) -> Any:
        activations, grads, _ = given[3:]
        return (activations - grads).max(axis=1)

    def joined(self: Any, maps: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(maps, axis=1).max(axis=1)

    for methods in (
        {"get_cam_weights": weights},
        {"get_cam_image": image},
        {"get_cam_weights": weights, "aggregate_multi_layers": joined},
    ):
        for base in ("BaseCAM", "GradCAM"):
            maps = []
            for package in (ours, peer):
                module = copy.deepcopy(network(case))
                parent = package.base_cam.BaseCAM if base == "BaseCAM" else package.GradCAM
                own = type("Own", (parent,), methods)
                cam = own(module, layers_of(module, case), reshape_transform=reshape(case))
                maps.append(cam(inputs(case), targets(case)))
            assert same(maps[0], maps[1])


def test_a_class_of_ones_own_can_ask_for_what_it_replaces() -> None:
    class Doubled(ours.XGradCAM):
        def get_cam_weights(self, *given: Any) -> Any:
            return 2 * super().get_cam_weights(*given)

        def get_cam_image(self, *given: Any) -> Any:
            return super().get_cam_image(*given) / 2

    module = network(VIT)
    found = Doubled(module, layers_of(module, VIT), reshape(VIT))(inputs(VIT), targets(VIT))
    assert np.abs(found - run(ours, "XGradCAM", VIT, (False, False))).max() < 1e-4


def test_a_base_class_alone_says_what_to_write() -> None:
    module = network(CNN)
    with pytest.raises(NotImplementedError, match="get_cam_weights"):
        ours.BaseCAM(module, layers_of(module, CNN))(inputs(CNN), targets(CNN))
    with pytest.raises(OptionError, match="without the graph"):
        ours.BaseCAM(module, layers_of(module, CNN), detach=False)

    class OfMore(ours.ScoreCAM):
        def get_cam_image(self, *given: Any) -> Any:
            return super().get_cam_image(*given)

    with pytest.raises(OptionError, match="scorecam needs"):
        OfMore(module, layers_of(module, CNN))(inputs(CNN), targets(CNN))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_it_has_seen_is_kept_as_there(case: Any) -> None:
    kept = []
    for package in (ours, peer):
        module = copy.deepcopy(network(case))
        cam = package.HiResCAM(module, layers_of(module, case), reshape_transform=reshape(case))
        cam(inputs(case), targets(case))
        seen = cam.activations_and_grads
        kept.append([cam.outputs.detach(), *seen.activations, *seen.gradients])
    for mine, theirs in zip(*kept, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    with ours.HiResCAM(network(case), layers_of(network(case), case), reshape(case)) as cam:
        cam(inputs(case), targets(case))
        assert cam.activations_and_grads.activations
    assert not cam.activations_and_grads.activations
    assert not cam.activations_and_grads.gradients


def test_the_model_comes_back_as_it_was() -> None:
    module = copy.deepcopy(network(CNN)).train()
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    statistics = module[1].running_mean.clone()
    cam = ours.AblationCAM(module, [module[5]])
    cam(inputs(CNN), targets(CNN), aug_smooth=True)
    assert module.training
    assert torch.equal(module[1].running_mean, statistics)
    assert all((parameter.grad == 1).all() for parameter in module.parameters())
    assert not any(part._forward_hooks for part in module.modules())


def test_transforms_of_ttach_are_run_on_a_class_that_takes_them() -> None:
    """The peer has the argument and no class that hands it on."""
    case = CASES[3]
    module = network(case)
    for transforms in (ttach.Compose([ttach.HorizontalFlip(), ttach.Multiply(factors=[0.9, 1, 1.1])]),):
        cam = ours.GradCAM(module, layers_of(module, case), tta_transforms=transforms)
        assert same(cam(inputs(case), None, aug_smooth=True), run(ours, "GradCAM", case, (True, False)))
    flip = ours.GradCAM(module, layers_of(module, case), tta_transforms=ttach.Compose([ttach.HorizontalFlip()]))
    assert not same(flip(inputs(case), None, aug_smooth=True), cam(inputs(case), None, aug_smooth=True))


def test_aug_smooth_keeps_the_class_of_the_plain_view() -> None:
    for case in CASES:
        if not case.given:
            tops = network(case)(inputs(case)).argmax(dim=1).tolist()
            fixed = cam_of(case)(inputs(case), [ClassifierOutputTarget(top) for top in tops], aug_smooth=True)
            assert np.array_equal(cam_of(case)(inputs(case), None, aug_smooth=True), fixed)


def test_more_than_a_score_a_class_can_be_explained() -> None:
    """The peer's tutorial for segmentation: a target that adds the scores of a class inside a mask."""
    module = zoo.redraw(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1)))
    picture, mask = zoo.noise(1, 32, 32), np.zeros((8, 8), np.float32)
    mask[2:5, 1:4] = 1
    maps = []
    for package in (ours, peer):
        cam = package.HiResCAM(module, [module[1]])
        maps.append(cam(picture, [SemanticSegmentationTarget(2, mask)]))
    assert same(*maps)
    with pytest.raises(TargetError, match="no top class"):
        ours.GradCAM(module, [module[1]])(picture)


def test_how_many_channels_scorecam_tries_can_be_said() -> None:
    cam = cam_of(CNN, "ScoreCAM")
    whole = cam(inputs(CNN), targets(CNN))
    cam.batch_size = 4
    assert np.array_equal(cam(inputs(CNN), targets(CNN)), whole)
    cam.options["channels"] = 2
    assert not same(cam(inputs(CNN), targets(CNN)), whole)


# -- arguments of older releases --------------------------------------------------------------------------


def test_older_arguments_work_and_say_what_to_write_now() -> None:
    module = network(CNN)
    (layer,) = layers_of(module, CNN)
    now = ours.GradCAM(module, [layer])(inputs(CNN), [ClassifierOutputTarget(2)] * 3)
    with pytest.warns(DeprecationWarning, match="use_cuda is of an older release"):
        cam = ours.GradCAM(module, [layer], use_cuda=False)
    assert np.array_equal(cam(inputs(CNN), [ClassifierOutputTarget(2)] * 3), now)
    with pytest.warns(DeprecationWarning, match="use_cuda"):
        ours.GradCAM(module, [layer], False)
    with pytest.warns(DeprecationWarning, match=r"write target_layers=\[layer\]"):
        cam = ours.GradCAM(model=module, target_layer=layer)
    for category in (2, [2, 2, 2], np.int64(2)):
        with pytest.warns(DeprecationWarning, match="ClassifierOutputTarget"):
            assert np.array_equal(cam(input_tensor=inputs(CNN), target_category=category), now)


def test_unknown_arguments_are_refused() -> None:
    module = network(CNN)
    with pytest.raises(TypeError, match="use_gpu"):
        ours.GradCAM(module, [module[5]], use_gpu=True)
    with pytest.raises(TypeError, match="target_layers"):
        ours.GradCAM(module)
    with pytest.raises(TypeError, match="category"):
        cam_of(CNN)(inputs(CNN), category=3)


# -- what goes wrong, raised as itself --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GradCAM", "ScoreCAM", "AblationCAM", "EigenCAM", "FinerCAM"])
def test_a_wrong_number_of_targets(name: str) -> None:
    with pytest.raises(TargetError, match="got 1 for 3 pictures"):
        cam_of(CNN, name)(inputs(CNN), [ClassifierOutputTarget(1)])


@pytest.mark.parametrize("name", ["GradCAM", "ScoreCAM", "AblationCAM", "EigenCAM", "FullGrad"])
def test_a_class_that_does_not_exist(name: str) -> None:
    with pytest.raises(IndexError), cam_of(CNN, name) as cam:  # the peer swallows it
        cam(inputs(CNN), [ClassifierOutputTarget(5)] * 3)


def test_an_error_inside_a_with_block() -> None:
    for error in (IndexError, KeyError, RuntimeError):
        with pytest.raises(error, match="mine"), cam_of(CNN):
            raise error("mine")


def test_a_target_that_is_not_one_number() -> None:
    with pytest.raises(TargetError, match=r"one number .* got \(5,\)"):
        cam_of(CNN)(inputs(CNN), [SoftmaxOutputTarget()] * 3)


def test_a_layer_of_another_model() -> None:
    with pytest.raises(LayerError, match="no part of the model"):
        ours.GradCAM(network(CNN), [copy.deepcopy(network(CNN))[5]])


def test_a_reshape_transform_that_does_not_fit() -> None:
    module = network(VIT)
    layers = layers_of(module, VIT)
    with pytest.raises(LayerError, match="batch, channels, height, width"):
        ours.GradCAM(module, layers, lambda tensor: tensor)(inputs(VIT), targets(VIT))
    mean = ours.AblationCAM(module, layers, lambda tensor: 2 * reshape(VIT)(tensor))
    with pytest.raises(LayerError, match="choose and reorder"):
        mean(inputs(VIT), targets(VIT))


def test_volumes_are_refused() -> None:
    module = zoo.redraw(nn.Sequential(nn.Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten()))
    with pytest.raises(PictureError, match="explain volumes with"):
        ours.GradCAM(module, [module[0]])(torch.randn(1, 1, 8, 8, 8))


def test_detectors_are_refused() -> None:
    class Boxes(nn.Sequential):
        def forward(self, pictures: torch.Tensor) -> list[dict[str, torch.Tensor]]:
            return [{"boxes": one, "scores": one} for one in super().forward(pictures)]

    module = Boxes(nn.Conv2d(3, 4, 3))
    with pytest.raises(ModelError, match="explain detectors with"):
        ours.EigenCAM(module, [module[0]])(zoo.noise())


def test_a_blank_map_comes_with_its_reason() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([1.0, 1.0]).view(2, 1, 1, 1))
        module[0].bias.zero_()
    picture = torch.rand(1, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="every position is evidence against"):
            ours.GradCAM(module, [module[1]])(picture, [lambda output: -output[0]])
        with pytest.raises(UserWarning, match="eigen smoothing does not apply to eigencam"):
            ours.EigenCAM(module, [module[1]])(picture, eigen_smooth=True)


def test_warnings_point_at_the_callers_line() -> None:
    """Else Python hides them, or merges those of several calls."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("GradCAM", "AblationCAM"):
            module = network(CNN)
            cam = getattr(ours, name)(module, target_layer=module[5])
            cam(inputs(CNN), target_category=1)
            ours.EigenCAM(module, [module[5]])(inputs(CNN), eigen_smooth=True)
    assert len(caught) >= 6
    assert {one.filename for one in caught} == {__file__}


def test_what_ablation_would_not_do_is_said() -> None:
    class Own(ours.AblationLayer):
        pass

    with pytest.raises(OptionError, match="Own would not be asked"):
        cam_of(CNN, "AblationCAM", ablation_layer=Own())
    with pytest.warns(UserWarning, match="all channels are ablated"):
        cam = cam_of(CNN, "AblationCAM", ratio_channels_to_ablate=0.5, batch_size=7)
    assert cam.batch_size == 7
    whole = run(ours, "AblationCAM", CNN, (False, False))
    assert same(cam(inputs(CNN), targets(CNN)), whole)


def test_ablation_divides_by_the_magnitude_of_the_score() -> None:
    """The peer divides by the score: where that is negative its map is turned over."""
    negative = [lambda output: output[1] - 50.0] * 3
    one = cam_of(CNN, "AblationCAM")(inputs(CNN), negative)
    strict = cam_of(CNN, "AblationCAM", strict_parity=True)(inputs(CNN), negative)
    module = copy.deepcopy(network(CNN))
    theirs = peer.AblationCAM(module, layers_of(module, CNN))(inputs(CNN), negative)
    assert np.abs(strict - theirs).max() < 1e-3  # a hundred times less than the map: the score is large
    assert not same(one, strict)


# -- under the peer's name --------------------------------------------------------------------------------

UNDER_ITS_NAME = """
import sys, warnings
import camlucida.compat
assert "torch" not in sys.modules and "pytorch_grad_cam" not in sys.modules
camlucida.compat.install()
camlucida.compat.install()
import pytorch_grad_cam
from pytorch_grad_cam import GradCAM, AblationCAM, RefineCAM
from pytorch_grad_cam.ablation_layer import AblationLayerVit
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils import deprocess_image
from pytorch_grad_cam.utils.image import show_cam_on_image, preprocess_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform
import pytorch_grad_cam.utils.find_layers
assert GradCAM.__module__.startswith("camlucida."), GradCAM.__module__
assert issubclass(GradCAM, BaseCAM)
assert pytorch_grad_cam.__name__.startswith("camlucida.")
from pytorch_grad_cam import SESS, GuidedBackpropReLUModel
try:
    SESS(None, [])
except Exception as error:
    print(error)
try:
    from pytorch_grad_cam import GradCAN
except ImportError:
    print("refused")
"""
TOO_LATE = """
import sys, types
import camlucida.compat
sys.modules["pytorch_grad_cam"] = real = types.ModuleType("pytorch_grad_cam")
try:
    camlucida.compat.install()
except Exception as error:
    print(type(error).__name__, error)
assert sys.modules["pytorch_grad_cam"] is real
"""


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_install_puts_it_under_the_peers_name_when_asked() -> None:
    said = python(UNDER_ITS_NAME)
    assert "has no SESS: take it from pytorch-grad-cam" in said
    assert said.endswith("refused\n")


def test_install_refuses_where_the_real_one_is_loaded() -> None:
    assert "OptionError the real pytorch_grad_cam has been imported already" in python(TOO_LATE)
