"""Colours, overlays, words and sheets: every pixel for a reason."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from camlucida.errors import OptionError
from camlucida.heatmaps.scale import SCALES, full_colour_values
from camlucida.images import contact_sheet as sheets
from camlucida.images.colour import DEFAULT_COLORMAP, DIVERGING, colour, diverging
from camlucida.images.contact_sheet import Tile, sheet
from camlucida.images.overlay import overlay
from camlucida.images.text import PAPER, fit, font, stamp

SEQUENTIAL = ["turbo", "viridis", "jet", "inferno", "gray_r"]


def shade(colormap: str, value: float) -> np.ndarray:
    """Matplotlib's own answer, 0…255."""
    return np.array(mpl.colormaps[colormap](value)[:3]) * 255


def one(value: float, colormap: str) -> np.ndarray:
    return colour(np.array([[value]], np.float32), colormap)[0, 0].astype(float)


# ------------------------------------------------------------------------------------------------- colour


@pytest.mark.parametrize("colormap", SEQUENTIAL)
@pytest.mark.parametrize("value", [0.0, 1 / 255, 0.2, 0.5, 0.8, 1.0])
def test_colours_are_matplotlibs(colormap, value):
    step = np.abs(np.diff([shade(colormap, k / 255) for k in range(256)], axis=0)).max()
    assert np.abs(one(value, colormap) - shade(colormap, value)).max() <= step + 0.5


@pytest.mark.parametrize("colormap", SEQUENTIAL)
def test_colours_are_exact_at_all_256_steps(colormap):
    steps = np.arange(256)[None] / 255
    expected = [shade(colormap, k / 255) for k in range(256)]
    assert np.abs(colour(steps, colormap)[0] - expected).max() <= 0.5


@pytest.mark.parametrize(("value", "shown"), [(-0.001, 0), (-9, 0), (1.001, 1), (9, 1)])
def test_what_is_out_of_range_is_shown_as_its_end(value, shown):
    np.testing.assert_array_equal(one(value, "turbo"), one(shown, "turbo"))


@pytest.mark.parametrize("colormap", ["RdBu_r", "coolwarm", "seismic"])
@pytest.mark.parametrize(("value", "at"), [(-1, 0.0), (-5, 0.0), (0, 0.5), (1, 1.0), (5, 1.0)])
def test_diverging_colormaps_are_centred_on_zero(colormap, value, at):
    assert np.abs(one(value, colormap) - shade(colormap, at)).max() <= 0.5


def test_zero_is_pale_between_red_and_blue():
    assert one(0, "RdBu_r").min() > 230
    assert one(1, "RdBu_r")[0] > one(1, "RdBu_r")[2] + 50
    assert one(-1, "RdBu_r")[2] > one(-1, "RdBu_r")[0] + 50


def test_diverging_colormaps_are_known_with_both_directions():
    assert all(diverging(name) and diverging(f"{name}_r") for name in DIVERGING)
    assert not any(diverging(name) for name in [*SEQUENTIAL, DEFAULT_COLORMAP])


def test_an_unknown_colormap_is_refused_with_close_ones():
    with pytest.raises(OptionError, match="colormap 'turbi' is not known: did you mean .*'turbo'"):
        colour(np.zeros((1, 1)), "turbi")


# ------------------------------------------------------------------------------------------------ overlay


def photo(height: int = 9, width: int = 12) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def laid(height: int = 9, width: int = 12) -> np.ndarray:
    """Values in -1…3, unseen in a frame around."""
    values = np.random.default_rng(1).uniform(-1, 3, (height, width)).astype(np.float32)
    values[:2], values[:, -3:] = np.nan, np.nan
    return values


@pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 1])
@pytest.mark.parametrize("colormap", ["turbo", "RdBu_r"])
def test_blending(alpha, colormap):
    values, picture = laid(), np.asarray(photo()).astype(float)
    result = np.asarray(overlay(photo(), values, 2.0, alpha, colormap)).astype(float)
    seen = ~np.isnan(values)
    colours = colour(np.where(seen, values, 0) / 2.0, colormap)
    expected = (1 - alpha) * picture + alpha * colours
    assert np.abs(result - expected)[seen].max() <= 1
    np.testing.assert_array_equal(result[~seen], picture[~seen])


