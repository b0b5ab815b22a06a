"""Pictures as they come: depths that only a tag tells, odd side data, formats that are never opened."""

import io
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin
from timm.data.transforms import ResizeKeepRatio
from torchvision import transforms

import zoo
from camlucida import images
from camlucida.errors import PictureError
from camlucida.images.formats import FORMATS
from camlucida.images.orientation import orientation_in
from camlucida.models.resize_check import check_resized
from camlucida.pipeline.explainer import Explainer

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # each value of 12 bits
WANTED = np.rint(RAMP / 4095 * 255)


def tiff(values: np.ndarray, **tags: Any) -> bytes:
    names = {"most": 281, "photometric": 262, "least_float": 340, "most_float": 341}
    info = {names[name]: value for name, value in tags.items()}
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", tiffinfo=info)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG with further chunks behind its header."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    content = buffer.getvalue()
    return content[:33] + b"".join(chunks) + content[33:]


def opened(folder: Path, content: bytes, name: str = "a.png") -> tuple[np.ndarray, list[str]]:
    (folder / name).write_bytes(content)
    found = images.opened(folder / name)
    assert found.picture.mode == "RGB"
    return np.asarray(found.picture), [one.code for one in found.findings]


# ----------------------------------------------------------------------------------------------------- depth

TWELVE = {
    "PNG, sBIT": lambda: png(RAMP, chunk(b"sBIT", b"\x0c")),
    "TIFF, MaxSampleValue": lambda: tiff(RAMP, most=4095),
    "TIFF, MaxSampleValue of floats": lambda: tiff(RAMP.astype(np.float32), most=4095),
    "TIFF, SMaxSampleValue of floats": lambda: tiff(RAMP.astype(np.float32), most_float=4095.0),
    "TIFF, 12 bits a sample": lambda: twelve_bit_tiff(RAMP),
    "TIFF, floats from -1000": lambda: tiff(
        RAMP.astype(np.float32) - 1000, least_float=-1000.0, most_float=3095.0
    ),
}


