"""What the command line says on stderr: errors, notes, progress."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def console() -> Console:
    """For talk, on stderr; no colours where NO_COLOR is set or stderr is not a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say_error(message: str) -> None:
    """One line on stderr."""
    console().print("camlucida:", " ".join(message.split()), style="red", markup=False)


def say_note(message: str, quiet: bool) -> None:
    """Something worth knowing, unless nothing is to be said."""
    if not quiet:
        console().print("note:", message, style="yellow", markup=False)


@contextmanager
def waiting(message: str, quiet: bool) -> Iterator[None]:
    """A spinner while something long is under way, on terminals only."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    with console().status(message):
        yield


def tracked(items: Sequence[T], what: str, quiet: bool) -> Iterator[T]:
    """The items, with a bar that tells the time left where there are several."""
    if quiet or len(items) < 2:
        yield from items
        return
    from rich.progress import Progress

    with Progress(console=console(), transient=True) as progress:
        yield from progress.track(items, description=what)
