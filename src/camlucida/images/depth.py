"""Scale grey values of any depth to eight bits; the file or its format says what black and white are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camlucida.errors import PictureError
from camlucida.findings import narrow_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from PIL.Image import Image

    from camlucida.findings import Finding

_BITS, _PHOTOMETRIC, _MOST, _SAMPLE_FORMAT, _FLOAT_LEAST, _FLOAT_MOST = 258, 262, 281, 339, 340, 341  # TIFF's
_ROUNDING = 1e-4  # overshoot of the range of floats that counts as rounding
_OUTLIERS = 0.001  # share of the values at either end that do not count as used
_PIECE = 1 << 22  # values at a time


def is_deep(picture: Image) -> bool:
    """Whether the picture is grey and deeper than eight bits."""
    return picture.mode.startswith(("I", "F"))


def eight_bits(picture: Image, bits: int | None, name: str) -> Image:
    """A grey picture of 16 or 32 bits or of floats, scaled to eight; Pillow's own conversion would clip it.

    White is what the file says (MaxSampleValue or SMaxSampleValue of a TIFF; ``bits`` from the sBIT of a PNG),
    else the largest value of the number type. A picture whose white is its smallest value is inverted.

    Raises:
        PictureError: the values fit none of the usual ranges.
    """
    import numpy as np
    from PIL import Image

    ends = [(float(values.min()), float(values.max())) for _, values in _stripes(picture)]
    low, high = float(np.min(ends)), float(np.max(ends))
    black, white = _range(picture, bits, low, high, name)
    if _tag(picture, _PHOTOMETRIC) == 0:
        black, white = white, black
    scaled = Image.new("L", picture.size)
    for top, values in _stripes(picture):
        levels = (values.astype(np.float64) - black) * (255 / (white - black))
        scaled.paste(Image.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8)), (0, top))
    return scaled


def _stripes(picture: Image) -> Iterator[tuple[int, np.ndarray]]:
    """A few rows at a time, with the index of the first: a whole picture in float64 takes gigabytes."""
    import numpy as np

    rows = max(1, _PIECE // picture.width)
    for top in range(0, picture.height, rows):
        yield top, np.asarray(picture.crop((0, top, picture.width, min(top + rows, picture.height))))


def _range(picture: Image, bits: int | None, low: float, high: float, name: str) -> tuple[float, float]:
    """The values that are black and white in a picture with values from ``low`` to ``high``."""
    declared = (_tag(picture, _FLOAT_LEAST) or 0.0, _tag(picture, _FLOAT_MOST) or _tag(picture, _MOST) or 0.0)
    spare = _ROUNDING if picture.mode == "F" else 0.0
    if declared[0] < declared[1] and declared[0] - spare <= low and high <= declared[1] + spare:
        return declared
    most = 65535.0 if bits is None else 2.0**bits - 1
    if most < 65535 and high <= most and picture.mode.startswith("I;16") and not _shifted(picture, bits or 0):
        return 0.0, most
    for white in _whites(picture):
        if low >= -spare and high <= white + spare:
            return 0.0, white
    raise PictureError(
        f"{name} has grey values from {low:g} to {high:g}, which fits none of the ranges 0…1, 0…255 and "
        "0…65535: scale them to 0…255 first"
    )


def _whites(picture: Image) -> tuple[float, ...]:
    """The largest values that samples of this type may have."""
    if picture.mode == "F":
        return 1.0, 255.0, 65535.0
    stored = int(_tag(picture, _BITS) or 16)
    if stored == 16 and _tag(picture, _SAMPLE_FORMAT) == 2:
        return (32767.0,)  # signed
    return (2.0**stored - 1,) if stored < 16 else (65535.0,)


def _shifted(picture: Image, bits: int) -> bool:
    """Whether samples of fewer bits are shifted up to sixteen, as the PNG specification asks."""
    empty = 2 ** (16 - bits) - 1
    return all(bool((values & empty == 0).all()) for _, values in _stripes(picture))


def _tag(picture: Image, number: int) -> float | None:
    """The first value of a TIFF tag, or None if it is missing or not a number."""
    try:
        value: Any = picture.tag_v2[number]  # type: ignore[attr-defined]
        return float(value[0] if isinstance(value, tuple) else value)
    except Exception:  # noqa: BLE001 - metadata of a user's file
        return None


def findings_of(picture: Image) -> tuple[Finding, ...]:
    """For an RGB picture that uses less than a tenth of its grey levels: its depth may be another."""
    import numpy as np

    counts = np.asarray(picture.histogram()).reshape(3, 256).sum(axis=0)
    share = counts.cumsum() / counts.sum()
    low, high = (int(np.searchsorted(share, limit)) for limit in (_OUTLIERS, 1 - _OUTLIERS))
    return (narrow_range(low, high),) if high - low < 25.6 else ()
