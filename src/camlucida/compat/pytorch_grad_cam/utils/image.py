"""Pictures in and out, as in pytorch-grad-cam, without OpenCV."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import torch

from camlucida.errors import OptionError, PictureError, unknown_name
from camlucida.heatmaps.combine import resample
from camlucida.images.colour import colour, diverging
from camlucida.images.frame import EVEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

_JET = 2  # OpenCV's COLORMAP_JET
_NAMES = (
    *("autumn", "bone", "jet", "winter", "rainbow", "ocean", "summer", "spring", "cool", "hsv", "pink", "hot"),
    *("parula", "magma", "inferno", "plasma", "viridis", "cividis", "twilight", "twilight_shifted", "turbo"),
    "deepgreen",
)
_BLACK, _WHITE, _RED, _GREEN, _BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
_YELLOW, _CYAN, _MAGENTA = (255, 255, 0), (0, 255, 255), (255, 0, 255)
# Colours at places of 0 to 255, with straight lines between, where matplotlib's map is another or none.
_CORNERS: dict[int, dict[float, tuple[float, float, float]]] = {
    _JET: {0: (0, 0, 127.5), 31.875: _BLUE, 95.625: _CYAN, 159.375: _YELLOW, 223.125: _RED, 255: (127.5, 0, 0)},
    4: {0: _RED, 102: _YELLOW, 153: _GREEN, 204: _BLUE, 255: (170, 0, 255)},
    5: {0: _BLACK, 85: (0, 0, 85), 170: (0, 127.5, 170), 255: _WHITE},
    9: {0: _RED, 42.5: _YELLOW, 85: _GREEN, 127.5: _CYAN, 170: _BLUE, 212.5: _MAGENTA, 255: _RED},
    11: {0: _BLACK, 102: _RED, 204: _YELLOW, 255: _WHITE},
    21: {0: _BLACK, 85: (0, 85, 0), 170: (0, 170, 127.5), 255: _WHITE},
}
_ABOVE_ONE = 1e-5  # rounding of a map that was divided by its largest value


def preprocess_image(
    img: np.ndarray | Image, mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)
) -> torch.Tensor:
    """The model's input (1, channels, height, width), float32, of a picture (height, width, channels).

    uint8 is divided by 255, floats are taken as they are; then ``mean`` and ``std`` by channel. The default is
    the peer's and seldom the model's: most want ImageNet's.

    Raises:
        PictureError: neither uint8 nor floats, or other channels than ``mean``.
        OptionError: ``std`` is of another length, or has a zero.
    """
    pixels = np.asarray(img)
    if pixels.ndim != 3 or pixels.shape[2] != len(mean):
        raise PictureError(
            f"a picture is (height, width, {len(mean)}), a channel for each mean, got {pixels.shape}: "
            "convert it, or give a mean and a std for each of its channels"
        )
    if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
        raise PictureError(f"a picture is uint8 or of floats, got {pixels.dtype}: convert it with astype")
    if len(std) != len(mean) or min(std) <= 0:
        raise OptionError(f"std has a value above zero for each of the {len(mean)} means, got {tuple(std)}")
    planes = torch.from_numpy(pixels.transpose(2, 0, 1).copy())  # torch takes no negative steps
    exact = planes if planes.dtype == torch.float64 else planes.float()
    values = exact / 255 if planes.dtype == torch.uint8 else exact
    middle, spread = (values.new_tensor(list(one))[:, None, None] for one in (mean, std))
    return ((values - middle) / spread)[None].float()


def deprocess_image(img: np.ndarray) -> np.ndarray:
    """uint8 of any numbers, such as gradients: their mean becomes mid grey, ten deviations the whole range.

    Raises:
        PictureError: there are NaN or infinite values.
    """
    values = np.asarray(img)
    if not np.isfinite(values).all():
        raise PictureError("what is drawn has to be finite, got NaN or infinity: look at what computed it")
    standard = (values - values.mean()) / (values.std() + 1e-5)
    shown: np.ndarray = (np.clip(standard * 0.1 + 0.5, 0, 1) * 255).astype(np.uint8)
    return shown


def show_cam_on_image(
    img: np.ndarray,
    mask: np.ndarray,
    use_rgb: bool = False,
    colormap: int | str = _JET,
    image_weight: float = 0.5,
    *,
    strict_parity: bool = False,
) -> np.ndarray:
    """``mask`` (height, width) in colours over ``img`` (height, width, 3), both 0…1, as uint8.

    The colours are in BGR order unless ``use_rgb``, which a picture in RGB order needs. ``colormap`` is
    OpenCV's number or one of matplotlib's names. The peer divides the result by its own largest value, so
    that the same colours differ in brightness from picture to picture. Here that is left out, unless
    ``strict_parity``, which gives the peer's bytes (of JET, and where the colours are OpenCV's).

    Raises:
        PictureError: the picture or the mask is not of these sizes and values.
        OptionError: there is no such colormap, or ``image_weight`` is not within 0…1.
    """
    if not 0 <= image_weight <= 1:
        raise OptionError(f"image_weight is the picture's share from 0 to 1, got {image_weight:g}")
    picture, shares = _checked(img, mask)
    table = _table(colormap)
    coloured = (table if use_rgb else table[:, ::-1])[(255 * shares).astype(np.uint8)]
    blended = (1 - image_weight) * (coloured.astype(np.float32) / 255) + image_weight * picture
    if strict_parity:
        blended = blended / (blended.max() or 1)  # the peer's black picture is 0 / 0, which it casts to black
    shown: np.ndarray = (255 * blended).astype(np.uint8)
    return shown


def scale_cam_image(
    cam: np.ndarray, target_size: tuple[int, int] | None = None, *, strict_parity: bool = False
) -> np.ndarray:
    """Maps (batch, height, width) at 0…1 each and at ``target_size`` (width, height), float32.

    Each is stretched from its smallest value; a constant one becomes zero. The peer adds 1e-7 to the largest
    value, which leaves small maps dark (half of full at 1e-7). Here full is 1 however small the map, unless
    ``strict_parity``.

    Raises:
        PictureError: these are not maps; volumes are not supported.
        OptionError: ``target_size`` is no size.
    """
    maps = np.asarray(cam)
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise PictureError(
            f"maps are (batch, height, width), got {maps.shape}: give a single map as cam[None], and a volume "
            "slice by slice, since volumes are not supported"
        )
    if not strict_parity:
        maps = maps.astype(np.float64)
    above = maps - maps.min(axis=(1, 2), keepdims=True)
    full = above.max(axis=(1, 2), keepdims=True)
    limit = 1e-7 + full if strict_parity else np.where(full == 0, 1, full)
    scaled = (above / limit).astype(np.float32)
    return scaled if target_size is None else _resized(scaled, target_size)


def scale_accross_batch_and_channels(tensor: np.ndarray, target_size: tuple[int, int]) -> np.ndarray:
    """``scale_cam_image`` of each channel of (batch, channels, height, width); the name is the peer's.

    Raises:
        PictureError: the array is of another shape.
        OptionError: ``target_size`` is no size.
    """
    values = np.asarray(tensor)
    if values.ndim != 4:
        raise PictureError(f"channels are (batch, channels, height, width), got {values.shape}: reshape them")
    scaled = scale_cam_image(values.reshape(-1, *values.shape[2:]), target_size)
    return scaled.reshape(*values.shape[:2], *scaled.shape[1:])


def _checked(img: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture (height, width, 3) and the mask (height, width), fit to be drawn."""
    picture, shares = np.asarray(img), np.asarray(mask)
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise PictureError(
            f"the picture is (height, width, 3), got {picture.shape}: convert it to three channels"
        )
    if shares.shape not in (picture.shape[:2], (*picture.shape[:2], 1)):
        raise PictureError(
            f"the mask has the picture's height and width {picture.shape[:2]}, got {shares.shape}: give "
            "one map of a batch (cam[0]), resized to the picture"
        )
    if not np.isfinite(shares).all():
        raise PictureError(
            "the mask has to be finite, got NaN or infinity: choose another layer, method or dtype"
        )
    if shares.min(initial=0) < 0 or shares.max(initial=0) > 1 + _ABOVE_ONE:
        raise PictureError(
            f"the mask is 0 to 1, got {shares.min():g} to {shares.max():g}: scale it first (scale_cam_image)"
        )
    if not (picture.min(initial=0) >= 0 and picture.max(initial=0) <= 1):  # false for NaN too
        raise PictureError(
            f"the picture is of floats 0 to 1, got {picture.min():g} to {picture.max():g}: divide one "
            "of 0 to 255 by 255, and take it before it is normalised for the model"
        )
    return picture, shares.reshape(picture.shape[:2])


