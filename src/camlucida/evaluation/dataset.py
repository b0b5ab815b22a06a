"""The pictures of an evaluation: a folder of class folders, a table, or a plain folder."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from camlucida.errors import OptionError, PictureError, TargetError
from camlucida.evaluation.sources import pictures_by_class
from camlucida.images import SUFFIXES
from camlucida.targets.class_names import index_of

Box = tuple[float, float, float, float]  # left, top, right, bottom, in the picture's pixels

_COLUMNS = ("path", "label", "box")
_BOX_FORM = "a box is left top right bottom in pixels, with spaces between, and several have ; between"


@dataclass(frozen=True)
class Item:
    """A picture, its class ``target`` (None: the model's top class), and where the object is, if known."""

    path: Path
    target: int | None = None
    boxes: tuple[Box, ...] = ()
    mask: Path | None = None


def items_in(source: Path, labels: Sequence[str] | None, masks: Path | None = None) -> list[Item]:
    """The pictures of a table (``.csv``: path, label[, box]), of a folder by classes, or of a plain folder.

    Classes are given by index, or by a name or a part of one among ``labels``. ``masks`` is a folder with a
    picture of the same name for each, white where the object is.

    Raises:
        OptionError: the table has another form, or a picture has no mask.
        TargetError: the model has no such class.
        PictureError: there is no such file or folder, or nothing in it.
    """
    if source.suffix.lower() == ".csv" and not source.is_dir():
        items = _of_table(source, labels)
    elif source.is_file():
        items = [Item(source)]
    else:
        items = _of_folder(source, labels)
    if not items:
        raise PictureError(f"{source} names no picture, give one that does")
    wrong = next((item for item in items if not _exists(item.target, labels)), None)
    if wrong:
        raise OptionError(
            f"{wrong.path} is of class {wrong.target}, and the model has classes 0 to {len(labels or ()) - 1}: "
            "give indices of its own classes"
        )
    return _with_masks(items, masks, source) if masks else items


def _exists(target: int | None, labels: Sequence[str] | None) -> bool:
    """Without labels, whether a class exists shows only when the model runs."""
    return target is None or labels is None or 0 <= target < len(labels)


def _of_folder(source: Path, labels: Sequence[str] | None) -> list[Item]:
    found = pictures_by_class(source, lambda name: _is_class(name, labels))
    # Folders that are all called like classes are meant so: digits are names then, and no indices.
    named = "name:" if all(folder is None or folder.name in (labels or ()) for folder in found) else ""
    items = []
    for folder, paths in found.items():
        index = None if folder is None else _class_of(folder, labels, named)
        items += [Item(path, index) for path in paths]
    return items


def _class_of(folder: Path, labels: Sequence[str] | None, named: str) -> int | None:
    try:
        return _index(f"{named}{folder.name}", labels)
    except TargetError as error:
        raise TargetError(f"{folder} is taken for the folder of a class, and {error}") from None


def _is_class(name: str, labels: Sequence[str] | None) -> bool:
    return any(name.lower() in (part.strip().lower() for part in label.split(",")) for label in labels or ())


def _of_table(source: Path, labels: Sequence[str] | None) -> list[Item]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise PictureError(f"{source} cannot be read ({error.strerror or error}), give another table") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"{source} is not a table in UTF-8 ({error}): save it as CSV in UTF-8") from None
    columns = list(reader.fieldnames or [])
    if "path" not in columns or not set(columns) <= set(_COLUMNS):
        raise OptionError(
            f"a table has the columns path, label and, if known, box; {source} has "
            f"{', '.join(columns) or 'none'}"
        )
    boxes: dict[tuple[Path, int | None], dict[Box, None]] = {}  # a picture may have a line for each box
    for number, row in rows:
        line = f"{source}, line {number},"
        if None in row or not (row["path"] or "").strip():
            raise OptionError(
                f"{line} has no path, or more fields than {len(columns)} columns: quote what has a comma in it"
            )
        label, box = (row.get("label") or "").strip(), (row.get("box") or "").strip()
        where = (source.parent / row["path"].strip(), _index(label, labels) if label else None)
        boxes.setdefault(where, {}).update((_box(text, line), None) for text in box.split(";") if text.strip())
    return [Item(path, target, tuple(known)) for (path, target), known in boxes.items()]


def _box(text: str, source: str) -> Box:
    try:
        left, top, right, bottom = (float(part) for part in text.split())
    except ValueError:
        raise OptionError(f"{_BOX_FORM}, {source} has {text.strip()!r}") from None
    if not (left < right and top < bottom):
        raise OptionError(f"{_BOX_FORM}, and left is less than right, {source} has {text.strip()!r}")
    return left, top, right, bottom


def _index(name: str, labels: Sequence[str] | None) -> int:
    known = not labels or name.removeprefix("name:") in labels
    return index_of(name if known else name.replace("_", " "), labels)


def _with_masks(items: Sequence[Item], masks: Path, source: Path) -> list[Item]:
    """Each item with the mask of the same relative path, or the same name; no mask serves two pictures."""
    known: dict[Path, list[Path]] = {}
    for path in sorted(masks.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            known.setdefault(path.relative_to(masks).with_suffix(""), []).append(path)
    found, taken = [], dict[Path, Path]()
    for item in items:
        mask = _mask_of(item.path, known, masks, source)
        other = taken.setdefault(mask, item.path)
        if other != item.path:
            raise OptionError(
                f"{mask} would be the mask of {other} and of {item.path}: lay masks in folders as pictures are"
            )
        found.append(Item(item.path, item.target, item.boxes, mask))
    return found


def _mask_of(path: Path, known: Mapping[Path, Sequence[Path]], masks: Path, source: Path) -> Path:
    beside = [path.relative_to(source).with_suffix("")] if path.is_relative_to(source) else []
    fitting = next((known[name] for name in (*beside, Path(path.stem)) if name in known), ())
    if not fitting:
        raise OptionError(
            f"there is no mask for {path.name} in {masks}: give one for each picture, of the same name"
        )
    if len(fitting) > 1:
        raise OptionError(f"{fitting[0]} and {fitting[1]} are both masks of {path}: leave one")
    return fitting[0]
