"""The cache on disk of what was found about the layers of named models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from torch import nn

from camlucida.capture.layout import Kind, Layout
from camlucida.errors import OutputError
from camlucida.files import written_whole
from camlucida.layers.probe import LayoutVerdict, Verdict


@dataclass
class CachedLayers:
    """The default layers with remarks on the choice, and the verdict of every probed layer.

    ``uneven`` says how the picture lies in the grid where it does not fill it; it is not kept on disk, where
    models of libraries are.
    """

    default: tuple[str, ...]
    remarks: tuple[str, ...]
    verdicts: dict[str, LayoutVerdict]
    uneven: str = ""


def folder() -> Path:
    """Where entries lie: `CAMLUCIDA_CACHE`, else `camlucida` in the user's cache folder."""
    own = os.environ.get("CAMLUCIDA_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(base) / "camlucida"


def load(key: Mapping[str, Any]) -> CachedLayers | None:
    """The entry for a model, None if there is none or it cannot be read: it is then made anew."""
    try:
        kept = json.loads(_file(key).read_text(encoding="utf-8"))
        if kept["key"] != _plain(key):
            return None
        verdicts = {_text(name): _judged(one) for name, one in kept["judged"].items()}
        return CachedLayers(tuple(map(_text, kept["default"])), tuple(map(_text, kept["remarks"])), verdicts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _judged(kept: Any) -> LayoutVerdict:
    """The verdict in a cache entry; a ValueError if the entry is malformed."""
    layout, verdict = kept["layout"], kept["verdict"]
    numbers = [*layout["grid"], layout["prefix"], layout["suffix"]]
    whole = len(numbers) == 4 and all(type(one) is int and 0 <= one < 1 << 20 for one in numbers)
    scores = [verdict["score"], verdict["alive"]]
    known = layout["kind"] in get_args(Kind) and verdict["verdict"] in get_args(Verdict)
    if not (whole and known and min(layout["grid"]) > 0 and all(type(one) in (int, float) for one in scores)):
        raise ValueError(f"no entry of a layer: {kept!r}")
    read = Layout(layout["kind"], (numbers[0], numbers[1]), numbers[2], numbers[3])
    return LayoutVerdict(read, verdict["verdict"], float(scores[0]), float(scores[1]))


def _text(kept: Any) -> str:
    if not isinstance(kept, str):
        raise TypeError(f"a name, got {type(kept).__name__}")
    return kept


def fits(entry: CachedLayers, module: nn.Module) -> bool:
    """Whether all layers that the entry names are the module's."""
    names = {name for name, _ in module.named_modules()}
    return names.issuperset(entry.default) and names.issuperset(entry.verdicts)


def save(key: Mapping[str, Any], entry: CachedLayers) -> None:
    """Keep the entry; a cache that cannot be written to is none."""
    verdicts = {
        name: {
            "layout": asdict(one.layout),
            "verdict": {"verdict": one.verdict, "score": one.score, "alive": one.live_fraction},
        }
        for name, one in entry.verdicts.items()
    }
    kept = {"key": _plain(key), "default": entry.default, "remarks": entry.remarks, "judged": verdicts}
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