def _table(colormap: int | str) -> np.ndarray:
    """A colormap's 256 colours in RGB order, uint8."""
    name = colormap if isinstance(colormap, str) else _name(colormap)
    if isinstance(colormap, str) or colormap not in _CORNERS:
        values = np.linspace(-1 if diverging(name) else 0, 1, 256)
        return np.asarray(colour(values[None], name)[0])
    corners = _CORNERS[colormap]
    channels = zip(*corners.values(), strict=True)
    drawn = np.stack([np.interp(np.arange(256), list(corners), one) for one in channels], axis=1)
    table: np.ndarray = np.rint(drawn).astype(np.uint8)
    if colormap == _JET:  # which is OpenCV's to the bit, but for 1.5, which OpenCV has just below
        table[159, 2] = 1
    return table


def _name(colormap: int) -> str:
    """Matplotlib's name of OpenCV's number."""
    if not isinstance(colormap, Integral) or not 0 <= colormap < len(_NAMES):
        given = f"{colormap!r:.40}"
        hint = "it is one of OpenCV's, 0 to 21, such as 2 (jet) or 20 (turbo), or matplotlib's name of one"
        raise OptionError(unknown_name("colormap", given, [], hint))
    name = _NAMES[int(colormap)]
    if name == "parula":
        raise OptionError(
            "colormap 12 is parula, which matplotlib does not have: take 16 (viridis), which is like it"
        )
    return name


def _resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float32 maps at ``size`` (width, height), bilinear with pixels' centres at halves and no smoothing.

    In float64, since float32 cannot tell where between two of many positions a pixel lies.
    """
    if len(size) != 2 or not all(isinstance(side, Integral) and side > 0 for side in size):
        raise OptionError(f"target_size is (width, height), two whole numbers above zero, got {tuple(size)}")
    planes = torch.from_numpy(maps).double()
    resized = resample(planes, (int(size[1]), int(size[0])), EVEN.box, EVEN.box)
    return np.asarray(resized.float().numpy())
