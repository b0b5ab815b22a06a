"""Every kind of picture is opened upright, in RGB, or refused in words that help."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camlucida import images
from camlucida.errors import PictureError

ORIENTATION = 0x0112
HEIGHT, WIDTH = 24, 40


def marked() -> np.ndarray:
    """An upright picture (24, 40, 3) whose four corners are told apart: red, green, blue, yellow."""
    array = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    array[:8, :8], array[:8, -8:] = (255, 0, 0), (0, 255, 0)
    array[-8:, :8], array[-8:, -8:] = (0, 0, 255), (255, 255, 0)
    return array


def noise(height: int = 13, width: int = 17, channels: int | None = 3) -> np.ndarray:
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def opened(path: Path) -> np.ndarray:
    picture = images.load(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def saved(folder: Path, picture: Image.Image, name: str, **options: Any) -> Path:
    path = folder / name
    picture.save(path, **options)
    return path


# ------------------------------------------------------------------------------------------ ways to give one


@pytest.mark.parametrize("give", [Path, str], ids=["path", "text"])
def test_a_file_is_opened(tmp_path, give):
    path = saved(tmp_path, Image.fromarray(noise()), "a.png")
    np.testing.assert_array_equal(np.asarray(images.load(give(path))), noise())


def test_a_pil_picture_is_taken_and_left_as_it_was():
    given = Image.fromarray(noise()).convert("L")
    result = images.load(given)
    assert result.mode == "RGB"
    assert given.mode == "L"


@pytest.mark.parametrize("channels", [None, 1, 3], ids=["grey", "one channel", "three channels"])
def test_an_array_is_taken(channels):
    array = noise(channels=channels)
    grey = array.reshape(array.shape[0], array.shape[1], -1)
    np.testing.assert_array_equal(np.asarray(images.load(array)), np.broadcast_to(grey, (13, 17, 3)))


def test_the_alpha_of_an_array_is_laid_on_white():
    array = noise(channels=4)
    alpha = array[..., 3:].astype(float) / 255
    expected = array[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(np.asarray(images.load(array)) - expected).max() <= 1


def test_a_view_of_an_array_is_taken():
    """Neither its order in memory nor that it is read-only matters."""
    array = noise()[::-1, :, ::-1]
    array.flags.writeable = False
    np.testing.assert_array_equal(np.asarray(images.load(array)), array)


# ---------------------------------------------------------------------------------------------------- kinds

# how a camera stores an upright picture, for each value of EXIF's orientation
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def turned(orientation: int) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return Image.fromarray(np.ascontiguousarray(STORED[orientation](marked()))), exif


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_exif_orientation_lands_upright(tmp_path, orientation, name):
    picture, exif = turned(orientation)
    np.testing.assert_array_equal(opened(saved(tmp_path, picture, name, exif=exif)), marked())


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_exif_orientation_lands_upright_in_lossy_files(tmp_path, orientation, name):
    picture, exif = turned(orientation)
    result = opened(saved(tmp_path, picture, name, exif=exif, quality=95)).astype(int)
    assert result.shape == marked().shape
    corners = (slice(3, None, HEIGHT - 8), slice(3, None, WIDTH - 8))
    assert np.abs(result[corners] - marked()[corners]).max() < 40


def test_exif_orientation_of_an_open_picture_is_applied_once():
    picture, exif = turned(6)
    again = images.load(images.load(Image.open(io.BytesIO(encoded(picture, "PNG", exif=exif)))))
    np.testing.assert_array_equal(np.asarray(again), marked())


def test_cmyk_jpeg(tmp_path):
    inks = {(0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 255, 255, 0): (255, 0, 0)}
    for ink, expected in inks.items():
        path = saved(tmp_path, Image.new("CMYK", (16, 16), ink), "a.jpg", quality=95)
        with Image.open(path) as stored:
            assert stored.mode == "CMYK"
        assert np.abs(opened(path).astype(int) - expected).max() <= 4


def test_palette(tmp_path):
    picture = Image.new("P", (4, 2))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1] * 4)
    expected = [[(10, 20, 30), (200, 100, 50)] * 2] * 2
    np.testing.assert_array_equal(opened(saved(tmp_path, picture, "a.png")), expected)


# a transparent pixel hides this colour, which must not show
HIDDEN = (255, 0, 255)


def palette_with_hole() -> Image.Image:
    picture = Image.new("P", (2, 1))
    picture.putpalette([*HIDDEN, 10, 20, 30])
    picture.putdata([0, 1])
    return picture


def of_pixels(mode: str, *pixels: Any) -> Image.Image:
    picture = Image.new(mode, (len(pixels), 1))
    picture.putdata(pixels)
    return picture


TRANSPARENT = {
    "RGBA": (of_pixels("RGBA", (*HIDDEN, 0), (10, 20, 30, 255)), {}, (10, 20, 30)),
    "LA": (of_pixels("LA", (7, 0), (60, 255)), {}, (60, 60, 60)),
    "palette, one index": (palette_with_hole(), {"transparency": 0}, (10, 20, 30)),
    "palette, bytes": (palette_with_hole(), {"transparency": b"\x00\xff"}, (10, 20, 30)),
    "RGB with a colour key": (of_pixels("RGB", HIDDEN, (10, 20, 30)), {"transparency": HIDDEN}, (10, 20, 30)),
    "grey with a key": (of_pixels("L", 7, 60), {"transparency": 7}, (60, 60, 60)),
}


@pytest.mark.parametrize(("picture", "options", "visible"), TRANSPARENT.values(), ids=TRANSPARENT.keys())
def test_what_is_transparent_becomes_white(tmp_path, picture, options, visible):
    path = saved(tmp_path, picture, "a.png", **options)
    np.testing.assert_array_equal(opened(path), [[(255, 255, 255), visible]])


def test_half_transparent_black_is_half_white(tmp_path):
    path = saved(tmp_path, Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "a.png")
    assert np.abs(opened(path).astype(int) - 127).max() <= 1


def test_one_bit(tmp_path):
    path = saved(tmp_path, of_pixels("1", 0, 1, 1), "a.png")
    np.testing.assert_array_equal(opened(path), [[[0] * 3, [255] * 3, [255] * 3]])


# sixteen bits to eight: by 257, so that 65535 is 255
SIXTEEN = np.array([[0, 256, 257, 32768, 65535]])
EIGHT = [0, 1, 1, 128, 255]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", "uint16"), ("a.tif", "uint16"), ("a.tif", ">u2"), ("a.tif", "int32")],
    ids=["png", "tiff", "tiff, big-endian", "tiff of 32 bits"],
)
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name, kind):
    path = saved(tmp_path, Image.fromarray(SIXTEEN.astype(kind)), name)
    np.testing.assert_array_equal(opened(path)[0, :, 0], EIGHT)


def test_sixteen_bits_stay_dark_when_the_picture_is(tmp_path):
    """The range is the format's, not the picture's: a dark picture is not stretched."""
    path = saved(tmp_path, Image.fromarray(np.full((2, 2), 2570, np.uint16)), "a.png")
    np.testing.assert_array_equal(opened(path), np.full((2, 2, 3), 10))


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0], ids=["0…1", "0…255", "0…65535"])
def test_float_tiff(tmp_path, top):
    values = (np.array([[0, 0.25, 0.5, 1]]) * top).astype(np.float32)
    path = saved(tmp_path, Image.fromarray(values), "a.tif")
    np.testing.assert_array_equal(opened(path)[0, :, 0], [0, 64, 128, 255])


@pytest.mark.parametrize(
    "values",
    [[0, np.nan], [0, np.inf], [-1, 1], [0, 70000]],
    ids=["NaN", "infinite", "negative", "too large"],
)
def test_float_tiff_out_of_every_range_is_refused(tmp_path, values):
    path = saved(tmp_path, Image.fromarray(np.array([values], np.float32)), "a.tif")
    with pytest.raises(PictureError, match=r"a\.tif.*grey values .* 0…255 and 0…65535.*scale them"):
        images.load(path)


@pytest.mark.parametrize(("name", "options"), [("a.gif", {}), ("a.webp", {"lossless": True})])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, name, options):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    frames = [Image.new("RGB", (8, 8), colour) for colour in colours]
    path = saved(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], duration=50, **options)
    with Image.open(path) as stored:
        assert stored.n_frames == 3
    np.testing.assert_array_equal(opened(path), np.broadcast_to(colours[0], (8, 8, 3)))


# -------------------------------------------------------------------------------------------- broken files

JPEG = encoded(Image.fromarray(noise(64, 64)), "JPEG")
PNG = encoded(Image.fromarray(noise(64, 64)), "PNG")
WEBP = encoded(Image.fromarray(noise(64, 64)), "WEBP")

# file name → content, reason, next step
BROKEN = {
    "empty.png": (b"", "is empty", "give a file with a picture"),
    "text.jpg": (b"this is no picture", "not a picture", "convert it to PNG or JPEG"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "truncated", "get another copy"),
    "half.png": (PNG[: len(PNG) // 2], "truncated", "get another copy"),
    "half.webp": (WEBP[: len(WEBP) // 2], "", "get another copy"),
    "header.png": (PNG[:20], "", "get another copy|convert it"),
    "flipped.png": (PNG[:60] + bytes(40) + PNG[100:], "", "get another copy"),
}


@pytest.mark.parametrize(("name", "broken"), BROKEN.items(), ids=BROKEN)
def test_broken_files_are_refused(tmp_path, name, broken):
    content, reason, step = broken
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PictureError, match=f"{re.escape(str(path))}.*{reason}.*({step})"):
        images.load(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(PictureError, match=r"gone\.png.*check the path"):
        images.load(tmp_path / "gone.png")


def test_a_name_too_long_to_exist_is_refused(tmp_path):
    with pytest.raises(PictureError, match="aaa"):
        images.load(tmp_path / ("a" * 5000))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(PictureError, match=f"{re.escape(str(tmp_path))} is a folder: give a picture in it"):
        images.load(tmp_path)


@pytest.mark.parametrize("content", [PNG, JPEG], ids=["png", "jpg"])
def test_a_truncated_picture_opened_by_the_user_is_refused(content):
    """PIL reads lazily: that it is broken shows only here."""
    with pytest.raises(PictureError, match=r"truncated.*get another copy"):
        images.load(Image.open(io.BytesIO(content[: len(content) // 2])))


def test_damaged_exif_does_not_escape(tmp_path):
    """Whatever is wrong with the orientation, either the picture is shown or a PictureError says why."""
    picture, exif = turned(6)
    content = encoded(picture, "JPEG", exif=exif)
    start = content.index(b"Exif")
    path = tmp_path / "a.jpg"
    for offset in range(6, 40):
        damaged = bytearray(content)
        damaged[start + offset] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert images.load(path).mode == "RGB"
        except PictureError as error:
            assert "a.jpg" in str(error)  # noqa: PT017 - both ends are right
        except UserWarning:
            pass  # Pillow's own word on corrupt EXIF, an error only in these tests


def png_of_zeros(side: int) -> bytes:
    """A small file that holds ``side`` × ``side`` black pixels of one bit."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(side * (1 + (side + 7) // 8)), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# Pillow itself only warns up to twice its limit of 89.5 million
