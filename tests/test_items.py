"""Tables and masks that are not as they should be, and what is made of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camlucida.errors import OptionError
from camlucida.evaluation.items import Item, items_in

LABELS = ["tench", "tiger cat", "great white shark"]


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)
    return path


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "table.csv").write_text(text, encoding=encoding)
    return folder / "table.csv"


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("path,label\nkäfer.png,tench\n", "latin-1", "save it as CSV in UTF-8"),
        ("path,label\na.png,tench\nb.png,tiger, cat\n", "utf-8", r"line 3, has .* quote what has a comma"),
        ("path,label\na.png,tench\n,tench\n", "utf-8", "line 3, has no path"),
        ("path,label,box\na.png,tench,1 2 3\n", "utf-8", "line 2, has '1 2 3'"),
        ("path,label,box\na.png,tench,5 2 3 4\n", "utf-8", "line 2, has '5 2 3 4'"),
    ],
)
def test_a_table_is_refused_with_its_line(tmp_path: Path, text: str, encoding: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        items_in(table(tmp_path, text, encoding), LABELS)


def test_a_line_for_each_box_is_one_picture(tmp_path: Path) -> None:
    text = "path,label,box\na.png,tench,1 2 3 4\nb.png,tench,\na.png,tench,5 6 7 8\na.png,0,1 2 3 4\na.png,2,\n"
    assert items_in(table(tmp_path, text), LABELS) == [
        Item(tmp_path / "a.png", 0, ((1, 2, 3, 4), (5, 6, 7, 8))),
        Item(tmp_path / "b.png", 0),
        Item(tmp_path / "a.png", 2),
    ]


def test_masks_lie_as_the_pictures_do(tmp_path: Path) -> None:
    names = ("0/cat[1].png", "1/cat[1].png")
    for name in names:
        picture(tmp_path / "photos" / name)
        picture(tmp_path / "masks" / name)
    found = items_in(tmp_path / "photos", LABELS, tmp_path / "masks")
    assert [item.mask for item in found] == [
        tmp_path / "masks" / name for name in ("0/cat[1].png", "1/cat[1].png")
    ]


def test_no_mask_serves_two_pictures(tmp_path: Path) -> None:
    for name in ("0/a.png", "1/a.png"):
        picture(tmp_path / "photos" / name)
    picture(tmp_path / "masks" / "a.png")
    with pytest.raises(OptionError, match=r"a\.png would be the mask of .*0/a\.png and of .*1/a\.png"):
        items_in(tmp_path / "photos", LABELS, tmp_path / "masks")


def test_of_two_masks_none_is_chosen(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "a.png")
    for name in ("a.png", "a.jpg"):
        picture(tmp_path / "masks" / name)
    with pytest.raises(OptionError, match="are both masks of"):
        items_in(tmp_path / "photos", LABELS, tmp_path / "masks")