def twelve_bit_tiff(values: np.ndarray) -> bytes:
    """Two samples in three bytes."""
    first, second = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=2).astype(np.uint8)
    height, width = values.shape
    entries = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8 + 2 + 9 * 12 + 4)]
    entries += [(277, 1), (278, height), (279, packed.size)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + packed.tobytes()


@pytest.mark.parametrize("content", TWELVE.values(), ids=TWELVE.keys())
def test_the_depth_is_the_files_own(tmp_path, content):
    seen, findings = opened(tmp_path, content())
    np.testing.assert_array_equal(seen[..., 0], WANTED)
    assert findings == []


@pytest.mark.parametrize(("bits", "top"), [(10, 1023), (14, 16383), (9, 511)])
def test_other_depths_of_a_png(tmp_path, bits, top):
    values = np.linspace(0, top, 64).round().astype(np.uint16).reshape(8, 8)
    seen, _ = opened(tmp_path, png(values, chunk(b"sBIT", bytes([bits]))))
    np.testing.assert_array_equal(seen[..., 0], np.rint(values / top * 255))


def test_samples_that_were_shifted_up_as_png_asks_stay_as_they_are(tmp_path):
    """A dark picture of 12 bits, stored as the specification says: it is not made bright."""
    values = (np.arange(64, dtype=np.uint16).reshape(8, 8) * 2) << 4
    seen, _ = opened(tmp_path, png(values, chunk(b"sBIT", b"\x0c")))
    np.testing.assert_array_equal(seen[..., 0], np.rint(values / 65535 * 255))


def test_a_tag_that_the_values_contradict_is_not_believed(tmp_path):
    values = RAMP * 16
    seen, _ = opened(tmp_path, tiff(values, most=4095), "a.tif")
    np.testing.assert_array_equal(seen[..., 0], np.rint(values / 65535 * 255))


def test_signed_samples_reach_half_as_far(tmp_path):
    """Signed 16 bits end at 32767."""
    values = np.array([[0, 16384, 32767]], np.int16)
    entries = [(256, 3), (257, 1), (258, 16), (259, 1), (262, 1), (273, 134), (277, 1), (278, 1), (279, 6)]
    entries += [(339, 2)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + values.tobytes()
    np.testing.assert_array_equal(opened(tmp_path, content, "a.tif")[0][0, :, 0], [0, 128, 255])


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_white_may_be_the_smallest_value(tmp_path, kind):
    values = (RAMP.astype(kind) * 16) if kind is np.uint16 else (RAMP / 4095).astype(kind)
    full = 65535 if kind is np.uint16 else 1
    seen, _ = opened(tmp_path, tiff(values, photometric=0), "a.tif")
    np.testing.assert_array_equal(seen[..., 0], np.rint(255 - values.astype(float) / full * 255))


def test_a_float_that_rounding_took_beyond_one_is_white(tmp_path):
    values = np.array([[0, 0.5, 1.00001]], np.float32)
    np.testing.assert_array_equal(opened(tmp_path, tiff(values), "a.tif")[0][0, :, 0], [0, 128, 255])


FLAT = {
    "12 bits in 16, PNG": lambda: png(RAMP),
    "12 bits in 16, TIFF": lambda: tiff(RAMP),
    "floats to 4095": lambda: tiff(RAMP.astype(np.float32)),
    "12 bits in 16, and a burnt-in mark": lambda: png(
        np.where(np.arange(4096).reshape(64, 64) < 3, 65535, RAMP)
    ),
    "eight bits": lambda: png(np.full((40, 40), 7, np.uint8)),
}


@pytest.mark.parametrize("content", FLAT.values(), ids=FLAT.keys())
def test_less_than_a_tenth_of_the_range_is_a_finding(tmp_path, content):
    assert opened(tmp_path, content())[1] == ["narrow-range"]


def test_the_finding_reaches_the_explanation(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RAMP))
    found = Explainer(zoo.resnet(), preprocess="tutorial").explain(tmp_path / "a.png")[0].health
    assert found[0].code == "narrow-range"
    assert "0 to 16 of 255 grey levels" in found[0].found
    assert "sBIT" in found[0].advice


def test_an_ordinary_picture_has_no_finding(tmp_path):
    assert opened(tmp_path, png(RAMP * 16))[1] == []


# ------------------------------------------------------------------------------------------------ fourth bands


def four_bands(last: np.ndarray, **options: Any) -> bytes:
    rng = np.random.default_rng(0)
    pixels = np.dstack([rng.integers(0, 256, (*last.shape, 3)), last]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", **options)
    return buffer.getvalue()


INFRARED = np.linspace(10, 240, 32 * 32).reshape(32, 32).round()
CUT_OUT = np.where(np.hypot(*np.ogrid[-16:16, -16:16]) < 12, 255, 0)


@pytest.mark.parametrize("extra", [0, 2, None], ids=["unspecified", "called alpha", "not named"])
def test_a_fourth_band_of_a_tiff_that_is_not_alpha_hides_nothing(tmp_path, extra):
    content = bytearray(four_bands(INFRARED))
    place = content.index(struct.pack("<HHI", 338, 3, 1))
    if extra is None:
        struct.pack_into("<H", content, place, 65000)  # an entry that means nothing
    else:
        struct.pack_into("<H", content, place + 8, extra)
    seen, findings = opened(tmp_path, bytes(content), "a.tif")
    np.testing.assert_array_equal(seen, np.random.default_rng(0).integers(0, 256, (32, 32, 3)))
    assert findings == ([] if extra == 0 else ["band-left-out"])


def test_alpha_in_a_tiff_is_laid_on_white(tmp_path):
    seen, findings = opened(tmp_path, four_bands(CUT_OUT), "a.tif")
    assert (seen[0, 0] == 255).all()
    assert findings == []


def test_a_fourth_band_of_an_array_is_told_by_its_values():
    for last, codes in ((INFRARED, ["unlikely-alpha"]), (CUT_OUT, []), (np.zeros((32, 32)), None)):
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
        pixels[..., 3] = last
        found = [one.code for one in images.opened(pixels).findings]
        assert found == codes if codes is not None else "unlikely-alpha" in found


# --------------------------------------------------------------------------------------------------- side data

EXIF = b"MM\0*\0\0\0\x08"


def directory(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of tags, types, counts and values."""
    packed = [struct.pack(">HHI", tag, kind, count) + value for tag, kind, count, value in entries]
    return EXIF + struct.pack(">H", len(packed)) + b"".join(packed) + bytes(4)


SIX = (274, 3, 1, b"\0\x06\0\0")
ODD_EXIF = {
    "a make of rationals": directory((271, 5, 1, b"\0\0\0\x08"), SIX),
    "a text that is a rational": directory((270, 5, 3, b"\0\0\0\x08"), SIX),
    "an unknown type": directory((271, 99, 1, bytes(4)), SIX),
    "a directory that points at itself": directory(SIX, (34665, 4, 1, b"\0\0\0\x08")),
    "a directory beyond the end": directory(SIX, (34665, 4, 1, b"\x7f\0\0\0")),
    "a GPS directory of no numbers": directory(SIX, (34853, 2, 4, b"abcd")),
    "a resolution of 1/0": directory(SIX, (282, 5, 1, b"\0\0\0\x00"), (296, 3, 1, b"\0\x02\0\0")),
    "a count too large": directory(SIX, (305, 2, 0x7FFFFFFF, b"\0\0\0\x08")),
    "an orientation of another type": directory((274, 4, 1, b"\0\0\0\x06")),
    "two orientations in one": directory((274, 3, 2, b"\0\x06\0\0")),
    "the end is missing": directory(SIX, (271, 2, 9, b"\0\0\0\x70"))[:-9],
    "twice the mark": b"Exif\0\0" + directory(SIX),
}


def with_exif(form: str, block: bytes) -> bytes:
    """A picture 40 wide and 24 high whose left third is white."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:, :13] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, form, exif=b"Exif\0\0" + block, **({"lossless": True} if form == "WEBP" else {})
    )
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", ODD_EXIF.values(), ids=ODD_EXIF.keys())
def test_odd_exif_refuses_no_pixels(tmp_path, form, block):
    """The picture is turned as its orientation says, whatever stands beside that."""
    seen, _ = opened(tmp_path, with_exif(form, block), "a.jpg")
    assert seen.shape == (40, 24, 3)
    assert seen[:10].mean() > 240
    assert seen[20:].mean() < 15


def test_an_open_picture_with_odd_exif_is_turned_too():
    picture = Image.open(io.BytesIO(with_exif("PNG", ODD_EXIF["a make of rationals"])))
    assert images.load(picture).size == (24, 40)
    assert images.load(images.load(picture)).size == (24, 40)


def test_a_tiff_with_odd_tags_is_turned(tmp_path):
    buffer = io.BytesIO()
    info = {274: 6, 700: b"<x/>", 34675: b"no profile", 33723: b"iptc", 270: "text"}
    Image.new("RGB", (40, 24)).save(buffer, "TIFF", tiffinfo=info)
    whole = buffer.getvalue()
    for tag in (700, 34675, 33723, 270):
        for kind in (5, 7, 10, 12, 99):
            content = bytearray(whole)
            place = next(
                i for i in range(len(content)) if content[i : i + 2] == struct.pack("<H", tag) and i % 2 == 0
            )
            struct.pack_into("<HI", content, place + 2, kind, 3)
            assert opened(tmp_path, bytes(content), "a.tif")[0].shape == (40, 24, 3)


def test_damaged_blocks_are_read_as_pillow_reads_them():
    """Where Pillow reads an orientation at all; it gives up over other entries that are odd."""
    rng = np.random.default_rng(0)
    whole = directory((271, 2, 4, b"cam\0"), SIX, (282, 5, 1, b"\0\0\0\x08"), (296, 3, 1, b"\0\x02\0\0"))
    agreed = 0
    for _ in range(400):
        block = bytearray(whole)
        for place in rng.integers(0, len(block), 3):
            block[place] = rng.integers(0, 256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exif = Image.Exif()
                exif.load(bytes(block))
                read = exif.get(274, 1)
            except Exception:  # noqa: BLE001 - whatever Pillow says of it
                continue
        if read in range(2, 9):
            assert orientation_in(bytes(block)) == read
            agreed += 1
    assert agreed > 100


ANCILLARY = {
    "a text with a false checksum": chunk(b"tEXt", b"a\0b")[:-1] + b"\0",
    "a text that is no zlib": chunk(b"zTXt", b"a\0\0no zlib"),
    "a text that unpacks to 100 MB": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9)),
    "a profile that is no zlib": chunk(b"iCCP", b"a\0\0no zlib"),
    "a profile with another compression": chunk(b"iCCP", b"a\0\x07x"),
    "a resolution cut short": chunk(b"pHYs", b"\0"),
    "a gamma cut short": chunk(b"gAMA", b"\0"),
    "an animation of no frames": chunk(b"acTL", bytes(8)),
    "an animation cut short": chunk(b"fcTL", b"\0"),
    "odd EXIF": chunk(b"eXIf", b"nothing"),
}


@pytest.mark.parametrize("extra", ANCILLARY.values(), ids=ANCILLARY.keys())
def test_odd_chunks_of_a_png_refuse_no_pixels(tmp_path, extra):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(opened(tmp_path, png(values, extra))[0][..., 0], values)


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 24), "red").save(buffer, "JPEG")
    content = buffer.getvalue()
    added = [b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body for code, body in segments]
    return content[:2] + b"".join(added) + content[2:]