@pytest.mark.parametrize("side", [9_460, 12_000, 13_378, 20_000])
def test_a_decompression_bomb_is_refused(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_zeros(side))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(PictureError, match=r"bomb\.png has more than 89 million pixels.*scale it down"):
        images.load(path)


def test_a_picture_of_just_the_limit_is_opened(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(noise(10, 10)), "a.png")
    monkeypatch.setattr("camlucida.images.opening.PIXEL_LIMIT", 100)
    images.load(path)
    monkeypatch.setattr("camlucida.images.opening.PIXEL_LIMIT", 99)
    with pytest.raises(PictureError, match="scale it down"):
        images.load(path)


# --------------------------------------------------------------------------------------------- other things

WRONG_ARRAYS = {
    "float": noise().astype(np.float32) / 255,
    "int64": noise().astype(np.int64),
    "bool": noise() > 128,
    "two channels": noise(channels=2),
    "five channels": noise(channels=5),
    "channels first": noise(3, 17, 13),
    "batch": noise()[None],
    "one dimension": noise()[0, :, 0],
    "no dimension": np.array(3, np.uint8),
    "no rows": noise()[:0],
    "no columns": noise()[:, :0],
}


@pytest.mark.parametrize("array", WRONG_ARRAYS.values(), ids=WRONG_ARRAYS.keys())
def test_other_arrays_are_refused(array):
    shape = re.escape(f"{array.dtype} {array.shape}")
    with pytest.raises(PictureError, match=f"uint8 .*height, width.*{shape}.*scale it to 0…255"):
        images.load(array)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_a_pil_picture_without_pixels_is_refused(size):
    with pytest.raises(PictureError, match=f"needs pixels.*{size[0]}×{size[1]}"):
        images.load(Image.new("RGB", size))


