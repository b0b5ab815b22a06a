"""What is known of the layers of models that a library names, kept on disk between runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import nn

from camlucida.errors import OutputError
from camlucida.files import written_whole
from camlucida.layers.layout import Layout
from camlucida.layers.probe import Judged


@dataclass
class Entry:
    """The default layers with what there is to know of the choice, and every layer that was judged."""

    default: tuple[str, ...]
    remarks: tuple[str, ...]
    judged: dict[str, Judged]


def folder() -> Path:
    """Where entries lie: `CAMLUCIDA_CACHE`, else `camlucida` in the user's cache folder."""
    own = os.environ.get("CAMLUCIDA_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "camlucida"


def load(key: Mapping[str, Any]) -> Entry | None:
    """The entry for a model, None if there is none or it cannot be read: it is then made anew."""
    try:
        kept = json.loads(_file(key).read_text(encoding="utf-8"))
        if kept["key"] != _plain(key):
            return None
        judged = {
            name: Judged(Layout(**{**one["layout"], "grid": tuple(one["layout"]["grid"])}), **one["verdict"])
            for name, one in kept["judged"].items()
        }
        return Entry(tuple(kept["default"]), tuple(kept["remarks"]), judged)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def fits(entry: Entry, module: nn.Module) -> bool:
    """Whether all layers that the entry names are the module's."""
    names = {name for name, _ in module.named_modules()}
    return names.issuperset(entry.default) and names.issuperset(entry.judged)


def save(key: Mapping[str, Any], entry: Entry) -> None:
    """Keep the entry; a cache that cannot be written to is none."""
    judged = {
        name: {
            "layout": asdict(one.layout),
            "verdict": {"verdict": one.verdict, "score": one.score, "alive": one.alive},
        }
        for name, one in entry.judged.items()
    }
    kept = {"key": _plain(key), "default": entry.default, "remarks": entry.remarks, "judged": judged}
    try:
        with written_whole(_file(key), overwrite=True) as temporary:  # the folder is ours
            temporary.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
    except OutputError:
        return


def clear() -> int:
    """Remove every entry, and say how many there were."""
    files = sorted((folder() / "layers").glob("*.json"))
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def _file(key: Mapping[str, Any]) -> Path:
    return (
        folder()
        / "layers"
        / f"{sha256(json.dumps(_plain(key), sort_keys=True).encode()).hexdigest()[:32]}.json"
    )


def _plain(key: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(key, default=str))
