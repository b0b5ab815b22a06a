"""Where the model's input lies on the picture, and how a map is laid on it."""

import math

import cv2
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform
from torch.nn.functional import interpolate
from torchvision import transforms
from torchvision.transforms import v2

import zoo
from camlucida.errors import OptionError, PictureError
from camlucida.heatmaps.project import project_to_picture
from camlucida.images import Frame
from camlucida.models import timm as timm_models
from camlucida.models.preprocessing_steps import preprocess_of, tutorial_preprocess
from camlucida.pipeline.explainer import Explainer

# ---------------------------------------------------------------------------------------------- arithmetic


def test_a_whole_frame_covers_the_picture():
    assert Frame.whole((30, 50)) == Frame((30, 50), (0, 0, 50, 30), (30, 50))


def test_resizing_changes_the_view_only():
    frame = Frame.whole((30, 50)).resized((7, 9))
    assert (frame.picture, frame.box, frame.view) == ((30, 50), (0, 0, 50, 30), (7, 9))


CROPS = {
    # steps (resize to, crop at left, top, of size) on a picture of 30×50 → box
    "crop": ([(None, 10, 5, (20, 30))], (10, 5, 40, 25)),
    "crop of a crop": ([(None, 10, 5, (20, 30)), (None, 1, 2, (3, 4))], (11, 7, 15, 10)),
    "resize and crop": ([((60, 200), 20, 6, (40, 100))], (5, 3, 30, 23)),
    "padding": ([(None, -3, -2, (34, 56))], (-3, -2, 53, 32)),
    "padded across, cropped down": ([((15, 25), -5, 5, (5, 35))], (-10, 10, 60, 20)),
    "resize, crop, resize, crop": ([((60, 100), 0, 0, (60, 50)), ((30, 25), 5, 10, (10, 10))], (5, 10, 15, 20)),
}


@pytest.mark.parametrize(("steps", "box"), CROPS.values(), ids=CROPS.keys())
def test_crops_are_followed(steps, box):
    frame = Frame.whole((30, 50))
    for resized, left, top, size in steps:
        frame = (frame if resized is None else frame.resized(resized)).cropped(left, top, size)
    assert frame.box == pytest.approx(box)
    assert frame.view == steps[-1][-1]
    assert frame.picture == (30, 50)


# ---------------------------------------------------------------------------------------------------- lay


def laid_by_hand(heatmap: np.ndarray, frame: Frame) -> np.ndarray:
    """Pixel by pixel: the map's cells fill the box, with straight lines between the values at their centres."""
    left, top, right, bottom = frame.box
    rows, columns = heatmap.shape
    result = np.full(frame.picture, np.nan)
    for y in range(frame.picture[0]):
        for x in range(frame.picture[1]):
            u = (x + 0.5 - left) / (right - left) * columns
            v = (y + 0.5 - top) / (bottom - top) * rows
            if 0 <= u < columns and 0 <= v < rows:
                result[y, x] = bilinear(heatmap, v - 0.5, u - 0.5)
    return result


def bilinear(grid: np.ndarray, v: float, u: float) -> float:
    total = 0.0
    for i, down in ((math.floor(v), 1 - v % 1), (math.floor(v) + 1, v % 1)):
        for j, across in ((math.floor(u), 1 - u % 1), (math.floor(u) + 1, u % 1)):
            i_in = min(max(i, 0), grid.shape[0] - 1)
            j_in = min(max(j, 0), grid.shape[1] - 1)
            total += down * across * float(grid[i_in, j_in])
    return total


