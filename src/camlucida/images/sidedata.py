"""Separate the pixels in a file from its metadata: EXIF, colour profiles, XMP, texts.

Pillow parses all of that when it opens a file, and rejects the picture if it is damaged. So the decoder gets
the file without it; the orientation, and the significant bits of a PNG, are read here.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from camlucida.images.formats import AVIF, HEIC, JPEG, PNG, TIFF, WEBP, Format
from camlucida.images.orientation import directory, orientation_in, unhexed

_TEXT = 1 << 20  # bytes of a compressed text that are read
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\x00"
_EXIF_IN_TEXT = b"Raw profile type exif\x00"
# The TIFF tags that decoding the pixels needs.
_PIXEL_TAGS = frozenset(
    (
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 292, 293, 317, 320, 322, 323, 324),
        *(325, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
    )
)


@dataclass(frozen=True)
class Parts:
    """A file without metadata, the orientation of the picture, and the bits of its samples if known."""

    pixels: bytes
    orientation: int = 1
    bits: int | None = None


def parts_of(data: bytes, kind: Format) -> Parts:
    """The parts of a file. A truncated or damaged file goes to the decoder as it is."""
    if kind is JPEG:
        return _of_jpeg(data)
    if kind is PNG:
        return _of_png(data)
    if kind is TIFF:
        return _of_tiff(data)
    if kind is WEBP:
        return _of_webp(data)
    if kind in (AVIF, HEIC):  # their boxes hold the orientation, and EXIF only repeats it
        return Parts(re.sub(rb"(infe.{8})Exif", rb"\1skip", data, flags=re.DOTALL))
    return Parts(data)


def _of_jpeg(data: bytes) -> Parts:
    """Without comments and application segments, except those of JFIF and Adobe, which define the colours."""
    kept, at, exif, xmp = [data[:2]], 2, b"", b""
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        code, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if code == 0xFF:
            at += 1
            continue
        if code == 0xDA or code <= 0x01 or 0xD0 <= code <= 0xD9 or length < 2:
            break
        body = data[at + 4 : at + 2 + length]
        cut = code == 0xE0 and length < 16  # too short for JFIF
        if cut or code == 0xFE or (0xE1 <= code <= 0xEF and code != 0xEE):
            exif = exif or (body if code == 0xE1 and body.startswith(b"Exif\0\0") else b"")
            xmp = xmp or (body if code == 0xE1 and body.startswith(_XMP_IN_JPEG) else b"")
        else:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    return Parts(b"".join([*kept, data[at:]]), orientation_in(exif, xmp))


def _of_png(data: bytes) -> Parts:
    """Without ancillary chunks, except for transparency."""
    kept, at, exif, xmp, bits = [data[:8]], 8, b"", b"", None
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if not kind.isalpha() or end > len(data):
            break
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(data[at:end])
        else:
            body = data[at + 8 : end - 4]
            exif = body if kind == b"eXIf" else exif or _exif_in_text(kind, body)
            xmp = xmp or _xmp_in_text(kind, body)
            bits = max(body) if kind == b"sBIT" and body else bits
        at = len(data) if kind == b"IEND" else end
    return Parts(b"".join([*kept, data[at:]]), orientation_in(exif, xmp), bits)


def _exif_in_text(kind: bytes, body: bytes) -> bytes:
    if not body.startswith(_EXIF_IN_TEXT):
        return b""
    text = body[len(_EXIF_IN_TEXT) :]
    return unhexed(text if kind == b"tEXt" else _inflated(text[1:]))


def _xmp_in_text(kind: bytes, body: bytes) -> bytes:
    key, _, rest = body.partition(b"\0")
    if kind != b"iTXt" or key != b"XML:com.adobe.xmp":
        return b""
    text = rest[2:].split(b"\0", 2)[-1]  # behind language and translated key
    return _inflated(text) if rest[:1] == b"\x01" else text


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _TEXT)
    except zlib.error:
        return b""


def _of_webp(data: bytes) -> Parts:
    """As it is: libwebp ignores metadata."""
    at, exif, xmp = 12, b"", b""
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length] if kind in (b"EXIF", b"XMP ") else b""
        exif, xmp = (exif or body, xmp) if kind == b"EXIF" else (exif, xmp or body)
        at += 8 + length + length % 2
    return Parts(data, orientation_in(exif, xmp))


def _of_tiff(data: bytes) -> Parts:
    """With only the entries of the first directory that the pixels need, and no other directories."""
    found = directory(data)
    if found is None:
        return Parts(data)
    order, start, count, size = found
    end = start + count * size
    if end > len(data):
        return Parts(data, orientation_in(data))
    entries = [data[at : at + size] for at in range(start, end, size)]
    kept = [one for one in entries if struct.unpack_from(order + "H", one)[0] in _PIXEL_TAGS]
    large = size == 20
    head = struct.pack(order + ("Q" if large else "H"), len(kept))
    written = b"".join([head, *kept, bytes(8 if large else 4)])  # the zeros: no next directory
    at = start - len(head)
    pixels = b"".join([data[:at], written, data[at + len(written) :]])
    return Parts(pixels, orientation_in(data, _xmp_in_tiff(data, entries, order)))


def _xmp_in_tiff(data: bytes, entries: list[bytes], order: str) -> bytes:
    for one in entries:
        if struct.unpack_from(order + "H", one)[0] == 700:
            large = len(one) == 20
            count, at = struct.unpack_from(order + ("QQ" if large else "II"), one, 4)
            return data[at : at + count]
    return b""
