"""Preprocessing and class names stored beside the weights of a checkpoint."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from camlucida.errors import CamlucidaError, printable
from camlucida.models.changed_preprocessing import checked_numbers
from camlucida.models.labels import labels_from
from camlucida.models.weights import HUB_FILES

# Where training scripts put it; the first that says a number counts.
_PLACES = (
    *("pretrained_cfg", "default_cfg", "config", "model_config", "cfg"),
    *("args", "hyper_parameters", "hparams"),
)
_NAMES = {
    "size": ("input_size", "img_size", "image_size", "val_crop_size"),
    "interpolation": ("interpolation",),
    "mean": ("mean", "image_mean"),
    "std": ("std", "image_std"),
}
_CLASSES = (
    *("label_names", "class_names", "classes", "labels", "categories"),
    *("class_to_idx", "idx_to_class", "label2id", "id2label"),
)


@dataclass(frozen=True)
class Beside:
    """``numbers`` are a preprocessing's, by the names in ``changed.NUMBERS``, and ``source`` says where."""

    numbers: Mapping[str, Any] = field(default_factory=dict)
    labels: list[str] | None = None
    source: str = ""


def beside_weights(file: Path) -> Beside:
    """Preprocessing and class names in ``file``, and in the config of a timm folder."""
    numbers: dict[str, Any] = {}
    labels, sources = None, []
    for source, facts in _places(file):
        found = {name: value for name, value in numbers_in(facts) if name not in numbers}
        numbers |= found
        sources += [source] if found else []
        labels = labels or _labels(facts)
    return Beside(numbers, labels, " and ".join(sources))


def _places(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    name = printable(file.name, 60)
    content = _content(file)
    for place in _PLACES:
        inside = content.get(place)
        facts = vars(inside) if isinstance(inside, Namespace) else inside
        if isinstance(facts, Mapping):
            yield f"{place} of {name}", facts
    yield name, content
    config = file.parent / "config.json"
    if file.name in HUB_FILES and config.is_file():
        facts = _json(config.read_bytes())
        if isinstance(facts, Mapping) and isinstance(facts.get("pretrained_cfg"), Mapping):
            yield f"config.json beside {name}", facts["pretrained_cfg"]
            yield f"config.json beside {name}", facts


def _content(file: Path) -> Mapping[str, Any]:
    """The contents of the file, without reading its tensors where possible."""
    import torch
    from safetensors import safe_open

    with suppress(Exception):  # the weights were read: what else there is may be anything
        if file.suffix.lower() == ".safetensors":
            with safe_open(str(file), framework="pt") as opened:
                facts = opened.metadata() or {}
            return {name: _json(text, text) for name, text in facts.items()}
        with torch.serialization.safe_globals([Namespace]):
            found = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zipfile(file))
        if isinstance(found, Mapping):
            return {name: one for name, one in found.items() if isinstance(name, str)}
    return {}


def _json(text: str | bytes, otherwise: Any = None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


def numbers_in(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Those of a preprocessing; what has another form than they have is none."""
    crop, whole = facts.get("val_crop_size"), facts.get("val_resize_size")
    share = crop / whole if type(crop) is type(whole) is int and crop and whole else facts.get("crop_pct")
    mode = facts.get("crop_mode")
    told: list[tuple[str, Any]] = [("crop", share if mode is None else (1.0 if share is None else share, mode))]
    told += [(name, facts.get(key)) for name, keys in _NAMES.items() for key in keys]
    known: dict[str, Any] = {}
    for name, value in told:
        plain = value.tolist() if hasattr(value, "tolist") else value
        if plain is not None and name not in known:
            with suppress(CamlucidaError):
                known |= checked_numbers({name: plain})
    yield from known.items()


def _labels(facts: Mapping[str, Any]) -> list[str] | None:
    for name in _CLASSES:
        given = facts.get(name)
        if isinstance(given, Mapping) or (isinstance(given, (list, tuple)) and len(given) > 1):
            with suppress(CamlucidaError):
                names = labels_from(given)
                described = facts.get("label_descriptions")
                return [str(described.get(one, one)) for one in names] if isinstance(described, dict) else names
    return None