# picture's size, box, size of the map
LAID = {
    "whole, up": ((31, 47), (0, 0, 47, 31), (7, 7)),
    "whole, not square": ((20, 53), (0, 0, 53, 20), (3, 11)),
    "whole, down": ((9, 11), (0, 0, 11, 9), (14, 17)),
    "same size": ((8, 6), (0, 0, 6, 8), (8, 6)),
    "one cell": ((8, 6), (0, 0, 6, 8), (1, 1)),
    "one row": ((8, 6), (0, 0, 6, 8), (1, 4)),
    "one pixel": ((1, 1), (0, 0, 1, 1), (7, 7)),
    "centre crop": ((33, 50), (8.3, 2.1, 40.9, 31.7), (7, 7)),
    "crop of portrait": ((61, 20), (0.2, 20.7, 19.8, 40.1), (5, 3)),
    "padded above and below": ((20, 40), (0, -10, 40, 30), (7, 7)),
    "padded all around": ((20, 30), (-7.25, -3.75, 37.25, 23.75), (4, 6)),
    "padded left, cropped right": ((20, 30), (-7.25, 3.3, 20.6, 23.7), (4, 6)),
    "a corner only": ((20, 30), (25.25, 15.25, 44, 31), (4, 6)),
}


@pytest.mark.parametrize(("picture", "box", "grid"), LAID.values(), ids=LAID.keys())
def test_maps_are_laid_bilinearly_and_nowhere_else(picture, box, grid):
    heatmap = zoo.noise(1, *grid, channels=1)[0, 0]
    frame = Frame(picture, box, (224, 224))
    result, expected = project_to_picture(heatmap, frame), laid_by_hand(heatmap.numpy(), frame)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_allclose(result, expected, atol=2e-5)