XMP = b'<x:xmpmeta tiff:Orientation="6"/>'
SEGMENTS = {
    "a profile that is none": (0xE2, b"ICC_PROFILE\0\x01\x05none"),
    "a list of pictures that is none": (0xE2, b"MPF\0II*\0\xff\xff\xff\x7f"),
    "a list of pictures cut short": (0xE2, b"MPF\0"),
    "FlashPix": (0xE2, b"FPXR\0"),
    "XMP that is no text": (0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe"),
    "Photoshop's, cut short": (0xED, b"Photoshop 3.0\0008BIM\x03"),
    "JFIF, cut short, again": (0xE0, b"JFIF"),
}


@pytest.mark.parametrize("segment", SEGMENTS.values(), ids=SEGMENTS.keys())
def test_odd_segments_of_a_jpeg_refuse_no_pixels(tmp_path, segment):
    content = jpeg_with(segment, (0xE1, b"Exif\0\0" + directory(SIX)))
    assert opened(tmp_path, content, "a.jpg")[0].shape == (40, 24, 3)


def test_without_exif_the_orientation_is_xmps(tmp_path):
    content = jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP))
    assert opened(tmp_path, content, "a.jpg")[0].shape == (40, 24, 3)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    for picture, form, options in (
        (Image.new("RGB", (40, 24)), "PNG", {"pnginfo": info}),
        (Image.new("RGB", (40, 24)), "WEBP", {"xmp": XMP}),
        (Image.new("RGB", (40, 24)), "TIFF", {"tiffinfo": {700: XMP}}),
    ):
        picture.save(tmp_path / "b.x", form, **options)
        assert images.load(tmp_path / "b.x").size == (24, 40), form


