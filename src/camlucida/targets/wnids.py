"""ImageNet's class identifiers from WordNet, such as `n02123159`, which name its folders."""

from __future__ import annotations

import re
from collections.abc import Sequence

from camlucida.errors import TargetError

_FORM = re.compile(r"n\d{8}")


def is_wnid(name: str) -> bool:
    """Whether ``name`` has the form of a WordNet identifier."""
    return _FORM.fullmatch(name) is not None


def class_of(wnid: str, labels: Sequence[str]) -> int:
    """The index of the class with ImageNet's identifier ``wnid``, from timm's table.

    A model with ImageNet's 1000 classes in order has it at the same index; in other models it is the one class
    with the same names.

    Raises:
        TargetError: there is no such class.
    """
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    known = info.label_names()
    if wnid in labels:
        return list(labels).index(wnid)
    if wnid not in known:
        raise TargetError(f"{wnid} is not one of ImageNet's 1000 classes: give the class by its name or index")
    place: int = known.index(wnid)
    names = info.label_name_to_description(wnid)
    if len(labels) == len(known) and _names(labels[place]) & _names(names):
        return place
    fitting = [index for index, label in enumerate(labels) if _names(label) & _names(names)]
    if len(fitting) != 1:
        raise TargetError(
            f"{wnid} is ImageNet's {names!r}, and {len(fitting) or 'none'} of the model's classes have that "
            "name: give the class by its index"
        )
    return fitting[0]


def _names(label: str) -> set[str]:
    return {part.strip().lower() for part in label.split(",")}