@pytest.mark.parametrize("size", [(37, 53), (112, 64), (5, 4)], ids=str)
@pytest.mark.parametrize("grid", [(7, 7), (14, 8), (1, 3)], ids=str)
def test_on_a_whole_picture_it_is_torch_interpolate(size, grid):
    heatmap = zoo.noise(1, *grid, channels=1)
    expected = interpolate(heatmap, size, mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(project_to_picture(heatmap[0, 0], Frame.whole(size)), expected, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_any_float_type_is_laid_as_float32(dtype):
    heatmap = torch.ones(3, 3, dtype=dtype, requires_grad=True)
    result = project_to_picture(heatmap, Frame.whole((6, 6)))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.ones((6, 6)))


# ------------------------------------------------------------------------------- geometry of real transforms

PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
FIRST = 4  # the value of pixel 0: padding, which is 0, can be told from it


def ramp(height: int, width: int) -> Image.Image:
    """Red says at which x a pixel lies, green at which y, blue that it is the picture."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([columns + FIRST, rows + FIRST, np.full_like(rows, 255)], axis=2).astype(np.uint8)
    )


def timm_eval(size: tuple[int, int], **settings: object) -> transforms.Compose:
    return create_transform(input_size=(3, *size), **PLAIN, **settings)


GEOMETRIES = {
    **{
        f"timm {mode} {crop} {size[0]}×{size[1]} {kind}": timm_eval(
            size, crop_mode=mode, crop_pct=crop, interpolation=kind
        )
        for mode in ("center", "squash", "border")
        for crop in (0.875, 1.0)
        for size, kind in (((96, 96), "bicubic"), ((63, 101), "bilinear"))
    },
    "torchvision, short side": transforms.Compose(
        [transforms.Resize(117), transforms.CenterCrop(100), transforms.ToTensor()]
    ),
    "torchvision, both sides": transforms.Compose(
        [transforms.Resize((90, 121)), transforms.CenterCrop((75, 100)), transforms.ToTensor()]
    ),
    "torchvision, crop that pads": transforms.Compose(
        [transforms.Resize(80), transforms.CenterCrop((99, 93)), transforms.ToTensor()]
    ),
    "torchvision, crop, then resize": transforms.Compose(
        [transforms.CenterCrop((101, 120)), transforms.Resize((64, 70)), transforms.ToTensor()]
    ),
    "torchvision, nothing moves": transforms.Compose([transforms.ToTensor()]),
    "torchvision, on tensors": transforms.Compose(
        [transforms.ToTensor(), transforms.Resize((88, 99), antialias=True), transforms.CenterCrop(64)]
    ),
    "torchvision v2": v2.Compose(
        [v2.ToImage(), v2.Resize((77, 111)), v2.CenterCrop(70), v2.ToDtype(torch.float32, scale=True)]
    ),
}
PICTURES = {"landscape": (167, 250), "portrait": (243, 151), "small": (75, 60)}


def claimed(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """For each position of the input, where on the picture its centre lies: (x, y) in pixel indices."""
    left, top, right, bottom = frame.box
    rows, columns = np.mgrid[: frame.view[0], : frame.view[1]] + 0.5
    across, down = (right - left) / frame.view[1], (bottom - top) / frame.view[0]
    return left + columns * across - 0.5, top + rows * down - 0.5


def inner(frame: Frame) -> np.ndarray:
    """Positions so far inside the picture that no resampling kernel reaches over its border."""
    x, y = claimed(frame)
    left, top, right, bottom = frame.box
    height, width = frame.picture
    reach_x = 2 * max((right - left) / frame.view[1], 1) + 2
    reach_y = 2 * max((bottom - top) / frame.view[0], 1) + 2
    return (x > reach_x) & (x < width - reach_x) & (y > reach_y) & (y < height - reach_y)


@pytest.mark.parametrize("size", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("transform", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_the_frame_says_where_the_input_came_from(transform, size):
    tensor, frame = preprocess_of(transform)(ramp(*size))
    assert frame.picture == size
    assert frame.view == tuple(tensor.shape[1:])
    inside = inner(frame)
    assert inside.sum() > 100
    for channel, expected in zip(tensor[:2].numpy() * 255 - FIRST, claimed(frame), strict=True):
        difference = (channel - expected)[inside]
        assert np.abs(difference).max() < 0.9  # eight bits round twice: a pixel's index is known to that much
        assert abs(difference.mean()) < 0.1  # but not in one direction


@pytest.mark.parametrize("size", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("transform", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_padding_lies_outside_the_picture(transform, size):
    tensor, frame = preprocess_of(transform)(ramp(*size))
    x, y = claimed(frame)
    left, top, right, bottom = frame.box
    doubt_x, doubt_y = (
        (right - left) / frame.view[1],
        (bottom - top) / frame.view[0],
    )  # half a position and more
    outside = np.maximum(np.maximum(-x, x + 1 - size[1]) / doubt_x, np.maximum(-y, y + 1 - size[0]) / doubt_y)
    assert (tensor[2].numpy()[outside > 1] < 0.5).all()
    assert (tensor[2].numpy()[outside < -1] > 0.5).all()


def test_the_ramp_test_can_tell():
    """A crop that is off by one pixel would be seen."""
    tensor, frame = preprocess_of(GEOMETRIES["timm center 1.0 96×96 bicubic"])(ramp(167, 250))
    off = Frame(frame.picture, tuple(side + 1 for side in frame.box), frame.view)
    difference = (tensor[0].numpy() * 255 - FIRST - claimed(off)[0])[inner(frame)]
    assert abs(difference.mean()) > 0.9


MOVING = {
    "RandomResizedCrop": transforms.RandomResizedCrop(20),
    "RandomHorizontalFlip": transforms.RandomHorizontalFlip(),
    "Pad": transforms.Pad(2),
    "Lambda": transforms.Lambda(lambda picture: picture),
    "FiveCrop": transforms.FiveCrop(10),
}


@pytest.mark.parametrize("step", MOVING.values(), ids=MOVING.keys())
def test_steps_whose_geometry_is_not_known_are_refused(step):
    preprocess = preprocess_of(transforms.Compose([step, transforms.ToTensor()]))
    with pytest.raises(OptionError, match=f"{type(step).__name__} may move the picture.*use .*Resize"):
        preprocess(ramp(30, 40))


def test_what_is_no_sequence_of_steps_is_refused():
    with pytest.raises(OptionError, match=r"torchvision Compose.*got ToTensor"):
        preprocess_of(transforms.ToTensor())


def test_steps_that_end_in_no_tensor_are_refused():
    with pytest.raises(OptionError, match=r"must end in a tensor.*add ToTensor"):
        preprocess_of(transforms.Compose([transforms.Resize(9)]))(ramp(30, 40))


def test_one_channel():
    transform = create_transform(input_size=(1, 32, 32), mean=(0.5,), std=(0.25,))
    tensor, frame = preprocess_of(transform, channels=1)(Image.new("RGB", (60, 40), (255, 0, 0)))
    assert tensor.shape == (1, 32, 32)
    red = 76 / 255  # luma of pure red
    torch.testing.assert_close(tensor, torch.full((1, 32, 32), (red - 0.5) / 0.25), atol=1e-4, rtol=0)
    assert frame.picture == (40, 60)


def test_a_one_channel_network_takes_a_colour_picture():
    network = zoo.redraw(timm.create_model("resnet10t", in_chans=1, num_classes=10))
    explanation = Explainer(network).explain(ramp(60, 80))[0]
    assert explanation.picture.mode == "RGB"
    assert explanation.frame.picture == (60, 80)


def test_a_five_channel_network_takes_no_picture():
    network = zoo.redraw(timm.create_model("resnet10t", in_chans=5, num_classes=10))
    explainer = Explainer(network)
    with pytest.raises(PictureError, match=r"5 channels.*tensor"):
        explainer.explain(ramp(60, 80))
    assert explainer.explain(zoo.noise(channels=5))[0].picture.size == (zoo.SIZE, zoo.SIZE)


# --------------------------------------------------------------------------------------------- tutorial, timm


@pytest.mark.parametrize("size", [(301, 203), (224, 224), (100, 333)], ids=str)
def test_the_tutorials_preprocessing_is_opencvs(size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    tensor, frame = tutorial_preprocess(Image.fromarray(picture))
    squashed = cv2.resize(picture.astype(np.float32) / 255, (224, 224), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(tensor.permute(1, 2, 0), (squashed - 0.5) / 0.5, atol=5e-4)
    assert frame == Frame(size, (0, 0, size[1], size[0]), (224, 224))


HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# the checkpoint behind each name: mean and deviation, share of the shorter side that is seen
CHECKPOINTS = {
    "resnet50": (IMAGENET, 0.95),
    "vit_base_patch16_224": (HALF, 0.9),
    "swin_base_patch4_window7_224": (IMAGENET, 0.9),
    "convnext_base": (IMAGENET, 0.875),
}


@pytest.mark.parametrize(("name", "wanted"), CHECKPOINTS.items(), ids=CHECKPOINTS)
def test_each_checkpoint_has_its_own_preprocessing(name, wanted):
    (mean, deviation), share = wanted
    network = torch.nn.Module()  # what preprocessing asks of a network is its configuration
    network.pretrained_cfg = timm.models.get_pretrained_cfg(name).to_dict()
    network.num_classes = 1000
    adapter = timm_models.adapt(network, name, "random")
    colour = (200, 100, 50)
    tensor, frame = adapter.preprocess(Image.new("RGB", (1500, 1000), colour))
    assert tuple(tensor.shape) == adapter.input_size == (3, 224, 224)
    expected = (torch.tensor(colour) / 255 - torch.tensor(mean)) / torch.tensor(deviation)
    torch.testing.assert_close(tensor[:, 112, 112], expected, atol=1e-4, rtol=0)
    assert adapter.normalisation == (mean, deviation)
    left, top, right, bottom = frame.box
    assert right - left == pytest.approx(bottom - top, abs=3)
    assert bottom - top == pytest.approx(1000 * share, abs=5)
    assert (left + right) / 2 == pytest.approx(750, abs=3)
    assert (top + bottom) / 2 == pytest.approx(500, abs=3)


def test_the_explainer_uses_the_checkpoints_own():
    """And the tutorial's only on request: two frames on the same picture."""
    network = zoo.resnet()
    picture = ramp(167, 250)
    own = Explainer(network).explain(picture)[0]
    asked = Explainer(network, preprocess="tutorial").explain(picture)[0]
    assert own.frame.box[0] > 0
    assert asked.frame == Frame((167, 250), (0, 0, 250, 167), (224, 224))
    assert (own.provenance.preprocess, asked.provenance.preprocess) == ("model", "tutorial")
