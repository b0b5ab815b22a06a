"""A preprocessing with some numbers changed by the user or a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from camlucida.errors import OptionError, spoken, unknown_name
from camlucida.images import Size
from camlucida.models.preprocessing_recipe import NOBODY, Interpolation, Preprocess, Recipe
from camlucida.models.preprocessing_steps import preprocess_of

NUMBERS = ("size", "crop", "interpolation", "mean", "std")
_MODES = ("center", "squash", "border")  # timm's crop_mode
_INTERPOLATIONS = get_args(Interpolation)
_LARGEST = 1 << 14  # pixels a side
_MOST = 4.0  # of a mean or deviation of values from 0 to 1: others are of values up to 255
_NUDGE = 1 - 1e-9  # so that 224 / (224 / 232) rounds down to 232, as is meant


def changed(base: Preprocess, numbers: Mapping[str, Any], channels: int, source: str) -> Preprocess:
    """``base`` with the ``numbers`` that are given, by the names in NUMBERS.

    ``size`` is the input's side or (height, width), ``crop`` which share of the resized picture's shorter side
    is cut out of its centre, or "squash" for the whole picture without its proportions; ``interpolation`` is
    how it is resized; ``mean`` and ``std`` are of values from 0 to 1, one for all channels or one for each.

    Raises:
        OptionError: a number is no such, or ``base`` does not say what is missing.
    """
    from timm.data import create_transform

    known = base.recipe
    given = checked_numbers(numbers)
    size, share, mode = _geometry(known, given)
    needed = {"size": size, **{name: given.get(name) or getattr(known, name) for name in ("mean", "std")}}
    needed["interpolation"] = given.get("interpolation") or _interpolation(known)
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise OptionError(
            f"the preprocessing from {known.source} has no {' and no '.join(missing)} that can be kept: give "
            f"{_described(missing)} too"
        )
    config = {
        "input_size": (channels, *needed["size"]),
        "crop_pct": share * _NUDGE,
        "crop_mode": mode,
        "interpolation": needed["interpolation"],
        "mean": _each(needed["mean"], channels, "mean"),
        "std": _each(needed["std"], channels, "std"),
    }
    said_all = set(numbers) >= set(NUMBERS) or known.source == NOBODY
    rest = "" if said_all else f"; else {known.source}"
    said = f"{source} ({', '.join(name for name in NUMBERS if name in numbers)}){rest}"
    return preprocess_of(create_transform(**config), channels, said)


def _described(names: Sequence[str]) -> str:
    """The arguments or flags that give these numbers."""
    by_name = ", ".join(f'"{name}": …' for name in names)
    return spoken(" and ".join(f"`--{name}`" for name in names), f"preprocess={{{by_name}}}")


def checked_numbers(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of a preprocessing, each in its one form.

    Raises:
        OptionError: one is not known, or has another form.
    """
    unknown = next((name for name in numbers if name not in _CHECKS), None)
    if unknown is not None:
        known = ", ".join(NUMBERS)
        raise OptionError(
            unknown_name("number of a preprocessing", str(unknown), list(NUMBERS), f"they are {known}")
        )
    return {name: _CHECKS[name](value) for name, value in numbers.items()}


def _geometry(known: Recipe, given: Mapping[str, Any]) -> tuple[Size | None, float, str]:
    """Size, share of the crop, and timm's mode: of what is known, where that can be said so."""
    size, share, mode = _known_geometry(known)
    size = given.get("size", size)
    if "crop" in given:
        share, mode = given["crop"]
    return size, share, mode


def _known_geometry(known: Recipe) -> tuple[Size | None, float, str]:
    resize = known.resize or {}
    sides = tuple(resize.values())
    if resize.keys() == {"shortest_edge"} and known.crop is not None and known.crop[0] == known.crop[1]:
        return known.crop, known.crop[0] / sides[0], "center"
    modes = {"height": "squash", "min_height": "center", "max_height": "border"}
    mode = next((modes[name] for name in resize if name in modes), None)
    if mode is None or len(sides) != 2:
        return None, 1.0, "center"
    crop = known.crop or (sides[0], sides[1])
    return crop, crop[0] / sides[0], mode


def _interpolation(known: Recipe) -> str | None:
    """The known interpolation if it can be kept, bilinear if none is known."""
    if known.interpolation is None:
        return "bilinear"
    return known.interpolation if known.interpolation in _INTERPOLATIONS else None


def _each(values: Sequence[float], channels: int, name: str) -> tuple[float, ...]:
    """A value for each channel."""
    if len(values) == channels:
        return tuple(values)
    if len(values) == 1 or channels == 1:  # a grey picture's is the mean of its colours'
        return (sum(values) / len(values),) * channels
    raise OptionError(
        f"{name} has {len(values)} numbers and the model takes {channels} channels: give {channels}"
    )


def _size(value: Any) -> Size:
    sides = list(value) if isinstance(value, (list, tuple)) else [value, value]
    sides = sides * 2 if len(sides) == 1 else sides[-2:] if len(sides) == 3 else sides
    if len(sides) != 2 or any(type(one) is not int or not 0 < one <= _LARGEST for one in sides):
        raise OptionError(f"size is a side in pixels or (height, width), got {value!r}: give for example 224")
    return sides[0], sides[1]


def _crop(value: Any) -> tuple[float, str]:
    if value == "squash":
        return 1.0, "squash"
    if isinstance(value, tuple) and len(value) == 2 and value[1] in _MODES:
        return _share(value[0]), value[1]
    return _share(value), "center"


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise OptionError(
            f"crop is a share of the shorter side, above 0 and at most 1, or 'squash', got {value!r}: give "
            "for example 0.875"
        )
    return float(value)


def _interpolated(value: Any) -> str:
    if value not in _INTERPOLATIONS:
        known = list(_INTERPOLATIONS)
        raise OptionError(unknown_name("interpolation", str(value), known, f"it is {', '.join(known)}"))
    return str(value)


def _numbers(value: Any) -> tuple[float, ...]:
    listed = value if isinstance(value, (list, tuple)) else [value]
    numbers = [one for one in listed if isinstance(one, (int, float)) and not isinstance(one, bool)]
    if not listed or len(numbers) != len(listed) or not all(abs(one) <= _MOST for one in numbers):
        raise OptionError(
            f"mean and std are numbers for values in 0…1, one for all channels or one per channel, got "
            f"{value!r}: divide numbers for values up to 255 by 255"
        )
    return tuple(float(one) for one in numbers)


def _positive(value: Any) -> tuple[float, ...]:
    numbers = _numbers(value)
    if min(numbers) <= 0:
        raise OptionError(f"std is above 0, got {value!r}: give the standard deviation used in training")
    return numbers


_CHECKS = {"size": _size, "crop": _crop, "interpolation": _interpolated, "mean": _numbers, "std": _positive}
