"""Open any picture safely, upright and in RGB, or say why not and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.errors import PictureError, printable, spoken
from camlucida.findings import band_left_out, unlikely_alpha
from camlucida.images.alpha import is_transparent, looks_like_alpha, on_white, without_alpha
from camlucida.images.depth import eight_bits, findings_of, is_deep
from camlucida.images.formats import HEAD, HEIC, JPEG2000, TIFF, Format, format_of
from camlucida.images.heic import open_heic
from camlucida.images.orientation import orientation_in, orientation_of, turned
from camlucida.images.sidedata import Parts, parts_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from camlucida.findings import Finding

PIXEL_LIMIT = 89_478_485  # Pillow's own figure, above which it suspects a decompression bomb
_SLOW = {JPEG2000.name: 4}  # formats that decode this many times slower may have this many times fewer pixels
_FILE_LIMIT = 1 << 30  # bytes


@dataclass(frozen=True)
class Opened:
    """An upright RGB picture, and the findings about how its values were read."""

    picture: Image
    findings: tuple[Finding, ...] = ()


def load(source: Any) -> Image:
    """An upright RGB picture from a path, a file's bytes, an open file, a PIL picture or a uint8 array (height,
    width[, 1|3|4]).

    Animated files give their first frame, transparency becomes white, and other depths are scaled to 8 bits.
    The formats of files are those in ``formats.FORMATS``.

    Raises:
        PictureError: the file is missing, not a picture, damaged, empty or implausibly large.
    """
    return opened(source).picture


def opened(source: Any) -> Opened:
    """``load`` with findings, such as a range that is hardly used or a fourth band that is not alpha."""
    from PIL import Image

    if isinstance(source, (str, Path)):
        return _of_file(Path(source))
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise PictureError(f"a picture needs pixels, but this one is {source.width}×{source.height}")
        with _explained("this picture", "a picture"):
            source.load()
            return _upright_rgb(source, orientation_of(source), None, "this picture")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _of_data(bytes(source), "this picture")
    if hasattr(source, "__array_interface__"):
        return _of_array(source)
    if hasattr(source, "read"):
        return _of_stream(source)
    raise PictureError(
        "a picture is a path, bytes, an open file, a PIL picture, a uint8 array or a float tensor, got "
        f"{type(source).__name__}"
    )


def _of_stream(stream: Any) -> Opened:
    """A picture in an open file, read from its position, which is restored if the file is seekable."""
    name = getattr(stream, "name", None)
    name = printable(name) if isinstance(name, str) and name else "this file"
    with _explained(name, "a picture"):
        start = stream.tell() if hasattr(stream, "seekable") and stream.seekable() else None
        data = stream.read(_FILE_LIMIT + 1)
        if start is not None:
            stream.seek(start)
    if not isinstance(data, bytes):
        raise PictureError(f"{name} gives {type(data).__name__}, not bytes: open it with mode 'rb'")
    return _of_data(data, name)


def _of_file(path: Path) -> Opened:
    name = printable(path)
    return _of_data(_bytes_of(path, name), name)


def _of_data(data: bytes, name: str) -> Opened:
    """A picture from the bytes of its file.

    Raises:
        PictureError: there are none or too many, or they are not a picture.
    """
    if not data:
        raise PictureError(f"{name} is empty: give a file with a picture in it")
    if len(data) > _FILE_LIMIT:
        raise _too_long(name, len(data))
    kind = format_of(data[:HEAD], name)
    with _explained(name, kind.name):
        parts = parts_of(data, kind)
        del data
        (width, height), decode = _prepared(parts, kind, name)
        if width * height > PIXEL_LIMIT // _SLOW.get(kind.name, 1):
            raise _too_large(name, kind)
        picture = decode()
        orientation = parts.orientation
        if kind.name == "AVIF":  # Pillow writes there what the picture's own boxes say
            orientation = orientation_in(picture.info.get("exif", b""))
        return _upright_rgb(picture, orientation, parts.bits, name)


def _too_long(name: str, size: int) -> PictureError:
    return PictureError(f"{name} has {size / 1e9:.1f} GB, more than any picture needs: scale it down")


def _bytes_of(path: Path, name: str) -> bytes:
    """The whole file.

    Raises:
        PictureError: there is no such file, or it cannot be read, is empty or too large.
    """
    try:
        if path.is_dir():
            raise PictureError(f"{name} is a folder: give a picture in it")
        if not path.exists():
            raise PictureError(f"there is no picture at {name}: check the path")
        if not path.is_file():
            raise PictureError(f"{name} is a device or a pipe: give a picture file")
        size = path.stat().st_size
        if size > _FILE_LIMIT:
            raise _too_long(name, size)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{name} cannot be read ({reason}): check the path and its permissions") from error


def _prepared(parts: Parts, kind: Format, name: str) -> tuple[tuple[int, int], Callable[[], Image]]:
    """The size (width, height) of a picture in a file, and a function that decodes it."""
    if kind is HEIC:
        return open_heic(parts.pixels, name)
    picture = kind.open(BytesIO(parts.pixels))

    def decode() -> Image:
        picture.load()
        return picture

    return picture.size, decode


def _too_large(name: str, kind: Format) -> PictureError:
    limit = PIXEL_LIMIT // _SLOW.get(kind.name, 1)
    return PictureError(
        f"{name} has more than {limit / 1e6:.0f} million pixels, which may be a decompression bomb: scale it "
        f"down{spoken('', ', or open it yourself and pass the PIL picture')}"
    )


@contextmanager
def _explained(name: str, kind: str) -> Iterator[None]:
    """Turn any error of decoding the picture ``name`` into a PictureError with the decoder's reason."""
    try:
        yield
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{name} needs more memory than is available: scale it down") from None
    except Exception as error:  # decoders raise anything on a damaged file
        reason = printable(" ".join(str(error).split())).rstrip(".") or type(error).__name__
        raise PictureError(
            f"{name} cannot be read as {kind} ({reason}): get another copy of the file, or convert it to PNG"
        ) from error


def _of_array(array: Any) -> Opened:
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
    picture = Image.fromarray(array)
    found = _upright_rgb(picture, 1, None, "this array")
    doubtful = picture.mode == "RGBA" and not looks_like_alpha(picture)
    return Opened(found.picture, ((unlikely_alpha(),) if doubtful else ()) + found.findings)


def _upright_rgb(picture: Image, orientation: int, bits: int | None, name: str) -> Opened:
    """A decoded picture, turned by its ``orientation``; ``bits`` is the depth of its samples, if known."""
    findings: tuple[Finding, ...] = ()
    if is_deep(picture):
        flat = eight_bits(picture, bits, name).convert("RGB")
    elif is_transparent(picture):
        extra = getattr(picture, "format", None) == TIFF.name and picture.mode in ("RGBA", "LA")
        if extra and not looks_like_alpha(picture):
            flat, findings = without_alpha(picture), (band_left_out(),)
        else:
            flat = on_white(picture)
    else:
        flat = picture.convert("RGB")
    upright = turned(flat, orientation)
    upright.info.clear()  # otherwise it would be turned again if it is opened once more
    return Opened(upright, (*findings, *findings_of(upright)))
