"""Look up classes by name, and the names by which they are shown."""

from __future__ import annotations

from collections.abc import Sequence

from camlucida.errors import TargetError, unknown_name
from camlucida.targets.wnids import class_of, is_wnid

_LISTED = 12  # candidates shown when a name fits several classes


def index_of(text: str, labels: Sequence[str] | None) -> int:
    """The index of a class by digits, its name or a part of it; ``index:10`` and ``name:10`` are explicit.

    Raises:
        TargetError: no class or several match, or digits are both an index and another class's name.
    """
    text = text.strip()
    prefix, colon, rest = text.partition(":")
    if colon and prefix == "index" and rest.strip().isdecimal():
        return int(rest)
    if colon and prefix == "name":
        return find_class(rest.strip(), labels)
    if not text.isdecimal():
        if not labels and text.removeprefix("-").isdecimal():
            raise TargetError(f"class indices start at 0, got {text}: give 0 for the first class")
        return find_class(text, labels)
    index = int(text)
    called = [place for place, label in enumerate(labels or ()) if text in _names(label)]
    if not labels or not called or called == [index]:
        return index
    if index >= len(labels):
        return find_class(text, labels)
    raise TargetError(
        f"class {text!r} is ambiguous: class {called[0]} has this name, and class {index} is "
        f"{labels[index]!r}: say name:{text} or index:{text}"
    )


def short_name(index: int, labels: Sequence[str] | None) -> str:
    """A short name: the first synonym if it is unique, else as much as distinguishes the class."""
    if not labels or not 0 <= index < len(labels):
        return f"class {index}"
    label = labels[index]
    short = label.split(",")[0]
    if sum(other.split(",")[0] == short for other in labels) == 1:
        return short
    return label if sum(other == label for other in labels) == 1 else f"{label} ({index})"


def find_class(name: str, labels: Sequence[str] | None) -> int:
    """The index of the class called ``name``; a whole name wins over a part of one."""
    if not labels:
        raise TargetError(
            f"this model has no class names in which to look up {name!r}: give the class by its index"
        )
    if is_wnid(name):
        return class_of(name, labels)
    wanted = name.lower()
    whole = [i for i, label in enumerate(labels) if wanted in _names(label)]
    found = whole or [i for i, label in enumerate(labels) if wanted and wanted in label.lower()]
    if len(found) == 1:
        return found[0]
    if not found:
        known = [part for label in labels for part in _names(label)]
        raise TargetError(unknown_name("class", name, known, "give a part of its name, or its index"))
    listed = ", ".join(f"{i} {labels[i]}" for i in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise TargetError(
        f"class {name!r} matches {len(found)} classes: name one, or give its index: {listed}{more}"
    )


def _names(label: str) -> list[str]:
    """ImageNet labels are synonyms separated by commas: each is a name, and so is the whole label."""
    return [label.lower(), *(part.strip().lower() for part in label.split(","))]


def absent(index: int, classes: int) -> str:
    """The message that a class index does not exist, with the indices that do."""
    has = f"classes 0 to {classes - 1}"
    if classes == 1:
        has = (
            "one logit: class 0 is the evidence for it, and the target lambda logits: -logits[:, 0] the "
            "evidence against it"
        )
    return f"class index {index} does not exist, this model has {has}"