def test_avif_lies_as_its_own_boxes_say(tmp_path):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    exif[271] = "a make of some length"
    Image.new("RGB", (40, 24)).save(buffer, "AVIF", exif=exif)
    content = buffer.getvalue()
    assert opened(tmp_path, content, "a.avif")[0].shape == (40, 24, 3)
    damaged = content.replace(b"MM\0*", b"\xff\xff\xff\xff").replace(b"II*\0", b"\xff\xff\xff\xff")
    assert damaged != content
    assert opened(tmp_path, damaged, "a.avif")[0].shape == (40, 24, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pixels_are_pillows_own(tmp_path, form):
    """Leaving side data away changes no pixel."""
    exif = Image.Exif()
    exif[274], exif[282] = 3, 72.0
    pixels = np.random.default_rng(1).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.x", form, exif=exif, icc_profile=b"profile" * 20)
    with Image.open(tmp_path / "a.x") as picture:
        wanted = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(images.load(tmp_path / "a.x")), wanted)


# ----------------------------------------------------------------------------------------------------- formats

REFUSED = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "PDF": b"%PDF-1.7",
    "plain-text PPM": b"P3 2 2 255\n1 2 3",
    "QOI": b"qoif\0\0\0\x01\0\0\0\x01\x03\0",
    "XPM": b'/* XPM */\nstatic char *a[] = {"1 1 1 1"};',
    "Photoshop": b"8BPS\0\x01",
    "SVG": b'\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "a web page": b"<!DOCTYPE html><html>",
    "AppleDouble": b"\0\x05\x16\x07\0\x02\0\0Mac OS X",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
}