def test_nothing_given_is_changed():
    picture, values = photo(), laid()
    overlay(picture, values, 2.0, mark="x")
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(photo()))
    np.testing.assert_array_equal(values, laid())


def test_red_stays_red():
    """The tutorial's overlays have red and blue swapped."""
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    result = np.asarray(overlay(red, np.zeros((8, 8), np.float32), 1.0, 0.5, "gray"))
    assert np.abs(result.astype(int) - (127, 0, 0)).max() <= 1


def test_hot_is_red_and_cold_is_blue():
    grey = Image.new("RGB", (2, 1), (128, 128, 128))
    cold, hot = np.asarray(overlay(grey, np.array([[0.1, 0.9]], np.float32), 1.0, 1.0, "jet"))[0].astype(int)
    assert cold[2] > cold[0] + 100
    assert hot[0] > hot[2] + 100


@pytest.mark.parametrize("peak", [0.0, 1.0])
@pytest.mark.parametrize("colormap", ["turbo", "RdBu_r"])
def test_a_map_of_zeros_is_drawn_as_zero(peak, colormap):
    result = np.asarray(overlay(photo(), np.zeros((9, 12), np.float32), peak, 1.0, colormap))
    np.testing.assert_array_equal(result, np.broadcast_to(one(0, colormap), (9, 12, 3)))


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_beyond_its_range_is_refused(alpha):
    with pytest.raises(OptionError, match=f"alpha .* from 0 to 1, got {alpha:g}"):
        overlay(photo(), laid(), 1.0, alpha)


# -------------------------------------------------------------------------------------------------- scale

MAPS = [
    torch.tensor([[0.0, 2.0]]),
    torch.tensor([[-8.0, 1.0]]),
    torch.tensor([[-3.0, -1.0]]),
    torch.zeros(1, 2),
]

LIMITS = {
    ("raw", False): [1, 1, 1, 1],
    ("raw", True): [1, 1, 1, 1],
    ("picture", False): [2, 1, 0, 0],
    ("picture", True): [2, 8, 3, 0],
    ("panel", False): [2, 2, 2, 2],
    ("panel", True): [8, 8, 8, 8],
}


@pytest.mark.parametrize(("asked", "expected"), LIMITS.items(), ids=str)
def test_the_value_of_full_colour(asked, expected):
    assert full_colour_values(MAPS, *asked) == expected


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("signed", [False, True])
def test_zero_stays_zero_on_each_scale(scale, signed):
    """A map is divided, never shifted: what is zero gets zero's colour whatever else is in the map."""
    colormap = "RdBu_r" if signed else "turbo"
    for heatmap, peak in zip(MAPS, full_colour_values(MAPS, scale, signed), strict=True):
        values = heatmap.numpy()
        shown = np.asarray(overlay(Image.new("RGB", (2, 1)), values, peak, 1.0, colormap))
        assert (shown[values == 0] == one(0, colormap)).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_largest_finite_value_counts(bad):
    """Half precision overflows: what is left of the map can still be drawn."""
    assert full_colour_values([torch.tensor([[bad, 2.0, -3.0]])], "picture") == [2]
    assert full_colour_values([torch.tensor([[bad, 2.0, -3.0]])], "picture", signed=True) == [3]
    assert full_colour_values([torch.full((2, 2), bad)], "picture") == [0]


def test_an_unknown_scale_is_refused_with_close_ones():
    with pytest.raises(
        OptionError, match="scale 'pictur' is not known: did you mean 'picture'.*raw, picture, panel"
    ):
        full_colour_values(MAPS, "pictur")


# --------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("character", ["é", "ł", "ü", "ß", "Ω", "ж", "€", "→", "…", "×", "—", "⚠", "⁻"])
@pytest.mark.parametrize("bold", [False, True])
def test_letters_beyond_ascii_have_glyphs(character, bold):
    used = font(32, bold)
    drawn, missing = (bytes(used.getmask(text)) for text in (character, "\U0010fffe"))
    assert any(drawn)
    assert drawn != missing


def test_a_glyph_that_is_missing_would_be_seen():
    assert bytes(font(32).getmask("\U0010fffd")) == bytes(font(32).getmask("\U0010fffe"))


def test_bold_is_another_font():
    assert font(17, True).getlength("label") > font(17).getlength("label")


