"""Class names as the user gives them: a sequence, or a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camlucida.errors import OptionError, spoken

_FORMS = "a text file with one name a line, or JSON with a list, or an object from index to name"


def labels_from(source: str | Path | Sequence[str] | Mapping[Any, Any]) -> list[str]:
    """The class names in order of their index, of a file or as they are.

    A file is text with one name a line, or JSON: a list, index → name, name → index, or index → [id, name] as
    in ImageNet's ``class_index.json``. A mapping is understood like one of JSON.

    Raises:
        OptionError: there is no such file, it has another form, or an index or a name is missing.
    """
    if not isinstance(source, (str, Path)):
        return _ordered(source, "labels")
    file = Path(source)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise OptionError(f"no labels in {file} ({reason}), give {_FORMS}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{file} is not text in UTF-8, give {_FORMS}") from error
    if file.suffix.lower() == ".json":
        try:
            return _ordered(json.loads(text), str(file))
        except (ValueError, RecursionError) as error:
            raise OptionError(f"{file} is not JSON ({error}), give {_FORMS}") from error
    return _checked([line.strip() for line in text.rstrip().splitlines()], str(file))


def check_count(labels: Sequence[str], classes: int) -> None:
    """Refuse names of which there are more or fewer than ``classes``, which is what the model's output has.

    Raises:
        OptionError: their numbers differ.
    """
    if classes == 1 and len(labels) == 2:
        raise OptionError(
            f"labels name 2 classes and this model has one logit, which usually speaks for {labels[1]!r}: "
            + spoken(
                f"name that one alone in the file for `--labels`, and see {labels[0]!r} by what speaks against "
                "it (`--colormap RdBu_r`)",
                f"give labels=[{labels[1]!r}], and explain {labels[0]!r} by what speaks against it, the target "
                "lambda logits: -logits[:, 0]",
            )
        )
    if len(labels) != classes:
        raise OptionError(
            f"labels name {len(labels)} classes but this model has {classes}: give one name per class, in order"
        )


def _ordered(names: Any, where: str) -> list[str]:
    if not isinstance(names, Mapping):
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise OptionError(f"{where} hold {type(names).__name__}, give {_FORMS}")
        return _checked(names, where)
    pairs = list(names.items())
    if all(type(value) is int for _, value in pairs):  # name → index
        pairs = [(index, name) for name, index in pairs]
    try:
        by_index = {int(index): _name(value) for index, value in pairs}
    except (TypeError, ValueError) as error:
        raise OptionError(f"{where} map something else than an index to a name, give {_FORMS}") from error
    missing = [index for index in range(len(names)) if index not in by_index]
    if missing:
        raise OptionError(
            f"{where} have {len(names)} names and none for class {missing[0]}: number them from 0"
        )
    return _checked([by_index[index] for index in range(len(names))], where)


def _name(value: Any) -> Any:
    """A name, also of a pair (WordNet id, name)."""
    return value[1] if isinstance(value, (list, tuple)) and len(value) == 2 else value


def _checked(names: Sequence[Any], where: str) -> list[str]:
    """The names, if each is one; one that is missing in the middle would rename all behind it."""
    if not names:
        raise OptionError(f"{where} hold no names, give {_FORMS}")
    wrong = next((i for i, name in enumerate(names) if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise OptionError(f"class {wrong} of {where} has no name but {names[wrong]!r}: give {_FORMS}")
    return list(names)
