"""The file formats that are opened, recognised by their first bytes, and names for those that are not.

Pillow knows some forty formats. A few start another program on the file (PostScript), and some decoders are
so slow that a small file takes minutes (XPM, QOI, plain-text PPM). Pillow only gets files of the formats below.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from camlucida.errors import PictureError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


@dataclass(frozen=True)
class Format:
    """A file format, the class that decodes it, as ``PIL.module.class``, and the suffixes of its files."""

    name: str
    decoder: str
    suffixes: tuple[str, ...]

    def open(self, data: Any) -> ImageFile:
        """The picture in a binary stream, its pixels not yet decoded."""
        module, _, kind = self.decoder.rpartition(".")
        picture: ImageFile = getattr(import_module(f"PIL.{module}"), kind)(data)
        return picture


AVIF = Format("AVIF", "AvifImagePlugin.AvifImageFile", (".avif",))
BMP = Format("BMP", "BmpImagePlugin.BmpImageFile", (".bmp",))
GIF = Format("GIF", "GifImagePlugin.GifImageFile", (".gif",))
HEIC = Format("HEIC", "", (".heic", ".heif"))  # decoded by pillow-heif, see heic.py
JPEG = Format("JPEG", "JpegImagePlugin.JpegImageFile", (".jfif", ".jpe", ".jpeg", ".jpg"))
JPEG2000 = Format("JPEG 2000", "Jpeg2KImagePlugin.Jpeg2KImageFile", (".jp2",))
PNG = Format("PNG", "PngImagePlugin.PngImageFile", (".png",))
PPM = Format("PPM", "PpmImagePlugin.PpmImageFile", (".pgm", ".ppm"))
TIFF = Format("TIFF", "TiffImagePlugin.TiffImageFile", (".tif", ".tiff"))
WEBP = Format("WebP", "WebPImagePlugin.WebPImageFile", (".webp",))

FORMATS = (AVIF, BMP, GIF, HEIC, JPEG, JPEG2000, PNG, PPM, TIFF, WEBP)
SUFFIXES = tuple(sorted(suffix for one in FORMATS for suffix in one.suffixes))
HEAD = 256  # bytes from which a format is recognised

_BEGINNINGS = {
    b"BM": BMP,
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    b"\xff\xd8\xff": JPEG,
    b"\x00\x00\x00\x0cjP  ": JPEG2000,
    b"\xff\x4f\xff\x51": JPEG2000,
    b"\x89PNG\r\n\x1a\n": PNG,
    b"P4": PPM,
    b"P5": PPM,
    b"P6": PPM,
    **{order + magic: TIFF for order in (b"II", b"MM") for magic in (b"*\0", b"\0*", b"+\0", b"\0+")},
}

_REFUSED = {  # other first bytes: what such a file is, and what to do with it
    b"%!PS": ("PostScript", "export it as PNG"),
    b"\xc5\xd0\xd3\xc6": ("PostScript", "export it as PNG"),
    b"%PDF": ("PDF", "export its pages as PNG"),
    b"P1": ("plain-text PPM, which takes minutes to read", "convert it to PNG"),
    b"P2": ("plain-text PPM, which takes minutes to read", "convert it to PNG"),
    b"P3": ("plain-text PPM, which takes minutes to read", "convert it to PNG"),
    b"qoif": ("QOI", "convert it to PNG"),
    b"/* XPM */": ("XPM", "convert it to PNG"),
    b"#define": ("XBM", "convert it to PNG"),
    b"8BPS": ("Photoshop", "export it as PNG"),
    b"\x00\x00\x01\x00": ("an icon (ICO)", "convert it to PNG"),
    b"DDS ": ("DDS", "convert it to PNG"),
    b"SIMPLE  =": ("FITS", "convert it to PNG or TIFF"),
    b"\x89HDF": ("HDF5", "export the picture in it as PNG or TIFF"),
    b"\xd7\xcd\xc6\x9a": ("a Windows metafile (WMF)", "export it as PNG"),
    b"<svg": ("SVG", "export it as PNG"),
    b"<?xml": ("XML or SVG", "export it as PNG"),
    b"<!DOCTYPE": ("a web page", "get the picture itself"),
    b"<html": ("a web page", "get the picture itself"),
    b"\x00\x05\x16\x07": (
        "an AppleDouble file, which macOS writes beside a picture",
        "give the picture itself",
    ),
    b"version https://git-lfs": ("a Git LFS pointer", "get the picture itself with `git lfs pull`"),
}
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


def format_of(head: bytes, name: str) -> Format:
    """The format of a file called ``name`` that begins with ``head``.

    Raises:
        PictureError: it is none of these; the message says what it is, if that is known.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp":
        length = int.from_bytes(head[:4], "big")
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(length, len(head)), 4))]
        if any(brand in _AVIF_BRANDS for brand in brands):
            return AVIF
        if any(brand in _HEIC_BRANDS for brand in brands):
            return HEIC
    found = next((one for beginning, one in _BEGINNINGS.items() if head.startswith(beginning)), None)
    if found is not None:
        return found
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    named = next((what for beginning, what in _REFUSED.items() if text.startswith(beginning)), None)
    named = named or next((what for beginning, what in _REFUSED.items() if head.startswith(beginning)), None)
    if named is not None:
        raise PictureError(f"{name} is {named[0]}, not a supported picture: {named[1]}")
    raise PictureError(
        f"{name} is not a picture in a supported format ({', '.join(one.name for one in FORMATS)}): "
        "convert it to PNG or JPEG"
    )
