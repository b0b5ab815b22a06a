"""What the command line says: results on stdout; errors, notes and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from camlucida.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def console() -> Console:
    """For talk, on stderr; no colours where NO_COLOR is set or stderr is not a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_result(fields: Mapping[str, object]) -> None:
    """One line on stdout, with tabs between its fields, at once; odd letters in them are escaped."""
    shown = [printable(str(field), longest=4096) for name, field in fields.items() if name != "more"]
    _write_line("\t".join(shown))


def say_json(fields: Mapping[str, object]) -> None:
    """The same as an object of JSON on one line, with what stands under ``more`` beside the rest."""
    more = fields.get("more")
    told = {name: field for name, field in fields.items() if name != "more"}
    _write_line(json.dumps(told | (more if isinstance(more, dict) else {})))


def _write_line(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def say_error(message: str) -> None:
    """One line on stderr."""
    _say("camlucida:", message, "red")


def say_note(message: str, quiet: bool) -> None:
    """Print a note on stderr, unless quiet."""
    if not quiet:
        _say("note:", message, "yellow")


def _say(mark: str, message: str, style: str) -> None:
    """A message on one line of stderr, unless that is closed; no word in it is longer than a line."""
    if sys.stderr is not None:
        words = [printable(word, longest=400) for word in message.split()]
        console().print(mark, " ".join(words), style=style, markup=False, emoji=False)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def waiting(message: str, quiet: bool) -> Iterator[None]:
    """A spinner while something long is under way, on terminals only."""
    if quiet or not _on_terminal():
        yield
        return
    from rich.text import Text

    with console().status(Text(printable(message, longest=80))):  # a name is no markup
        yield


def tracked(items: Iterable[T], count: int, what: str, quiet: bool) -> Iterator[T]:
    """The ``count`` items, with a bar that tells the time left where there are several, on terminals only."""
    if quiet or count < 2 or not _on_terminal():
        yield from items
        return
    from rich.progress import Progress

    with Progress(console=console(), transient=True) as progress:
        yield from progress.track(items, total=count, description=what)