@pytest.mark.parametrize(("what", "content"), REFUSED.items(), ids=REFUSED)
def test_other_formats_are_refused_by_name(tmp_path, what, content):
    """Whatever the file is called; a PostScript file would start Ghostscript."""
    (tmp_path / "holiday.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=rf"holiday\.jpg is .*{what}.*not a supported picture: "):
        images.load(tmp_path / "holiday.jpg")


def test_pillow_opens_our_formats_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("every format of Pillow's was tried"))
    for form, name in (
        ("JPEG", "a.jfif"),
        ("PNG", "a.png"),
        ("JPEG2000", "a.jp2"),
        ("PPM", "a.ppm"),
        ("GIF", "a"),
    ):
        Image.new("RGB", (9, 5), "red").save(tmp_path / name, form)
        assert images.load(tmp_path / name).size == (9, 5)


def test_the_docs_name_the_formats():
    text = (Path(__file__).parents[2] / "docs" / "pictures.md").read_text(encoding="utf-8")
    for one in FORMATS:
        assert one.name in text
        assert all(f"`{suffix}`" in text for suffix in one.suffixes)


def heic(picture: Image.Image, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, **options)
    return buffer.getvalue()


def test_heic_is_read_upright(tmp_path):
    before = dict(Image.OPEN)
    exif = Image.Exif()
    exif[274] = 1
    seen, _ = opened(tmp_path, heic(Image.new("RGB", (40, 24), "red"), exif=exif.tobytes()), "a.heic")
    assert seen.shape == (24, 40, 3)
    assert np.abs(seen.astype(int) - (255, 0, 0)).max() < 8
    assert before == Image.OPEN  # Pillow is left as it was


