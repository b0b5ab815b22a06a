"""Marks that identify a result: a few letters for each thing that it depends on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

_PARTS = (("source",), ("model", "weights"), ("layer",), ("method", "smooth"), ("target",))
_FORM = re.compile(rb"camlucida [\w.+-]+ of ((?:[0-9a-f]{8}\.)*[0-9a-f]{8})")
_ENDS = 4096  # bytes at either end of a file that are searched

Mark = tuple[str, ...]  # picture, model, layer, method and target; or one for a whole sheet


def mark_of(manifest: Mapping[str, Any]) -> Mark:
    """The mark of an explanation's manifest."""
    source = manifest["source"]
    known = {**manifest, "source": str(Path(source).resolve()) if source else manifest["score"]}
    return tuple(_letters([_plain(known[name]) for name in names]) for names in _PARTS)


def mark_of_all(marks: list[Mark]) -> Mark:
    """The mark of a sheet."""
    return (_letters(marks),)


def written(mark: Mark) -> str:
    """As it stands in a file, behind camlucida's own mark."""
    return f" of {'.'.join(mark)}" if mark else ""


def mark_in(path: Path) -> Mark:
    """The mark in a picture, or in the manifest of a raw map; empty where there is none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        if path.suffix == ".json":
            return mark_of(json.loads(path.read_bytes()))
        with path.open("rb") as file:
            head = file.read(_ENDS)
            file.seek(max(0, path.stat().st_size - _ENDS))
            found = _FORM.search(head + file.read(_ENDS))
        return tuple(found[1].decode().split(".")) if found else ()
    return ()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _letters(told: Any) -> str:
    return blake2b(json.dumps(told).encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
