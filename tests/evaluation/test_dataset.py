"""Tables and masks that are not as they should be, and what is made of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from camlucida.errors import OptionError, PictureError, TargetError
from camlucida.evaluation.dataset import Item, items_in
from camlucida.models.bundled import DEFAULT_MODEL
from camlucida.models.load import load
from camlucida.targets.base import ClassScore
from camlucida.targets.resolve import resolve
from camlucida.targets.wnids import class_of

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


# -- folders ----------------------------------------------------------------------------------------------


def drawn(path: Path, **saving: object) -> Path:
    """A picture that bears camlucida's mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path, **saving)
    return path


def test_what_camlucida_drew_is_no_class_and_no_picture(tmp_path: Path) -> None:
    """Told by the mark in it, whatever it and its folder are called; `results` by its name as well."""
    mark, exif = PngInfo(), Image.Exif()
    mark.add_text("Software", "camlucida 0.1.0")
    exif[0x0131] = "camlucida 0.1.0"
    picture(tmp_path / "tench" / "a.png")
    picture(tmp_path / "results" / "old.png")
    picture(tmp_path / ".thumbnails" / "a.png")
    picture(tmp_path / "tench" / "._a.png")
    drawn(tmp_path / "maps" / "a.png", pnginfo=mark)
    drawn(tmp_path / "maps" / "b.jpg", comment="camlucida 0.1.0")
    drawn(tmp_path / "maps" / "c.webp", exif=exif)
    drawn(tmp_path / "sheet.png", pnginfo=mark)
    assert items_in(tmp_path, LABELS) == [Item(tmp_path / "tench" / "a.png", 0)]
    mentioned = drawn(tmp_path / "tench" / "b.jpg", comment="seen with a camera lucida")
    assert items_in(tmp_path, LABELS)[1] == Item(mentioned, 0)


def test_a_class_may_be_called_results(tmp_path: Path) -> None:
    picture(tmp_path / "results" / "a.png")
    assert items_in(tmp_path, ["tench", "results"]) == [Item(tmp_path / "results" / "a.png", 1)]


def test_pictures_beside_folders_of_classes_are_not_dropped(tmp_path: Path) -> None:
    for name in ("tench/a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    with pytest.raises(OptionError, match=r"b\.png, c\.png beside tench/"):
        items_in(tmp_path, LABELS)


def test_a_folder_that_is_no_class_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "holiday" / "a.png")
    with pytest.raises(TargetError, match=r"holiday is taken for the folder of a class, and class 'holiday'"):
        items_in(tmp_path, LABELS)


@pytest.mark.parametrize("inside", [(), ("empty/",), ("notes.txt",), (".hidden.png",), ("results/a.png",)])
def test_a_source_with_nothing_in_it_is_an_error(tmp_path: Path, inside: tuple[str, ...]) -> None:
    for name in inside:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith(".png"):
            picture(path)
        elif name.endswith(".txt"):
            path.touch()
        else:
            path.mkdir()
    with pytest.raises(PictureError, match="holds no picture"):
        items_in(tmp_path, LABELS)
    for missing in ("nope", "nope.csv", "nope.png"):
        with pytest.raises(PictureError, match=r"nope.* (does not exist|cannot be read)"):
            items_in(tmp_path / missing, LABELS)


def test_a_single_picture_is_a_source(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    assert items_in(path, LABELS) == [Item(path)]


def test_imagenets_folders(tmp_path: Path) -> None:
    """Both classes that ImageNet calls crane; of models with other classes the one of that name."""
    labels = load(DEFAULT_MODEL, "random").labels
    for name in ("n02012849", "n03126707", "n02123159"):
        picture(tmp_path / name / "a.png")
    assert [item.target for item in items_in(tmp_path, labels)] == [134, 282, 517]
    assert resolve("n02123159", labels) == ClassScore(282)
    assert class_of("n02123159", ["tench", "tiger cat"]) == 1
    assert class_of("n02123159", ["n01440764", "n02123159"]) == 1
    with pytest.raises(TargetError, match="'crane', and 2 of the model's classes"):
        class_of("n02012849", ["crane", "crane"])
    with pytest.raises(TargetError, match="none of the model's classes"):
        class_of("n02012849", LABELS)
    with pytest.raises(TargetError, match="n00000000 is not one of ImageNet's"):
        items_in(picture(tmp_path / "other" / "n00000000" / "a.png").parents[1], LABELS)


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "tench" / "a.png")
    (tmp_path / "locked").mkdir()
    inside = Path.iterdir

    def iterdir(self: Path) -> Iterator[Path]:
        if self.name == "locked":
            raise PermissionError(13, "Permission denied")
        return inside(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(PictureError, match=r"locked cannot be read \(Permission denied\)"):
        items_in(tmp_path, LABELS)