LONG = "vit_base_patch16_224.augreg2_in21k_ft_in1k"


@pytest.mark.parametrize("width", [400, 200, 120, 60, 30])
@pytest.mark.parametrize("bold", [False, True])
def test_text_is_shortened_in_its_middle(width, bold):
    short = fit(LONG, 17, width, bold)
    assert font(17, bold).getlength(short) <= width
    head, ellipsis, tail = short.partition("…")
    if ellipsis:
        assert LONG.startswith(head)
        assert LONG.endswith(tail)
        assert 0 <= len(head) - len(tail) <= 1
        assert font(17, bold).getlength(LONG) > width
    else:
        assert short == LONG


def test_as_much_as_fits_is_kept():
    used, width = font(17), 150
    kept = len(fit(LONG, 17, width)) - 1
    longer = f"{LONG[: (kept + 2) // 2]}…{LONG[len(LONG) - (kept + 1) // 2 :]}"
    assert used.getlength(longer) > width


@pytest.mark.parametrize(
    ("text", "expected"), [("", ""), ("a", "a"), (LONG, "…")], ids=["none", "short", "long"]
)
def test_text_at_the_edges(text, expected):
    assert fit(text, 17, 16) == expected


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (2000, 1500), (64, 64)], ids=str)
def test_a_stamp_changes_its_corner_only(size):
    picture = Image.new("RGB", size, (200, 100, 0))
    stamped = stamp(picture, "random weights")
    changed = (np.asarray(stamped) != np.asarray(picture)).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.max() == size[1] - 1
    assert columns.min() == 0
    assert rows.min() >= size[1] * (0.75 if min(size) < 100 else 0.9)
    assert changed.mean() < (0.3 if min(size) < 100 else 0.1)
    pixels = np.asarray(stamped)[changed]
    assert pixels.min() < 40
    assert pixels.max() > 240  # light letters in a dark band
    np.testing.assert_array_equal(np.asarray(picture), np.broadcast_to((200, 100, 0), (*size[::-1], 3)))


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (40, 5), (16, 16)], ids=str)
def test_a_stamp_on_a_tiny_picture_does_no_harm(size):
    assert stamp(Image.new("RGB", size), "random weights").size == size


# -------------------------------------------------------------------------------------------------- sheet

COLOURS = [(255, 0, 255), (0, 255, 255), (255, 255, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0)]
SHAPES = {
    "landscape": [(300, 200)] * 4,
    "portrait": [(200, 300)] * 4,
    "mixed": [(300, 200), (200, 300), (90, 90), (1000, 250)],
    "small": [(12, 8)] * 4,
}
CAPTION = ("a name far too long for its column, Egyptian cat 0.43", "⚠ all-zero")


def example(sizes: list[tuple[int, int]]) -> Image.Image:
    """Two rows, two columns of plain colours."""
    pictures = [Image.new("RGB", size, tint) for size, tint in zip(sizes, COLOURS, strict=False)]
    cells = [Tile(picture, CAPTION[: i % 3]) for i, picture in enumerate(pictures)]
    columns = ["picture", "swin_base_patch4_window7_224"]
    return sheet([cells[:2], cells[2:]], columns, [["gradcam", "tiger cat"], ["layercam", "top class"]])


