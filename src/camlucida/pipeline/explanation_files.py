"""Explanations in files: written in one piece, and read with care, since a file may come from anywhere.

The ``.npz`` is a zip file of the raw map, its spread if there is one, the picture, and the manifest, JSON in
bytes. Each part's kind and size are checked before memory is taken for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from camlucida.errors import OutputError, printable
from camlucida.files import WRITER, WRITTEN_BY, written_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

_MAPS = ("f2", "f4", "f8")
_HEADER = 4096  # bytes in front of an array's values
# Part → kinds of numbers, axes, bytes at most
_PARTS = {
    "heatmap": (_MAPS, 2, 1 << 28),
    "spread": (_MAPS, 2, 1 << 28),
    "picture": (("u1",), 3, 1 << 30),
    "manifest": (("u1",), 1, 1 << 24),
}


@dataclass(frozen=True)
class Saved:
    """What a file holds: arrays by name and the manifest, all of them checked."""

    arrays: Mapping[str, np.ndarray]
    manifest: Mapping[str, Any]


def as_json(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as JSON in UTF-8; what JSON does not know stands there as Python shows it.

    Bytes of file names that are no UTF-8 stand there as escapes, which JSON has for them.
    """
    text = json.dumps({WRITTEN_BY: WRITER, **manifest}, indent=2, ensure_ascii=False, default=repr)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def write(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    manifest: Mapping[str, Any],
    never: Sequence[Path] = (),
    overwrite: bool = False,
) -> None:
    """Write the ``.npz``, which is whole by itself, and its manifest once more beside it, for people to read.

    Raises:
        OutputError: one of them cannot be written, or would replace a file that it must not.
    """
    import numpy as np

    text = as_json(manifest)
    beside = path.with_suffix(".json")
    with written_whole(beside, never, overwrite) as second, written_whole(path, never, overwrite) as first:
        second.write_bytes(text)
        with first.open("wb") as stream:
            np.savez_compressed(stream, **arrays, manifest=np.frombuffer(text, np.uint8))  # type: ignore[arg-type]
        with ZipFile(first, "a") as parts:
            parts.comment = WRITER.encode()


def read(path: Path) -> Saved:
    """What ``write`` wrote.

    Raises:
        OutputError: there is no such file, or it is damaged, or holds anything that ``write`` would not write.
    """
    try:
        with ZipFile(path) as parts:
            there = {info.filename: info for info in parts.infolist()}
            missing = [name for name in _PARTS if f"{name}.npy" not in there and name != "spread"]
            if missing:
                raise ValueError(f"there is no {missing[0]} in it")
            arrays = {name: _array(parts, name) for name in _PARTS if f"{name}.npy" in there}
        manifest = json.loads(arrays.pop("manifest").tobytes().decode("utf-8"))
        _check(manifest, arrays)
    except Exception as error:  # a file that may come from anywhere is read
        reason = printable(" ".join(str(error).split())) or type(error).__name__
        raise OutputError(
            f"{printable(path)} is not an explanation that camlucida saved ({reason}): save it anew"
        ) from error
    return Saved(arrays, manifest)


def _array(parts: ZipFile, name: str) -> np.ndarray:
    """One part, if it is what it should be, by its header, before its values are read."""
    import numpy as np

    kinds, axes, most = _PARTS[name]
    info = parts.getinfo(f"{name}.npy")
    if info.flag_bits & 1:
        raise ValueError(f"its {name} is encrypted")
    if info.file_size > most + _HEADER:
        raise ValueError(f"its {name} would take {info.file_size:,} bytes, and at most {most:,} are read")
    with parts.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"its {name} has another form than camlucida writes")
        shape, by_columns, kind = np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER)
        if kind.str[1:] not in kinds or len(shape) != axes or 0 in shape or (axes == 3 and shape[2] != 3):
            raise ValueError(f"its {name} is {kind} {shape}")
        size = math.prod(shape) * kind.itemsize
        if size > most:
            raise ValueError(f"its {name} would take {size:,} bytes, and at most {most:,} are read")
        values = stream.read(size + 1)  # to the end, where the checksum is compared
    if len(values) != size:
        raise ValueError(f"its {name} has {len(values)} bytes and {shape} needs {size}")
    array = np.frombuffer(values, kind).reshape(shape, order="F" if by_columns else "C")
    return array.astype(kind.newbyteorder("="))


def _whole(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    return type(value) is float or (_whole(value) and abs(value) < 1 << 63)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _size(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 2 and all(_whole(one) and 0 < one < 1 << 31 for one in value)
    )


def _box(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 4 and all(map(_number, value))):
        return False
    left, top, right, bottom = value
    return all(abs(one) < 1e9 for one in value) and left < right and top < bottom


def _cells(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"box", "seen"} and all(map(_box, value.values()))


def _frame(value: Any) -> bool:
    forms = {"picture": _size, "box": _box, "view": _size, "cells": _cells}
    return (
        isinstance(value, dict)
        and value.keys() | {"cells"} == forms.keys()  # which files of earlier versions have not
        and all(forms[k](v) for k, v in value.items())
    )


def _findings(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and one.keys() == {"code", "found", "advice"} and _texts(list(one.values()))
        for one in value
    )


def _or_none(form: Any) -> Any:
    return lambda value: value is None or form(value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _option(value: Any, depth: int = 8) -> bool:
    """Whether a value is as methods take them: not nested so deep that copying it would fail."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_option(one, depth - 1) for one in inside)


_SCHEMA = {
    "index": _or_none(lambda value: _whole(value) and value >= 0),
    "label": _or_none(_text),
    "score": _number,
    "probability": _or_none(lambda value: _number(value) and not (value < 0 or value > 1)),
    **dict.fromkeys(("model", "weights", "layer", "layout", "method", "preprocess"), _text),
    "options": lambda value: _mapping(value) and _option(value),
    "versions": lambda value: _mapping(value) and _texts(list(value.values())),
    "smooth": _texts,
    "frame": _frame,
    "source": _or_none(_text),
    "health": _findings,
    "notes": _whole,
    "target": _text,
    "preprocessing": lambda value: _mapping(value) and _option(value),
}
_LATER = ("target", "preprocessing")  # what files of earlier versions have not


def _check(manifest: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse a manifest of another form, or one that does not belong to the arrays."""
    if not _mapping(manifest):
        raise ValueError("its manifest is no object")
    for name, form in _SCHEMA.items():
        if name in _LATER and name not in manifest:
            continue
        if name not in manifest or not form(manifest[name]):
            raise ValueError(f"its manifest's {name} is {printable(repr(manifest.get(name)), 60)}")
    if not 0 <= manifest["notes"] <= len(manifest["health"]):
        raise ValueError(f"its manifest's notes are {manifest['notes']} of {len(manifest['health'])} findings")
    if list(arrays["picture"].shape[:2]) != manifest["frame"]["picture"]:
        raise ValueError(f"its picture is {arrays['picture'].shape} and its frame says another size")
    if "spread" in arrays and arrays["spread"].shape != arrays["heatmap"].shape:
        raise ValueError(f"its spread is {arrays['spread'].shape} and its map {arrays['heatmap'].shape}")
