"""Progress and closing notes of the commands that evaluate."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from camlucida.cli.talk import say_error, say_note, tracked
from camlucida.tables import counted

if TYPE_CHECKING:
    from camlucida.cli.model_options import ModelOptions
    from camlucida.evaluation.evaluator import Evaluator
    from camlucida.evaluation.run import Advice, Evaluation


def timed(items: Sequence[Any], evaluator: Evaluator, quiet: bool) -> Iterator[Any]:
    """The items; after the first one, a note of the time left."""
    begun = time.perf_counter()
    for place, item in enumerate(tracked(items, len(items), "measuring", quiet)):
        yield item
        left = (len(items) - 1) * (time.perf_counter() - begun) / 60
        if place == 0 and left > 1 / 4:
            maps, metrics = counted(len(evaluator.sources), "map"), counted(len(evaluator.metrics), "metric")
            size = f"{counted(len(items), 'picture')} × {maps} × {metrics}"
            say_note(f"{size}: about {left:.1f} min", quiet)


def say_end(found: Evaluation, quiet: bool) -> None:
    """Report failures and reuse; exit with 1 if pictures failed."""
    from camlucida.evaluation.intervals import MIN_PICTURES

    if found.asked:
        spared = found.asked - found.run
        run = f"{counted(found.pictures, 'picture')}, {counted(found.run, 'variant')} run"
        say_note(f"{run}, {spared} of {found.asked} reused", quiet)
    if found.pictures < MIN_PICTURES:
        say_note(
            f"fewer than {MIN_PICTURES} pictures give no intervals and no significance: give more of them",
            quiet,
        )
    say_failed(found.failed)
    if found.failed:
        say_error(f"{counted(len(found.failed), 'picture')} failed, measured: {found.pictures}")
        raise SystemExit(1)


def say_failed(failed: Mapping[str, str]) -> None:
    """One line per failed picture."""
    for path, reason in failed.items():
        say_error(reason if path in reason else f"{path}: {reason}")


def say_next(found: Sequence[Advice], model: str, options: ModelOptions, quiet: bool) -> None:
    """The command to use the recommendation."""
    if found:
        method, _, layer = found[0].source.partition(" ")
        asked = ["--model", model, "--method", method, *(["--layer", layer] if layer else [])]
        asked += options.given()
        say_note(f"use it: camlucida explain PHOTO {shlex.join(asked)}", quiet)
