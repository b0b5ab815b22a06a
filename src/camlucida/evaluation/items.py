"""What is to be evaluated: a folder by classes, a table, or a folder of pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from camlucida.errors import OptionError, PictureError
from camlucida.images import SUFFIXES, find
from camlucida.targets import resolve

Box = tuple[float, float, float, float]  # left, top, right, bottom, in the picture's pixels

_COLUMNS = ("path", "label", "box")
_BOX_FORM = "a box is left top right bottom in pixels, with spaces between, and several have ; between"


@dataclass(frozen=True)
class Item:
    """A picture; ``target`` is its class, None for the model's own top class; where the object is, if known."""

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
    if source.suffix.lower() == ".csv":
        items = _of_table(source, labels)
    elif source.is_dir() and any(_has_pictures(folder) for folder in source.iterdir() if folder.is_dir()):
        items = _of_classes(source, labels)
    else:
        items = [Item(path) for path in find([source])]
    if not items:
        raise PictureError(f"{source} names no picture, give one that does")
    wrong = next((item for item in items if not _exists(item.target, labels)), None)
    if wrong:
        raise OptionError(
            f"{wrong.path} is of class {wrong.target}, and the model has classes 0 to {len(labels or ()) - 1}: "
            "give indices of its own classes"
        )
    return [_with_mask(item, masks) for item in items] if masks else items


def _exists(target: int | None, labels: Sequence[str] | None) -> bool:
    """Of a model without labels it turns out when a picture is shown to it."""
    return target is None or labels is None or 0 <= target < len(labels)


def _of_classes(source: Path, labels: Sequence[str] | None) -> list[Item]:
    items = []
    for folder in sorted(one for one in source.iterdir() if one.is_dir()):
        if _has_pictures(folder):
            index = _index(folder.name, labels)
            items += [Item(path, index) for path in find([folder])]
    return items


def _of_table(source: Path, labels: Sequence[str] | None) -> list[Item]:
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise PictureError(f"{source} cannot be read ({error.strerror or error}), give another table") from None
    columns = list(rows[0]) if rows else []
    if "path" not in columns or not set(columns) <= set(_COLUMNS):
        raise OptionError(
            f"a table has the columns path, label and, if known, box; {source} has "
            f"{', '.join(columns) or 'none'}"
        )
    items = []
    for row in rows:
        label, box = (row.get("label") or "").strip(), (row.get("box") or "").strip()
        boxes = tuple(_box(text, source) for text in box.split(";") if text.strip())
        path = Path(row["path"])
        where = path if path.is_absolute() else source.parent / path
        items.append(Item(where, _index(label, labels) if label else None, boxes))
    return items


def _box(text: str, source: Path) -> Box:
    try:
        left, top, right, bottom = (float(part) for part in text.split())
    except ValueError:
        raise OptionError(f"{_BOX_FORM}, {source} has {text.strip()!r}") from None
    if not (left < right and top < bottom):
        raise OptionError(f"{_BOX_FORM}, and left is less than right, {source} has {text.strip()!r}")
    return left, top, right, bottom


def _index(name: str, labels: Sequence[str] | None) -> int | None:
    found = resolve(name.replace("_", " ") if labels and name not in labels else name, labels)
    return getattr(found, "index", None)


def _has_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _with_mask(item: Item, masks: Path) -> Item:
    found = sorted(path for path in masks.glob(f"{item.path.stem}.*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise OptionError(
            f"there is no mask for {item.path.name} in {masks}: give one for each picture, of the same name"
        )
    return Item(item.path, item.target, item.boxes, found[0])
