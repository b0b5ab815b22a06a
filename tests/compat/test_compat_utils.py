"""The facade's helpers beside pytorch-grad-cam's own and OpenCV: equal, or different where it is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pytorch_grad_cam.utils import find_layers as peer_layers
from pytorch_grad_cam.utils import image as peer_image
from pytorch_grad_cam.utils import model_targets as peer_targets
from pytorch_grad_cam.utils import reshape_transforms as peer_reshape
from pytorch_grad_cam.utils import svd_on_activations as peer_svd
from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam.utils import (
    find_layers,
    image,
    model_targets,
    reshape_transforms,
    svd_on_activations,
)
from camlucida.errors import LayerError, OptionError, PictureError, TargetError

# The largest difference of a channel, in 255, from OpenCV's table; 0 where it is not listed.
# Pink: OpenCV's begins with black, matplotlib's with brown. The others: rounding, and corners a place apart.
BOUNDS = {1: 1, 3: 1, 4: 5, 5: 1, 6: 1, 9: 5, 10: 30, 11: 5, 18: 2, 19: 2, 21: 1}
SIZES = [
    (7, 7, 224, 224),
    (7, 10, 96, 61),
    (14, 14, 7, 7),
    (31, 45, 9, 4),
    (5, 5, 5, 5),
    (1, 1, 8, 6),
    (9, 4, 3, 12),
    (64, 64, 448, 384),
    (221, 165, 70, 133),
]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def opencvs(colormap: int) -> np.ndarray:
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], colormap)[0]


def table(colormap: int | str) -> np.ndarray:
    """All 256 colours, BGR, drawn with nothing of the picture."""
    mask = np.minimum((np.arange(256)[None] + 0.5) / 255, 1)
    return image.show_cam_on_image(np.zeros((1, 256, 3), np.float32), mask, colormap=colormap, image_weight=0)[
        0
    ]


class TestColours:
    def test_jet_is_opencvs(self) -> None:
        assert (table(2) == opencvs(2)).all()

    @pytest.mark.parametrize("number", [n for n in range(22) if n != 12])
    def test_the_others_are_within_a_bound(self, number: int) -> None:
        apart = np.abs(table(number).astype(int) - opencvs(number))
        assert apart.max() <= BOUNDS.get(number, 0)
        assert apart.mean() < 0.7

    def test_matplotlibs_names_are_taken(self) -> None:
        assert (table("viridis") == table(16)).all()
        low, high = table("RdBu_r")[[0, -1]]  # a diverging one from end to end, as any
        assert low.tolist() == [97, 48, 5]
        assert high.tolist() == [31, 0, 103]

    @pytest.mark.parametrize(
        ("colormap", "says"),
        [
            (12, "take 16"),
            (22, "0 to 21"),
            (-1, "0 to 21"),
            (2.0, "0 to 21"),
            (None, "0 to 21"),
            (np.zeros((256, 1, 3), np.uint8), "0 to 21"),
            ("virids", "did you mean 'viridis'"),
        ],
    )
    def test_what_is_not_known_is_refused(self, colormap: Any, says: str) -> None:
        with pytest.raises(OptionError, match=says):
            table(colormap)


class TestShowCamOnImage:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
    @pytest.mark.parametrize("rgb", [True, False])
    @pytest.mark.parametrize("number", [2, 13, 20])
    def test_strict_parity_gives_the_peers_bytes(
        self, number: int, rgb: bool, weight: float, dtype: type
    ) -> None:
        img, mask = 0.7 * random(16, 24, 3).astype(dtype), random(16, 24, seed=1).astype(dtype)
        theirs = peer_image.show_cam_on_image(img, mask, rgb, number, weight)
        ours = image.show_cam_on_image(img, mask, rgb, number, weight, strict_parity=True)
        assert ours.dtype == np.uint8
        assert (ours == theirs).all()

    def test_else_it_is_the_plain_blend(self) -> None:
        img, mask = 0.5 * random(16, 24, 3), random(16, 24, seed=1)
        heat = cv2.applyColorMap((255 * mask).astype(np.uint8), 2)[..., ::-1].astype(np.float32) / 255
        expected = (255 * (0.75 * heat + 0.25 * img)).astype(np.uint8)
        assert (image.show_cam_on_image(img, mask, True, image_weight=0.25) == expected).all()

    @given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
    @settings(max_examples=50, deadline=None)
    def test_brightness_does_not_depend_on_the_rest(
        self, own: float, shade: float, rest: float, around: float
    ) -> None:
        img, mask = np.full((2, 2, 3), shade), np.full((2, 2), own)
        alone = image.show_cam_on_image(img, mask)[0, 0]
        img[1], mask[1] = around, rest
        assert (image.show_cam_on_image(img, mask)[0, 0] == alone).all()

    def test_the_peers_brightness_does(self) -> None:
        dark = np.zeros((2, 2, 3))
        light = dark.copy()
        light[1] = 1
        mask = np.full((2, 2), 0.5)
        for show, same in ((peer_image.show_cam_on_image, False), (image.show_cam_on_image, True)):
            assert (show(dark, mask)[0, 0] == show(light, mask)[0, 0]).all() == same

    def test_nothing_over_nothing_is_black(self) -> None:
        black = np.zeros((2, 3, 3), np.float32)
        for strict in (True, False):
            assert not image.show_cam_on_image(black, black[..., 0], colormap=11, strict_parity=strict).any()

    def test_masks_with_a_channel_or_rounded_above_one(self) -> None:
        img, mask = random(4, 5, 3), random(4, 5, seed=1)
        mask[0, 0] = 1
        expected = image.show_cam_on_image(img, mask)
        mask[0, 0] += 1e-6
        assert (image.show_cam_on_image(img, mask[..., None]) == expected).all()

    def test_what_is_given_stays_as_it_was(self) -> None:
        img, mask = random(4, 5, 3), random(4, 5, seed=1)
        before = img.copy(), mask.copy()
        image.show_cam_on_image(img, mask)
        assert (img == before[0]).all()
        assert (mask == before[1]).all()

    @pytest.mark.parametrize(
        ("img", "mask", "says"),
        [
            (random(4, 5, 3), np.full((4, 5), np.nan), "NaN"),
            (random(4, 5, 3), np.full((4, 5), np.inf), "infinity"),
            (random(4, 5, 3), np.full((4, 5), 1.1), "got 1.1 to 1.1"),
            (random(4, 5, 3), np.full((4, 5), -0.1), "scale it first"),
            (random(4, 5, 3), random(5, 4), "got \\(5, 4\\)"),
            (random(4, 5, 3), random(1, 4, 5), "cam\\[0\\]"),
            (random(4, 5, 3) * 255, random(4, 5), "divide"),
            (random(4, 5, 3) - 0.5, random(4, 5), "before it is normalised"),
            (np.full((4, 5, 3), np.nan), random(4, 5), "got nan"),
            (random(4, 5), random(4, 5), "three channels"),
            (random(4, 5, 4), random(4, 5), "three channels"),
        ],
    )
    @pytest.mark.parametrize("strict", [True, False])
    def test_garbage_is_refused(self, img: np.ndarray, mask: np.ndarray, says: str, strict: bool) -> None:
        with pytest.raises(PictureError, match=says):
            image.show_cam_on_image(img, mask, strict_parity=strict)

    @pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
    def test_weights_outside_are_refused(self, weight: float) -> None:
        with pytest.raises(OptionError, match="from 0 to 1"):
            image.show_cam_on_image(random(4, 5, 3), random(4, 5), image_weight=weight)


class TestScaleCamImage:
    @pytest.mark.parametrize(("height", "width", "to_width", "to_height"), SIZES)
    def test_as_the_peer(self, height: int, width: int, to_width: int, to_height: int) -> None:
        cam, size = random(3, height, width) - 0.3, (to_width, to_height)
        theirs = peer_image.scale_cam_image(cam, size)
        strict, ours = image.scale_cam_image(cam, size, strict_parity=True), image.scale_cam_image(cam, size)
        assert strict.dtype == ours.dtype == np.float32
        assert strict.shape == ours.shape == (3, to_height, to_width)
        assert np.abs(strict - theirs).max() <= 1e-6
        assert np.abs(ours - theirs).max() <= 1e-6

    def test_strict_parity_without_a_size_is_the_peers_to_the_bit(self) -> None:
        cam = 1e-6 * random(3, 5, 6)
        strict = image.scale_cam_image(cam, strict_parity=True)
        assert (strict == peer_image.scale_cam_image(cam)).all()
        assert strict.max() < 0.95 < image.scale_cam_image(cam).max()

    @given(st.integers(-60, 60), st.integers(0, 99))
    @settings(max_examples=50, deadline=None)
    def test_the_unit_makes_no_difference(self, exponent: int, seed: int) -> None:
        cam = random(2, 4, 3, seed=seed)
        scaled = image.scale_cam_image(cam)
        assert (image.scale_cam_image(np.ldexp(cam, exponent)) == scaled).all()
        assert (scaled.min(axis=(1, 2)) == 0).all()
        assert (scaled.max(axis=(1, 2)) == 1).all()

    @pytest.mark.parametrize("value", [0.0, 3.0, -1e-30])
    def test_constant_maps_are_zero(self, value: float) -> None:
        cam = np.full((2, 3, 4), value, np.float32)
        for strict in (True, False):
            assert not image.scale_cam_image(cam, (8, 8), strict_parity=strict).any()

    def test_half_precision_does_not_overflow(self) -> None:
        cam = np.array([[[-6e4, 0, 6e4]]], np.float16)
        assert image.scale_cam_image(cam).tolist() == [[[0, 0.5, 1]]]

    def test_nan_stays_with_its_map(self) -> None:
        cam = random(3, 4, 5)
        cam[1, 2, 2] = np.nan
        for ours in (image.scale_cam_image(cam), peer_image.scale_cam_image(cam)):
            assert np.isnan(ours).all(axis=(1, 2)).tolist() == [False, True, False]
            assert np.isnan(ours).any(axis=(1, 2)).tolist() == [False, True, False]

    def test_channels_each_by_themselves(self) -> None:
        maps = random(2, 3, 4, 5)
        ours = image.scale_accross_batch_and_channels(maps, (10, 7))
        assert ours.shape == (2, 3, 7, 10)
        assert np.abs(ours - peer_image.scale_accross_batch_and_channels(maps, (10, 7))).max() <= 1e-6

    @pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5), (2, 0, 5)])
    def test_volumes_and_single_maps_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(PictureError, match="volumes are not supported"):
            image.scale_cam_image(np.zeros(shape))

    def test_channels_of_another_shape_are_refused(self) -> None:
        with pytest.raises(PictureError, match="reshape"):
            image.scale_accross_batch_and_channels(random(2, 3, 4), (4, 4))

    @pytest.mark.parametrize("size", [(0, 4), (4, -1), (4.0, 4), (4,), (4, 4, 4)])
    def test_sizes_that_are_none_are_refused(self, size: Any) -> None:
        with pytest.raises(OptionError, match="width, height"):
            image.scale_cam_image(random(1, 4, 5), size)


class TestPictures:
    @pytest.mark.parametrize(
        "img",
        [
            (random(6, 5, 3) * 255).astype(np.uint8),
            random(6, 5, 3),
            random(6, 5, 3).astype(np.float64),
            (random(6, 5, 3) * 255).astype(np.uint8)[::-1, :, ::-1],
            Image.fromarray((random(6, 5, 3) * 255).astype(np.uint8)),
        ],
        ids=["uint8", "float32", "float64", "turned", "pillow"],
    )
    def test_preprocess_image(self, img: Any) -> None:
        for more in ({}, {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}):
            ours = image.preprocess_image(img, **more)
            assert ours.dtype == torch.float32
            assert ours.is_contiguous()
            assert torch.equal(ours, peer_image.preprocess_image(img, **more).float())

    def test_preprocess_takes_as_many_channels_as_means(self) -> None:
        img, four = random(6, 5, 4), [0.1, 0.2, 0.3, 0.4]
        assert torch.equal(
            image.preprocess_image(img, four, four), peer_image.preprocess_image(img, four, four)
        )

    @pytest.mark.parametrize(
        ("img", "says"),
        [
            (random(6, 5), "a channel for each mean"),
            (random(6, 5, 4), "got \\(6, 5, 4\\)"),
            (random(2, 6, 5, 3), "a channel for each mean"),
            (np.zeros((6, 5, 3), np.int64), "got int64"),
        ],
    )
    def test_preprocess_refuses_other_pictures(self, img: np.ndarray, says: str) -> None:
        with pytest.raises(PictureError, match=says):
            image.preprocess_image(img)

    @pytest.mark.parametrize("std", [(1, 1), (1, 0, 1)])
    def test_preprocess_refuses_another_std(self, std: tuple[float, ...]) -> None:
        with pytest.raises(OptionError, match="above zero for each"):
            image.preprocess_image(random(6, 5, 3), std=std)

    def test_deprocess_image(self) -> None:
        for img in (20 * random(6, 5, 3) - 3, np.zeros((2, 2, 3), np.float32)):
            assert (image.deprocess_image(img) == peer_image.deprocess_image(img)).all()

    def test_deprocess_refuses_nan(self) -> None:
        with pytest.raises(PictureError, match="NaN"):
            image.deprocess_image(np.full((2, 2, 3), np.nan))


def with_gradient(target: Callable[[Any], Tensor], output: Tensor) -> tuple[Tensor, Tensor]:
    leaf = output.clone().requires_grad_()
    score = target(leaf)
    weights = torch.arange(1, score.numel() + 1, dtype=score.dtype).view_as(score)
    (gradient,) = torch.autograd.grad((score * weights).sum(), leaf)
    return score.detach(), gradient


CLASS_TARGETS: list[tuple[str, tuple[Any, ...]]] = [
    ("ClassifierOutputTarget", (2,)),
    ("ClassifierOutputTarget", (-1,)),
    ("ClassifierOutputSoftmaxTarget", (2,)),
    ("ClassifierOutputSoftmaxTarget", (-1,)),
    ("ClassifierOutputReST", (2,)),
    ("BinaryClassifierOutputTarget", (1,)),
    ("BinaryClassifierOutputTarget", (0,)),
    ("SoftmaxOutputTarget", ()),
    ("RawScoresOutputTarget", ()),
    ("FinerWeightedTarget", (2, [0, 4, 1], 0.6)),
    ("FinerWeightedTarget", (-1, [3], 1)),
]
WITH_INDEX: list[tuple[str, Callable[[int], tuple[Any, ...]]]] = [
    ("ClassifierOutputTarget", lambda index: (index,)),
    ("ClassifierOutputSoftmaxTarget", lambda index: (index,)),
    ("ClassifierOutputReST", lambda index: (index,)),
    ("FinerWeightedTarget", lambda index: (index, [0], 0.6)),
    ("FinerWeightedTarget", lambda index: (0, [index], 0.6)),
]


class TestClassTargets:
    @pytest.mark.parametrize("shape", [(5,), (3, 5)])
    @pytest.mark.parametrize(("name", "arguments"), CLASS_TARGETS)
    def test_score_and_gradient(self, name: str, arguments: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        output = 3 * torch.from_numpy(random(*shape)).double()
        ours = with_gradient(getattr(model_targets, name)(*arguments), output)
        theirs = with_gradient(getattr(peer_targets, name)(*arguments), output)
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)

    @pytest.mark.parametrize("shape", [(5,), (3, 5)])
    @pytest.mark.parametrize(("name", "arguments"), WITH_INDEX)
    @pytest.mark.parametrize("index", [5, -6])
    def test_no_such_class(self, name: str, arguments: Any, shape: tuple[int, ...], index: int) -> None:
        with pytest.raises(IndexError):
            getattr(model_targets, name)(*arguments(index))(torch.zeros(shape))

    def test_rest_counts_from_the_first_as_the_peer(self) -> None:
        for module in (model_targets, peer_targets):
            with pytest.raises(IndexError):
                module.ClassifierOutputReST(-1)(torch.zeros(5))

    def test_finer_of_a_sure_model_is_not_divided_by_next_to_nothing(self) -> None:
        output = torch.tensor([60.0, 1.0, 2.0], dtype=torch.float64)
        ours = model_targets.FinerWeightedTarget(0, [1, 2], 1)(output)
        shares = torch.tensor([1.0, 2.0]).double().softmax(0)
        torch.testing.assert_close(ours, 60 - (shares * output[1:]).sum())
        assert peer_targets.FinerWeightedTarget(0, [1, 2], 1)(output) < 1e-9

    def test_finer_needs_another_class(self) -> None:
        with pytest.raises(TargetError, match="at least one other"):
            model_targets.FinerWeightedTarget(0, [], 1)


class TestOtherTargets:
    @pytest.mark.parametrize("mask", [random(4, 6) > 0.5, random(4, 6, seed=2)])
    def test_segmentation(self, mask: np.ndarray) -> None:
        output = torch.from_numpy(random(2, 3, 4, 6))
        ours, theirs = (m.SemanticSegmentationTarget(1, mask) for m in (model_targets, peer_targets))
        for one, other in zip(with_gradient(ours, output[0]), with_gradient(theirs, output[0]), strict=True):
            torch.testing.assert_close(one, other)
        torch.testing.assert_close(ours(output), torch.stack([theirs(one) for one in output]))
        with pytest.raises(IndexError):
            model_targets.SemanticSegmentationTarget(3, mask)(output)

    @pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
    @pytest.mark.parametrize("seed", range(4))
    def test_boxes(self, threshold: float, seed: int) -> None:
        corners = torch.from_numpy(random(6, 2, seed=seed))
        boxes = torch.cat([corners, corners + 1], dim=1)
        labels = torch.tensor([1, 2, 1, 2, 1, 2])
        wanted = boxes[:4].numpy() + 0.3 * random(4, 4, seed=seed + 9) * [[0, 0, 1, 1]]
        arguments = (labels[:4].numpy(), wanted.astype(np.float32), threshold)
        outputs = {"labels": labels, "scores": torch.from_numpy(random(6, seed=seed + 1))}

        def at(module: Any) -> Callable[[Tensor], Tensor]:
            target = module.FasterRCNNBoxScoreTarget(*arguments)
            return lambda moved: target({**outputs, "boxes": moved})

        theirs = at(peer_targets)(boxes)
        torch.testing.assert_close(at(model_targets)(boxes), theirs)
        if theirs > 0:
            torch.testing.assert_close(
                with_gradient(at(model_targets), boxes), with_gradient(at(peer_targets), boxes)
            )

    @pytest.mark.parametrize("count", [0, 2])
    def test_without_a_match_the_score_is_zero_and_has_a_gradient(self, count: int) -> None:
        boxes = torch.tensor([[0.0, 0, 1, 1], [5, 5, 6, 6]])[:count].requires_grad_()
        outputs = {"boxes": boxes, "labels": torch.ones(count), "scores": torch.ones(count)}
        target = model_targets.FasterRCNNBoxScoreTarget([1], [torch.tensor([2.0, 2, 3, 3])])
        score = target(outputs)
        assert torch.equal(score, peer_targets.FasterRCNNBoxScoreTarget([1], np.array([[2, 2, 3, 3]]))(outputs))
        score.backward()
        assert boxes.grad is not None
        assert not boxes.grad.any()

    def test_boxes_need_labels(self) -> None:
        with pytest.raises(TargetError, match="1 boxes and 2 labels"):
            model_targets.FasterRCNNBoxScoreTarget([1, 2], np.zeros((1, 4)))


class TestReshapeTransforms:
    @pytest.mark.parametrize(
        ("name", "tokens", "grid"),
        [
            ("vit_reshape_transform", 197, ()),
            ("vit_reshape_transform", 7, (2, 3)),
            ("swinT_reshape_transform", 49, ()),
            ("swinT_reshape_transform", 6, (2, 3)),
        ],
    )
    def test_as_the_peer(self, name: str, tokens: int, grid: tuple[int, ...]) -> None:
        tensor = torch.from_numpy(random(2, tokens, 5))
        assert torch.equal(
            getattr(reshape_transforms, name)(tensor, *grid), getattr(peer_reshape, name)(tensor, *grid)
        )

    @pytest.mark.parametrize("shape", [(2, 201, 5), (2, 49, 5, 1), (2, 5, 14, 14), (2, 196, 5), (2, 50, 5)])
    @pytest.mark.parametrize("name", ["vit_reshape_transform", "swinT_reshape_transform"])
    def test_what_does_not_fit_is_said(self, name: str, shape: tuple[int, ...]) -> None:
        with pytest.raises(LayerError, match="reshape_transform=None") as error:
            getattr(reshape_transforms, name)(torch.zeros(shape))
        assert str(shape) in str(error.value)

    def test_fasterrcnn(self) -> None:
        levels = {"0": torch.randn(1, 2, 8, 12), "1": torch.randn(1, 2, 4, 6), "pool": torch.randn(1, 2, 2, 3)}
        ours = reshape_transforms.fasterrcnn_reshape_transform(levels)
        torch.testing.assert_close(ours, peer_reshape.fasterrcnn_reshape_transform(levels))
        del levels["pool"]
        with pytest.raises(LayerError, match="got 0, 1"):
            reshape_transforms.fasterrcnn_reshape_transform(levels)


def nested() -> nn.Sequential:
    shared = nn.ReLU()
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), shared, shared, nn.Sequential(nn.ReLU6(), nn.ReLU()))
    return nn.Sequential(nn.Conv2d(3, 3, 1), inner, nn.ReLU())


class TestFindLayers:
    def test_found(self) -> None:
        model = nested()
        for types in ([nn.ReLU], (nn.Conv2d, nn.ReLU6), {nn.Sequential}, [nn.Hardtanh], []):
            ours = find_layers.find_layer_types_recursive(model, types)
            theirs = peer_layers.find_layer_types_recursive(model, types)
            assert [id(layer) for layer in ours] == [id(layer) for layer in theirs]
        assert len(find_layers.find_layer_types_recursive(model, [nn.ReLU])) == 4
        everything = find_layers.find_layer_predicate_recursive(model, lambda _: True)
        assert everything == peer_layers.find_layer_predicate_recursive(model, lambda _: True)

    def test_one_replaced(self) -> None:
        for module in (find_layers, peer_layers):
            model, new = nested(), nn.Tanh()
            assert module.replace_layer_recursive(model, model[1][1], new)
            assert model[1][1] is new
            assert isinstance(model[1][2], nn.ReLU)
            assert not module.replace_layer_recursive(model, nn.ReLU(), new)

    @pytest.mark.parametrize("old", [nn.ReLU, nn.ReLU6, nn.Hardtanh, (nn.ReLU, nn.Conv2d)])
    def test_all_of_a_type_replaced(self, old: Any) -> None:
        model, other, new = nested(), nested(), nn.Tanh()
        find_layers.replace_all_layer_type_recursive(model, old, new)
        peer_layers.replace_all_layer_type_recursive(other, old, new)
        assert str(model) == str(other)
        assert not [layer for layer in model.modules() if isinstance(layer, old)]
        assert new in model.modules()

    def test_missing_layers_are_passed_over(self) -> None:
        model = nested()
        model.register_module("none", None)
        assert len(find_layers.find_layer_types_recursive(model, [nn.Conv2d])) == 2
        assert not find_layers.replace_layer_recursive(model, nn.ReLU(), nn.ReLU())
        find_layers.replace_all_layer_type_recursive(model, nn.ReLU, nn.Tanh())


def activations(seed: int = 0, channels: int = 6) -> np.ndarray:
    """Of two pictures, with a spot that most channels answer to."""
    spot = np.zeros((4, 5), np.float32)
    spot[1, 2:4] = 3
    return random(2, channels, 4, 5, seed=seed) + random(2, channels, 1, 1, seed=seed + 1) * spot


def apart(one: np.ndarray, other: np.ndarray, any_sign: bool = False) -> float:
    """The largest difference, in the largest value, of maps with or without their sign."""
    signs = np.array([1, -1] if any_sign else [1])[:, None, None, None]
    shares = np.abs(one - signs * other).max(axis=(2, 3)) / np.abs(other).max(axis=(1, 2))
    return float(shares.min(axis=0).max())  # NaN where there is one


PROJECTIONS = ["get_2d_projection", "get_2d_projection_kernel", "get_2d_projection_with_sign_correction"]


class TestProjections:
    @pytest.mark.parametrize("name", PROJECTIONS)
    @pytest.mark.parametrize("channels", [6, 40])  # fewer and more than positions
    @pytest.mark.parametrize("seed", range(3))
    def test_as_the_peer_but_for_the_sign(self, name: str, channels: int, seed: int) -> None:
        batch = activations(seed, channels)
        batch[1, 2, 3, 3] = np.nan
        before = batch.copy()
        ours = getattr(svd_on_activations, name)(batch)
        assert (ours.shape, ours.dtype) == ((2, 4, 5), np.float32)
        assert np.array_equal(batch, before, equal_nan=True)
        signed = name.endswith("correction")
        assert apart(ours, getattr(peer_svd, name)(batch), any_sign=not signed) < 1e-4

    @pytest.mark.parametrize(
        ("kernel", "gamma"), [("rbf", None), ("rbf", 0.3), ("linear", None), ("sigmoid", 0.02)]
    )
    def test_kernels(self, kernel: str, gamma: float | None) -> None:
        ours = svd_on_activations.get_2d_projection_kernel(activations(), kernel, gamma)
        theirs = peer_svd.get_2d_projection_kernel(activations(), kernel, gamma)
        assert apart(ours, theirs, any_sign=True) < 1e-4

    @pytest.mark.parametrize("name", PROJECTIONS)
    def test_the_order_of_channels_says_nothing(self, name: str) -> None:
        project = getattr(svd_on_activations, name)
        for seed in range(4):
            batch = activations(seed)
            assert apart(project(batch[:, ::-1]), project(batch)) < 1e-4

    @pytest.mark.parametrize("name", PROJECTIONS)
    def test_hot_is_where_the_norm_is_large(self, name: str) -> None:
        for seed in range(4):
            batch = activations(seed)
            for sign in (1, -1):
                ours = getattr(svd_on_activations, name)(sign * batch)
                for one, values in zip(ours, batch, strict=True):
                    assert np.corrcoef(one.ravel(), np.linalg.norm(values, axis=0).ravel())[0, 1] > 0.5

    def test_infinity_makes_one_map_nan(self) -> None:
        batch = activations()
        batch[0, 1, 1, 1] = np.inf
        for name in PROJECTIONS:
            ours = getattr(svd_on_activations, name)(batch)
            assert np.isnan(ours[0]).all()
            assert np.isfinite(ours[1]).all()

    @pytest.mark.parametrize("name", PROJECTIONS)
    def test_other_shapes_are_refused(self, name: str) -> None:
        with pytest.raises(LayerError, match="got \\(2, 6, 20\\)"):
            getattr(svd_on_activations, name)(activations().reshape(2, 6, 20))

    def test_other_kernels_are_refused(self) -> None:
        with pytest.raises(OptionError, match="sigmoid, rbf, linear"):
            svd_on_activations.get_2d_projection_kernel(activations(), "cosine")
        with pytest.raises(OptionError, match="got -1"):
            svd_on_activations.get_2d_projection_kernel(activations(), gamma=-1)
