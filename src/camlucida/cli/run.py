"""What ``explain`` and ``compare`` have in common."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from camlucida.cli.outputs import numbered
from camlucida.cli.talk import say_error, say_json, say_note, say_result, tracked
from camlucida.errors import CamlucidaError, PictureError, printable

if TYPE_CHECKING:
    from camlucida.cli.options import Result
    from camlucida.pipeline.explanation import Explanation

Came = TypeVar("Came", bound="PictureOutcome")
Fields = Mapping[str, object]  # of a line about a result
STDIN = Path("/dev/stdin")  # what stands on the command line as -
DEBUG: ContextVar[bool] = ContextVar("debug", default=False)  # whether `--debug` was given


def pictures_in(sources: Sequence[Path], quiet: bool) -> tuple[list[Path], bool]:
    """The pictures meant by paths, and whether any of several folders failed, which is said.

    What is passed over in folders is said, too, in one line.

    Raises:
        PictureError: the only folder holds no picture, or cannot be read.
    """
    from camlucida.images import find, passed_over

    found: list[Path] = []
    left_out: list[Path] = []
    failed = False
    for source in sources:
        try:
            found += find([source])
            left_out += passed_over([source])
        except CamlucidaError as error:
            if len(sources) == 1:
                raise
            say_error(str(error))
            failed = True
    if left_out:
        names = ", ".join(printable(path.name, 60) for path in left_out[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        say_note(f"passed over, being no pictures by their names: {names}{more}", quiet)
    return found, failed


def stems_of(paths: Sequence[Path]) -> list[str]:
    """What the results of each picture are called, none twice."""
    return numbered([path.stem for path in paths])


def picture_at(path: Path) -> Path | bytes:
    """A path that can be explained; of standard input what it holds.

    Raises:
        PictureError: nobody sends anything there.
    """
    if path != STDIN:
        return path
    if sys.stdin is None or sys.stdin.isatty():
        raise PictureError(
            "- reads a picture from standard input, and nothing is sent there: add `< photo.jpg`"
        )
    return sys.stdin.buffer.read()


class PictureOutcome(Protocol):
    """The result for the picture with a ``number``."""

    @property
    def number(self) -> int: ...

    @property
    def error(self) -> Exception | None: ...


def each_picture(
    paths: Sequence[Path],
    outcomes: Iterator[Came],
    write: Callable[[Came, Path, str], Iterator[Fields]],
    what: str,
    result: Result,
    failed: bool = False,
) -> None:
    """Write the outcome of each picture and print its lines as they come.

    A picture that fails does not keep the others from being done. ``failed`` says that something failed before.

    Raises:
        SystemExit: with 2, after all is done, if something failed and others did not.
        Exception: the only picture failed.
    """
    said, stems = say_json if result.json else say_result, stems_of(paths)
    for outcome in tracked(_apart(outcomes), len(paths), what, result.quiet):
        lines = write(outcome, paths[outcome.number], stems[outcome.number])
        error = outcome.error
        while error is None:
            try:
                with redirect_stdout(sys.stderr):
                    fields = next(lines, None)
            except Exception as raised:  # noqa: BLE001 - a picture's file cannot be written
                error = raised
                break
            if fields is None:
                break
            said(fields)  # not within the try: that stdout is closed is no picture's fault
        if error is not None:
            if len(paths) == 1 and not failed:
                raise error
            _say_failed(paths[outcome.number], error)
            failed = True
    if failed:
        raise SystemExit(2)


def _apart(outcomes: Iterator[Came]) -> Iterator[Came]:
    """The outcomes; what a user's model prints meanwhile is no result, and goes to standard error."""
    while True:
        with redirect_stdout(sys.stderr):
            outcome = next(outcomes, None)
        if outcome is None:
            return
        yield outcome


def _say_failed(path: Path, error: Exception) -> None:
    """Why a picture failed, with its name."""
    if DEBUG.get():
        traceback.print_exception(error)
    message = str(error)
    if isinstance(error, MemoryError):
        message = "needs more memory than is available: scale it down"
    elif not isinstance(error, CamlucidaError):
        message = (
            f"unexpected {type(error).__name__}: {error}; run it again with --debug and report what it prints"
        )
    name = printable(path)
    say_error(message if name in message else f"{name}: {message}")


def fields_of(path: Path, explanation: Explanation) -> Fields:
    """A result's line: file, class and probability, method, model and layer; more of it for JSON."""
    return {
        "file": str(path),
        "caption": explanation.caption,
        "method": explanation.method,
        "model": f"{explanation.model}#{explanation.layer}",
        "more": {
            "source": None if explanation.source is None else str(explanation.source),
            "target": explanation.named,
            "index": explanation.index,
            "label": explanation.label,
            "probability": explanation.probability,
            "score": explanation.score,
            "preprocessing": explanation.provenance.preprocessing,
            "findings": [finding.code for finding in explanation.health],
        },
    }


def name_of_target(explanation: Explanation) -> str:
    """What was explained, in few words and as it can stand in a file name."""
    return explanation.named.replace(" \N{MINUS SIGN} ", " minus ")
