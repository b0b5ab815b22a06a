"""Open any picture safely, and remember how a model's input lies on it."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.errors import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
PIXEL_LIMIT = 89_478_485  # Pillow's own figure, above which it suspects a decompression bomb

Size = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Frame:
    """Where the model's input lies on the picture.

    ``picture`` and ``view`` are sizes (height, width) in pixels; ``box`` is the part of the picture that
    the view covers, (left, top, right, bottom) in the picture's pixels, and reaches beyond the picture
    where the input was padded.
    """

    picture: Size
    box: tuple[float, float, float, float]
    view: Size

    @classmethod
    def whole(cls, size: Size) -> Frame:
        """The picture itself."""
        height, width = size
        return cls(size, (0.0, 0.0, float(width), float(height)), size)

    def resized(self, size: Size) -> Frame:
        """The same part of the picture, resampled to ``size``."""
        return Frame(self.picture, self.box, size)

    def cropped(self, left: float, top: float, size: Size) -> Frame:
        """The rectangle of ``size`` at (left, top) of this view; negative or too large means padding."""
        x0, y0, x1, y1 = self.box
        across, down = (x1 - x0) / self.view[1], (y1 - y0) / self.view[0]
        x, y = x0 + left * across, y0 + top * down
        return Frame(self.picture, (x, y, x + size[1] * across, y + size[0] * down), size)


def load(source: Any) -> Image:
    """An upright RGB picture from a path, a PIL picture or a uint8 array (height, width[, 1|3|4]).

    Of animated files the first frame is taken; alpha is laid on white; 16 bits are scaled to 8.

    Raises:
        PictureError: there is no such file, it is no picture, is broken, empty or too large to be true.
    """
    from PIL import Image

    if isinstance(source, (str, Path)):
        return _open(Path(source))
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise PictureError(f"a picture needs pixels, but this one is {source.width}×{source.height}")
        with _explained("this picture"):
            return _upright_rgb(source, "this picture")
    if hasattr(source, "__array_interface__"):
        return _from_array(source)
    raise PictureError(
        f"a picture is a path, a PIL picture, a uint8 array or a float tensor, got {type(source).__name__}"
    )


def find(sources: list[Path]) -> Iterator[Path]:
    """The pictures meant by paths: files as they are, folders by their picture files in order of name.

    Raises:
        PictureError: a folder holds no picture.
    """
    for source in sources:
        if not source.is_dir():
            yield source
            continue
        inside = sorted(
            path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and not path.is_dir()
        )
        if not inside:
            raise PictureError(
                f"folder {source} holds no picture, files are taken that end in {' '.join(SUFFIXES)}"
            )
        yield from inside


def _open(path: Path) -> Image:
    from PIL import Image

    with _explained(str(path)), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged by our own limit below
        if path.is_dir():
            raise PictureError(f"{path} is a folder, give a picture in it")
        if not path.exists():
            raise PictureError(f"no picture at {path}, check the path")
        if path.stat().st_size == 0:
            raise PictureError(f"{path} is empty, give a file with a picture in it")
        with Image.open(path) as picture:
            if picture.width * picture.height > PIXEL_LIMIT:
                raise Image.DecompressionBombError
            picture.load()
            return _upright_rgb(picture, str(path))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What goes wrong with the picture ``name``, as a PictureError that says which one."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except Image.DecompressionBombError:
        raise PictureError(
            f"{name} has more than {PIXEL_LIMIT / 1e6:.0f} million pixels, which may be a decompression "
            "bomb: scale it down, or open it yourself and pass the PIL picture"
        ) from None
    except UnidentifiedImageError:
        raise PictureError(f"{name} is not a picture that Pillow can read, convert it to PNG or JPEG") from None
    except (OSError, SyntaxError, ValueError, RuntimeError, EOFError, struct.error) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise PictureError(
            f"{name} cannot be read ({reason}), it may be truncated: get the file anew"
        ) from error


def _from_array(array: Any) -> Image:
    import numpy as np
    from PIL import Image

    array = np.asarray(array)
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not fits or array.size == 0:
        raise PictureError(
            "a picture array is uint8 (height, width[, 1|3|4]), got "
            f"{array.dtype} {array.shape}: scale it to 0…255, or pass a float tensor as the model's input"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return _upright_rgb(Image.fromarray(array), "this array")


def _upright_rgb(picture: Image, name: str) -> Image:
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        return _eight_bit(picture, name).convert("RGB")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        transparent = picture.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return picture.convert("RGB")


def _eight_bit(picture: Image, name: str) -> Image:
    """Sixteen-bit or float greys scaled to eight bits; Pillow's own conversion would clip them."""
    import numpy as np
    from PIL import Image

    values = np.asarray(picture).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    sixteen_bit = {65535.0: 1 / 257}
    ranges = {1.0: 255.0, 255.0: 1.0, **sixteen_bit} if picture.mode == "F" else sixteen_bit
    scale = next((factor for limit, factor in ranges.items() if high <= limit), None)
    if scale is None or not low >= 0:
        raise PictureError(
            f"{name} has grey values from {low:g} to {high:g}, which fit none of the ranges 0…1, 0…255 and "
            "0…65535, scale them to 0…255 first"
        )
    return Image.fromarray(np.rint(values * scale).astype(np.uint8))
