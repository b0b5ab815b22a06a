"""Output files of a run: each result has its own, and no file of the user's is replaced."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.files import check_writable
from camlucida.pipeline.file_marks import Mark, mark_in

if TYPE_CHECKING:
    from camlucida.cli.model_options import ModelOptions
    from camlucida.cli.options import Result

_LONGEST = 255 - len("-12.webp")  # bytes of a name on most disks, less its number and suffix


class Outputs:
    """The names of one run's results, none twice. ``inputs`` are the files that the run reads."""

    def __init__(self, result: Result, inputs: Sequence[Path]) -> None:
        self.result = result
        self.writing: dict[str, Any] = {"never": tuple(inputs), "overwrite": result.overwrite}
        self._taken: set[str] = set()

    def check(self, stems: Iterable[str]) -> None:
        """Refuse, before anything is drawn, to write results called so where they would replace other files.

        Raises:
            OutputError: one of them would.
        """
        for stem in stems:
            path = self.result.path(shortened(stem))
            raw = [path.with_suffix(".npz"), path.with_suffix(".json")] if self.result.save_raw else []
            for file in (path, *raw):
                check_writable(file, **self.writing)

    def path(self, stem: str, mark: Mark = (), parts: Sequence[str] = ()) -> Path:
        """Where the result called ``stem`` goes: with a number behind it if this run has one of that name.

        A result of an earlier run that was of something else stays. Then what differs is added to the name, of
        the names ``parts`` for model, layer, method and target, and a number if that does not help.
        """
        name = self._free(stem)
        path = self.result.path(name)
        if self.result.overwrite or self.result.is_file():
            return path
        there = self._mark_at(path)
        if mark and there not in ((), mark):
            same = len(there) == len(mark) == len(parts) + 1
            pairs = zip(parts, there[1:], mark[1:], strict=True) if same else ()
            longer = "-".join([stem, *(part for part, before, now in pairs if before != now)])
            return self._beside(path, longer, mark)
        return path

    def _beside(self, path: Path, name: str, mark: Mark) -> Path:
        """The first name that is free, or of the same result, for what must not replace ``path``."""
        from camlucida.cli.talk import say_note

        for stem in _numbers(shortened(name)):
            other = self.result.path(stem)
            fits = not os.path.lexists(other) or self._mark_at(other) == mark
            if fits and folded(stem) not in self._taken:
                break
        self._taken.add(folded(stem))
        say_note(f"{path} is of another picture, model, layer, method or class and stays", self.result.quiet)
        return other

    def _mark_at(self, path: Path) -> Mark:
        """What a result of an earlier run is of, by its picture or its raw map."""
        return mark_in(path) or (mark_in(path.with_suffix(".json")) if self.result.save_raw else ())

    def raw(self, sheet: Path, what: str) -> Path:
        """Where one raw map of a contact sheet goes: beside it, named after it and what the map is of."""
        return sheet.with_name(f"{self._free(f'{sheet.stem}-{what}')}.npz")

    def _free(self, stem: str) -> str:
        name = shortened(stem)
        free = next(one for one in _numbers(name) if folded(one) not in self._taken)
        self._taken.add(folded(free))
        return free


def inputs_of(pictures: Sequence[Path], models: Sequence[str], options: ModelOptions) -> list[Path]:
    """All files that a run reads: pictures, weights, labels and the user's own models."""
    from camlucida.cli.model_options import ModelOptions
    from camlucida.models.load import split_layer, split_weights

    named = [split_weights(split_layer(model)[0]) for model in models]
    labels = [] if options.labels is None else [options.labels]
    own = [Path(name.rpartition(":")[0] or name) for name, _ in named]
    files = [Path(weights) for _, weights in named if weights != ModelOptions.weights]
    return [*pictures, Path(options.weights), *files, *labels, *own]


def numbered(names: Sequence[str]) -> list[str]:
    """Names of which none is there twice: those that were get a number that makes no other of them."""
    taken = {folded(name) for name in names}
    given: set[str] = set()
    found = []
    for name in names:
        free = (
            name
            if folded(name) not in given
            else next(one for one in _numbers(name) if folded(one) not in taken | given)
        )
        given.add(folded(free))
        found.append(free)
    return found


def folded(name: str) -> str:
    """What is the same of two names that some disks take for one: other cases, other forms of one letter."""
    return unicodedata.normalize("NFC", name).casefold()


def shortened(stem: str) -> str:
    """A name no longer than a disk takes; of a longer one the beginning, and what tells it from others."""
    data = os.fsencode(stem)
    if len(data) <= _LONGEST:
        return stem
    mark = sha256(data).hexdigest()[:8]
    return data[: _LONGEST - 9].decode("utf-8", "ignore") + f"-{mark}"


def _numbers(name: str) -> Iterable[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1
