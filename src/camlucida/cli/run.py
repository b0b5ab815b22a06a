"""What the drawing commands do in the same way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camlucida.cli.options import numbered
from camlucida.cli.talk import say_error, tracked
from camlucida.errors import CamlucidaError

if TYPE_CHECKING:
    from camlucida.explanation import Explanation


def each_picture(paths: Sequence[Path], work: Callable[[Path, str], None], what: str, quiet: bool) -> None:
    """``work(path, stem)`` for each picture; one that fails does not keep the others from being done.

    Raises:
        SystemExit: with 2, after all is done, if one of several failed.
        CamlucidaError: the only picture failed.
    """
    stems = numbered([path.stem for path in paths])
    failed = False
    for path, stem in tracked(list(zip(paths, stems, strict=True)), what, quiet):
        try:
            work(path, stem)
        except CamlucidaError as error:
            if len(paths) == 1:
                raise
            say_error(str(error))
            failed = True
    if failed:
        raise SystemExit(2)


def print_result(path: Path, explanation: Explanation) -> None:
    """One line on stdout: file, class and probability, method, model and layer, with tabs between."""
    facts = (str(path), explanation.caption, explanation.method, f"{explanation.model}#{explanation.layer}")
    sys.stdout.write("\t".join(facts) + "\n")


def name_of_target(explanation: Explanation) -> str:
    """What was explained, in few words."""
    from camlucida.explanation import name_of

    return "score" if explanation.index is None else name_of(explanation.label, explanation.index)