def test_without_its_extra_heic_says_what_to_install(tmp_path, monkeypatch):
    content = heic(Image.new("RGB", (40, 24), "red"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=r"a\.heic is HEIC, .*pip install 'camlucida\[heic\]'"):
        opened(tmp_path, content, "a.heic")


# ------------------------------------------------------------------------------------------- reasons and limits


def test_what_a_decoder_raises_is_the_pictures_error(tmp_path, monkeypatch):
    """With its own reason: nothing is blamed on truncation that is none."""
    (tmp_path / "a.png").write_bytes(png(RAMP))
    for error in (
        AttributeError("no encode"),
        KeyError("x"),
        RecursionError("deep"),
        AssertionError(),
        Warning("w"),
    ):

        def fail(_self: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
        with pytest.raises(PictureError, match=r"a\.png cannot be read as PNG \(") as caught:
            images.load(tmp_path / "a.png")
        assert "truncated" not in str(caught.value)
        assert caught.value.__cause__ is error


def test_memory_that_ends_is_said(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(RAMP))

    def fail(_self: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(PictureError, match=r"a\.png needs more memory than is available: scale it down"):
        images.load(tmp_path / "a.png")


def test_a_file_that_no_picture_needs_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.write(png(RAMP))
        file.truncate(1 << 31)  # a hole: it takes no place
    with pytest.raises(PictureError, match=r"a\.png has 2\.1 GB"):
        images.load(tmp_path / "a.png")


def test_a_device_is_no_picture():
    with pytest.raises(PictureError, match="/dev/zero is a device or a pipe"):
        images.load("/dev/zero")


def test_warnings_of_the_process_are_left_alone(tmp_path, monkeypatch):
    """`warnings.catch_warnings` would change them for every thread."""
    (tmp_path / "a.png").write_bytes(png(RAMP))
    monkeypatch.setattr(warnings, "catch_warnings", lambda *_, **__: pytest.fail("warnings were changed"))
    threads = [threading.Thread(target=images.load, args=(tmp_path / "a.png",)) for _ in range(8)]
    before = list(warnings.filters)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


LONG = [(2, 60_000), (1, 200_000), (60_000, 2)]


@pytest.mark.parametrize("size", LONG, ids=str)
@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "torchvision:squeezenet1_1"])
def test_a_long_picture_is_refused_before_it_is_resized(monkeypatch, size, model):
    """Its shorter side would become a model's whole input, and the longer one millions of pixels."""
    explainer = Explainer(model, weights="random")
    monkeypatch.setattr(Image.Image, "resize", lambda *_, **__: pytest.fail("it was resized"))
    with pytest.raises(PictureError, match=rf"{size[1]}×{size[0]} pixels would become .* cut it into pieces"):
        explainer.explain(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize(
    ("step", "size", "refused"),
    [
        (transforms.Resize(256), (2, 60_000), True),
        (transforms.Resize([256]), (2, 60_000), True),
        (transforms.Resize((256, 256)), (2, 60_000), False),
        (transforms.Resize(256, max_size=300), (2, 60_000), False),
        (transforms.Resize(256), (256, 340_000), False),
        (transforms.Resize(256), (256, 350_000), True),
        (ResizeKeepRatio(256), (2, 60_000), True),
        (ResizeKeepRatio((256, 128)), (60_000, 2), True),
        (ResizeKeepRatio(256, longest=1.0), (2, 60_000), False),
        (SimpleNamespace(size={"shortest_edge": 256}), (2, 60_000), True),
        (SimpleNamespace(size={"shortest_edge": 256, "longest_edge": 400}), (2, 60_000), False),
        (SimpleNamespace(size={"height": 256, "width": 256}), (2, 60_000), False),
    ],
    ids=str,
)
def test_the_size_that_a_step_makes_is_known_before_it_runs(step, size, refused):
    if refused:
        with pytest.raises(PictureError, match="would become"):
            check_resized(step, size)
    else:
        check_resized(step, size)


# ------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\nb.png", r"a\nb.png"), ("\x1b[31mred.png", r"\x1b[31mred.png"), ("r\udcff.png", r"r\xff.png")],
)
def test_odd_names_are_shown_harmlessly(tmp_path, name, shown):
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(PictureError) as caught:
        images.load(tmp_path / name)
    assert shown in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_long_name_is_not_repeated(tmp_path):
    with pytest.raises(PictureError) as caught:
        images.load(tmp_path / ("a" * 10_000))
    assert len(str(caught.value)) < 600


# ----------------------------------------------------------------------------------------------------- folders


def test_what_is_passed_over_in_a_folder_is_known(tmp_path):
    for name in ("a.jpg", "._a.jpg", "b.jfif", "c.HEIC", "notes.txt", ".camlucida-0a1b2c3d.png"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    assert [path.name for path in images.find([tmp_path])] == ["a.jpg", "b.jfif", "c.HEIC"]
    assert [path.name for path in images.passed_over([tmp_path])] == [
        "._a.jpg",
        ".camlucida-0a1b2c3d.png",
        "more",
        "notes.txt",
    ]
    assert images.passed_over([tmp_path / "a.jpg"]) == []


def test_a_folder_of_folders_is_one_by_classes(tmp_path):
    for name in ("cats/a.jpg", "dogs/b.png", ".hidden/c.jpg", "notes/x.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert [path.name for path in images.find([tmp_path])] == ["a.jpg", "b.png"]
    assert [path.name for path in images.passed_over([tmp_path])] == [".hidden", "notes"]
    (tmp_path / "c.jpg").touch()
    assert [path.name for path in images.find([tmp_path])] == ["c.jpg"]
    assert [path.name for path in images.passed_over([tmp_path])] == [".hidden", "cats", "dogs", "notes"]


def test_a_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    def denied(_self: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)  # permissions do not bind root
    with pytest.raises(PictureError, match=r"folder .* cannot be read \(Permission denied\): give one"):
        list(images.find([tmp_path]))
