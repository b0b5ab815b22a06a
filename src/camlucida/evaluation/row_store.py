"""Rows on disk, one line each, so that later runs reuse them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida import __version__
from camlucida.errors import OutputError
from camlucida.evaluation.evaluator import Row
from camlucida.files import written_whole
from camlucida.models.fingerprint import of_model, without_addresses

if TYPE_CHECKING:
    from camlucida.evaluation.evaluator import MetricSettings
    from camlucida.pipeline.explainer import Explainer

_HEAD = json.dumps({"written_by": f"camlucida {__version__}", "rows": "evaluation, 4"}) + "\n"
_BEGINS = b'{"written_by": "camlucida '
_NUMBER = (int, float)
_FIELDS: dict[str, type | tuple[type, ...]] = {  # of a line; a row's own, and what it is of
    "path": str,
    "source": str,
    "index": int,
    "probability": (*_NUMBER, type(None)),
    "score": _NUMBER,
    "values": dict,
    "seconds": _NUMBER,
    "key": str,
    "predicted": (int, type(None)),
    "right": (bool, type(None)),
    "control": bool,
    "of": str,
    "settings": dict,
}

Stored = tuple[Row, dict[str, Any]]  # with the settings of its measures


class Records:
    """The rows in ``folder`` that belong to ``of``: a model, its weights, a seed.

    ``options`` are those of the methods. Rows of other models, methods, measures and options lie beside them
    and are kept. Lines that are cut off or no rows are left out; ``damaged`` counts them.

    Raises:
        OutputError: the file is none of camlucida's, or cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        of: Mapping[str, Any],
        metrics: MetricSettings,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.path = folder / "rows.jsonl"
        self._of, self._options = dict(of), options or {}
        self._settings = {metric.name: dict(settings) for metric, settings in metrics}
        self._stored: dict[tuple[str, str, str], Stored] = {}
        self.damaged = 0
        lines = self._read(folder)
        kept = [line for line in lines if self._keep(line)]
        self.damaged = len(lines) - len(kept)
        if self.damaged or not (self.path.exists() and self.path.stat().st_size):
            with written_whole(self.path, overwrite=True) as path:  # its head was ours
                path.write_bytes(_HEAD.encode() + b"".join(line + b"\n" for line in kept))

    def find(self, key: str, source: str) -> Row | None:
        """The row of a picture and a source, with the metrics that it has; None if there is none."""
        row, settings = self._stored.get((self._of_source(source), key, source), (None, {}))
        if row is None:
            return None
        same = [name for name, asked in self._settings.items() if settings.get(name) == asked]
        return replace(row, values={name: row.values[name] for name in same if name in row.values})

    def add(self, rows: Sequence[Row]) -> None:
        """Write the rows of one picture to disk at once.

        Raises:
            OutputError: they cannot be written; nothing of them is left.
        """
        text = "".join(self._line(row) for row in rows).encode()
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as file:
                file.write(text)
        except OSError as error:
            with suppress(OSError):  # what is cut off is left out by the next run, too
                os.truncate(self.path, size)
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror or error}): make room and run it again, it "
                "goes on where it was"
            ) from error
        for row in rows:
            self._store(row, self._of_source(row.source), self._settings_of(row))

    def _read(self, folder: Path) -> list[bytes]:
        """The lines behind the head."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be read or written ({error.strerror or error}), give another folder"
            ) from error
        if content and not content.startswith(_BEGINS):
            raise OutputError(
                f"{self.path} is no file of rows of this version of camlucida, give another folder or remove it"
            )
        lines = content.split(b"\n")[1:]
        return lines[:-1] if lines and not lines[-1] else lines

    def _keep(self, line: bytes) -> bool:
        told = _checked(line)
        if told is None:
            return False
        of, settings = told.pop("of"), told.pop("settings")
        self._store(Row(**told), of, settings)
        return True

    def _store(self, row: Row, of: str, settings: dict[str, Any]) -> None:
        """Merge with what other metrics say of the same picture and source."""
        place = (of, row.key, row.source)
        if place in self._stored:
            before, known = self._stored[place]
            row, settings = replace(row, values={**before.values, **row.values}), {**known, **settings}
        self._stored[place] = (row, settings)

    def _settings_of(self, row: Row) -> dict[str, Any]:
        return {name: self._settings[name] for name in row.values}

    def _of_source(self, source: str) -> str:
        """A key of the source that changes with the model and the method's options."""
        method = source.partition(" ")[0]
        told = json.dumps([self._of, self._options.get(method, {})], sort_keys=True)
        return blake2b(told.encode(), digest_size=8).hexdigest()

    def _line(self, row: Row) -> str:
        beside = {"of": self._of_source(row.source), "settings": self._settings_of(row)}
        return json.dumps(asdict(row) | beside) + "\n"


def what_rows_are_of(explainer: Explainer, seed: int) -> dict[str, Any]:
    """What rows depend on: the model, its weights, the preprocessing and the seed."""
    adapter, recipe = explainer.adapter, explainer.preprocess.recipe
    return {
        "model": explainer.title,
        "weights": adapter.weights,
        "fingerprint": of_model(explainer.module),
        "activation": adapter.activation,
        "preprocess": explainer.preprocess_name,
        "preprocessing": [str(recipe), *map(without_addresses, recipe.steps)],
        "dtype": str(next((one.dtype for one in explainer.module.parameters()), None)),
        "seed": seed,
        "camlucida": __version__,
    }


def _checked(line: bytes) -> dict[str, Any] | None:
    """The row of a line, None if the line is cut off or no row."""
    try:
        told = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.keys() != _FIELDS.keys():
        return None
    if not all(isinstance(told[name], kind) for name, kind in _FIELDS.items()):
        return None
    numbers = [told["score"], told["seconds"], *told["values"].values()]
    numbers += [] if told["probability"] is None else [told["probability"]]
    whole = [told["index"], *([] if told["predicted"] is None else [told["predicted"]])]
    if any(isinstance(one, bool) or not isinstance(one, _NUMBER) for one in numbers):
        return None
    if (
        any(isinstance(one, bool) or one < 0 for one in whole)
        or told["values"].keys() != told["settings"].keys()
    ):
        return None
    return told