def areas(page: Image.Image) -> list[tuple[int, int, int, int]]:
    """Where each colour lies, (left, top, right, bottom); it must fill all of that."""
    pixels = np.asarray(page)
    found = []
    for tint in COLOURS[:4]:
        rows, columns = np.nonzero((pixels == tint).all(axis=2))
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert len(rows) == (box[2] - box[0]) * (box[3] - box[1]), "something is drawn over a picture"
        found.append(box)
    return found


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_cells_are_even_and_nothing_is_drawn_over_them(sizes):
    boxes = areas(example(sizes))
    centres = np.array([((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes])
    assert np.abs(centres[0] - centres[1])[1] <= 0.5  # in one row
    assert np.abs(centres[2] - centres[3])[1] <= 0.5
    assert np.abs(centres[0] - centres[2])[0] <= 0.5  # in one column
    assert np.abs(centres[1] - centres[3])[0] <= 0.5


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_pictures_keep_their_proportions_and_fill_their_cells(sizes):
    drawn = [(b[2] - b[0], b[3] - b[1]) for b in areas(example(sizes))]
    cell = max(w for w, _ in drawn), max(h for _, h in drawn)
    assert max(cell) == sheets.TILE
    for (width, height), (w, h) in zip(sizes, drawn, strict=True):
        factor = min(cell[0] / width, cell[1] / height)
        assert (w, h) == (pytest.approx(width * factor, abs=0.51), pytest.approx(height * factor, abs=0.51))


def test_the_page_is_as_large_as_its_cells():
    """Three even columns of 288×192 with one line of caption each, and a line of heads."""
    cells = [Tile(Image.new("RGB", (300, 200), tint), ("x",)) for tint in COLOURS[:3]]
    page = sheet([cells, cells], ["a", "b", "c"], [[], []])
    line, gap = sheets.LINE, sheets.GAP
    assert page.size == (gap + 3 * (288 + gap), gap + line + gap // 2 + 2 * (192 + line + gap))
    pixels = np.asarray(page)
    for j, tint in enumerate(COLOURS[:3]):
        rows, columns = np.nonzero((pixels == tint).all(axis=2))
        assert (columns.min(), columns.max()) == (gap + j * (288 + gap), gap + j * (288 + gap) + 287)
        first = gap + line + gap // 2
        second = first + 192 + line + gap
        assert set(rows) == {*range(first, first + 192), *range(second, second + 192)}


@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_words_stay_in_their_places(sizes):
    page = np.asarray(example(sizes))
    boxes = areas(example(sizes))
    ink = (page != PAPER).any(axis=2)
    assert not ink[0].any()
    assert not ink[:, -1].any()
    assert not ink[:, 0].any()
    assert not ink[-1].any()
    middle = int((sum(boxes[0][0::2]) + sum(boxes[1][0::2])) / 4)
    assert not ink[:, middle - 2 : middle + 2].any(), "a caption reaches into its neighbour's column"
    first = min(box[0] for box in boxes)
    assert ink[:, :first].any(), "rows have no labels"
    assert ink[: min(box[1] for box in boxes)].any(), "columns have no labels"


def test_every_label_is_there():
    """Taking any one of them away changes the sheet."""
    cells = [[Tile(Image.new("RGB", (30, 20), COLOURS[0]), ("caption", "warning"))]]
    full = sheet(cells, ["column"], [["row", "target"]])
    fewer = [
        sheet(cells, ["colum"], [["row", "target"]]),
        sheet(cells, ["column"], [["ro", "target"]]),
        sheet(cells, ["column"], [["row", "targe"]]),
        sheet([[Tile(cells[0][0].picture, ("captio", "warning"))]], ["column"], [["row", "target"]]),
        sheet([[Tile(cells[0][0].picture, ("caption", "warnin"))]], ["column"], [["row", "target"]]),
    ]
    assert all(other.tobytes() != full.tobytes() for other in fewer)


def test_words_are_legible_at_native_size():
    """At least 15 pixels, as drawn: DejaVu's capitals are 0.73 of that high, and dark on white."""
    assert sheets.TEXT >= 15
    bare, with_head = (sheet([[Tile(Image.new("RGB", (30, 20), PAPER))]], [head], [[]]) for head in (" ", "H"))
    ink = np.asarray(with_head.convert("L")).astype(int)
    rows = np.nonzero((ink != np.asarray(bare.convert("L"))).any(axis=1))[0]
    assert rows.max() - rows.min() + 1 >= 0.7 * 15
    assert ink.min() < 60


def test_an_empty_cell_keeps_its_place():
    full = Tile(Image.new("RGB", (30, 20), COLOURS[0]))
    page = sheet([[Tile(None), full]], ["a", "b"], [[]])
    assert page.size == sheet([[full, full]], ["a", "b"], [[]]).size


@pytest.mark.parametrize("count", range(1, 5))
def test_columns_do_not_depend_on_their_number(count):
    cells = [Tile(Image.new("RGB", (30, 20), tint)) for tint in itertools.islice(COLOURS, count)]
    page = sheet([cells], [""] * count, [[]])
    assert page.size == (sheets.GAP + count * (sheets.TILE + sheets.GAP), sheets.GAP + 192 + sheets.GAP)
