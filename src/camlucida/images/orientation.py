"""Read which way up a picture is from its EXIF or XMP, and nothing else.

Other metadata is never parsed, however odd or damaged: it must not keep an intact picture from being opened.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
_LARGEST = 65_536  # entries of a directory
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q"}
_RATIONALS = {5: "II", 10: "ii"}


def turned(picture: Image, orientation: int) -> Image:
    """The picture turned upright by EXIF's ``orientation``, 1 to 8; other values leave it as it is."""
    from PIL.Image import Transpose

    ways = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(ways[orientation]) if orientation in ways else picture


def orientation_in(exif: bytes = b"", xmp: bytes = b"") -> int:
    """The orientation in an EXIF block, else in XMP, else 1, which is upright."""
    block = re.sub(rb"^(Exif\x00\x00){1,2}", b"", exif[:12]) + exif[12:]
    found = [value for value in (_value(block, *entry) for entry in _entries(block)) if value is not None]
    if found:
        return int(found[-1]) if found[-1] in range(1, 9) else 1
    written = re.search(rb'tiff:Orientation(?:="|>)([0-9])', xmp)
    return int(written[1]) if written else 1


def orientation_of(picture: Image) -> int:
    """The orientation in the metadata of a PIL picture."""
    side = picture.info
    exif, profile = side.get("exif"), side.get("Raw profile type exif")
    xmp = side.get("XML:com.adobe.xmp") or side.get("xmp") or b""
    if isinstance(profile, str) and not isinstance(exif, bytes):
        exif = unhexed(profile.encode("latin-1", "replace"))
    if isinstance(exif, bytes) or xmp:
        text = xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp
        return orientation_in(exif if isinstance(exif, bytes) else b"", text)
    try:
        value: Any = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - metadata of a user's file
        return 1
    return int(value) if value in range(1, 9) else 1


def unhexed(profile: bytes) -> bytes:
    """The EXIF in the text that ImageMagick writes into a PNG: a name, a length and hexadecimal digits."""
    digits = b"".join(profile.split(b"\n")[3:]).split()
    try:
        return bytes.fromhex(b"".join(digits).decode("ascii"))
    except ValueError:
        return b""


def directory(data: bytes) -> tuple[str, int, int, int] | None:
    """The byte order, offset, number of entries and entry size of the first directory of a TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or data[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return None
    large = 43 in data[2:4]
    try:
        (at,) = struct.unpack_from(order + ("Q" if large else "I"), data, 8 if large else 4)
        (count,) = struct.unpack_from(order + ("Q" if large else "H"), data, at)
    except (struct.error, OverflowError):
        return None
    return order, at + (8 if large else 2), min(count, _LARGEST), 20 if large else 12


def _entries(block: bytes) -> Iterator[tuple[str, int, int, int, int]]:
    """The byte order, type, count, offset and size of each orientation value in the first directory."""
    found = directory(block)
    if found is None:
        return
    order, start, entries, size = found
    for at in range(start, min(start + entries * size, len(block) - size + 1), size):
        tag, kind, count = struct.unpack_from(order + ("HHQ" if size == 20 else "HHI"), block, at)
        if tag == ORIENTATION:
            yield order, kind, count, at + (12 if size == 20 else 8), 8 if size == 20 else 4


def _value(block: bytes, order: str, kind: int, count: int, at: int, room: int) -> float | None:
    """The first number of an entry, or None."""
    form = _NUMBERS.get(kind) or _RATIONALS.get(kind)
    if form is None or count == 0:
        return None
    size = struct.calcsize("=" + form) * count
    try:
        if size > room:
            (at,) = struct.unpack_from(order + ("Q" if room == 8 else "I"), block, at)
        if at + size > len(block):
            return None
        values = struct.unpack_from(order + form, block, at)
    except (struct.error, OverflowError):
        return None
    if kind in _RATIONALS:
        return values[0] / values[1] if values[1] else None
    return float(values[0])
