"""Open HEIC, the format of phones, with pillow-heif, which is an extra."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

from camlucida.errors import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image


def open_heic(data: bytes, name: str) -> tuple[tuple[int, int], Callable[[], Image]]:
    """The size (width, height) of the main picture, and a function that decodes it upright.

    Pillow's list of formats stays unchanged.

    Raises:
        PictureError: pillow-heif is not installed.
    """
    from PIL.Image import frombytes

    try:
        from pillow_heif import open_heif
    except ModuleNotFoundError:
        raise PictureError(
            f"{name} is HEIC, whose decoder is an extra: pip install 'camlucida[heic]', or convert it to JPEG"
        ) from None
    container = open_heif(BytesIO(data))
    main = container[container.primary_index]

    def decode() -> Image:
        return frombytes(main.mode, main.size, bytes(main.data), "raw", main.mode, main.stride)

    return main.size, decode