@pytest.mark.parametrize("thing", [3, None, [[1, 2]]], ids=["int", "None", "list"])
def test_other_things_are_refused(thing):
    with pytest.raises(PictureError, match=f"a picture is a path, .* got {type(thing).__name__}"):
        images.load(thing)


# --------------------------------------------------------------------------------------------------- find


def test_find_takes_files_as_they_are_and_folders_in_order_of_name(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.PNG", "a.jpg", "notes.txt", "c.webp", "no_suffix"):
        (folder / name).touch()
    (folder / "inner.png").mkdir()  # a folder, whatever it is called
    (folder / "inner.png" / "deep.png").touch()
    loose = tmp_path / "loose.dat"
    found = list(images.find([loose, folder, tmp_path / "gone.jpg"]))
    assert found == [
        loose,
        folder / "a.jpg",
        folder / "b.PNG",
        folder / "c.webp",
        tmp_path / "gone.jpg",
    ]


@pytest.mark.parametrize("others", [[], ["notes.txt"]], ids=["empty", "without pictures"])
def test_find_refuses_a_folder_without_pictures(tmp_path, others):
    for name in others:
        (tmp_path / name).touch()
    with pytest.raises(PictureError, match=f"{re.escape(str(tmp_path))} holds no picture, .*\\.jpg"):
        list(images.find([tmp_path]))


def test_find_opens_nothing_before_it_is_asked(tmp_path):
    """One bad folder does not keep the pictures before it from being done."""
    (tmp_path / "a.png").touch()
    found = images.find([tmp_path / "a.png", tmp_path / "empty"])
    (tmp_path / "empty").mkdir()
    assert next(found) == tmp_path / "a.png"
    with pytest.raises(PictureError):
        next(found)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO], ids=lambda kind: kind.__name__)
def test_a_files_bytes_are_the_picture_of_the_file(kind: Callable[[bytes], Any], tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(noise).save(path, exif=exif)
    given = kind(path.read_bytes())
    for _ in range(2):  # an open file is left where it was
        np.testing.assert_array_equal(np.asarray(images.load(given)), np.asarray(images.load(path)))


def test_an_open_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "two.bin").write_bytes(b"head" + PNG)
    with (tmp_path / "two.bin").open("rb") as file:
        file.seek(4)
        assert images.load(file).mode == "RGB"
        assert file.tell() == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "is empty"),
        (io.BytesIO(), "is empty"),
        (io.StringIO("x"), "mode 'rb'"),
        (b"x", "is not a picture"),
    ],
)
def test_bytes_that_are_no_picture(given: Any, said: str) -> None:
    with pytest.raises(PictureError, match=said):
        images.load(given)
