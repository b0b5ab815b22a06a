"""One borrower at a time: modules may share parts, and targets may explain another model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

lock = threading.RLock()


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the process-wide borrow lock; the same thread may enter again.

    An interrupt may end any line, so the lock is given back twice over, and it is taken by the outermost turn
    alone: then the lock itself says whether there is anything to give back.
    """
    mine = lock  # a child process gets another
    nested = _is_ours(mine)
    try:
        try:
            if not nested:
                mine.acquire()
            yield
        finally:
            if not nested and _is_ours(mine):
                mine.release()
    finally:
        if not nested and _is_ours(mine):
            mine.release()


def renew() -> None:
    """Replace the lock in a forked child, where its holder does not continue."""
    global lock  # noqa: PLW0603 - the old one is held for ever
    lock = threading.RLock()


def _is_ours(one: threading.RLock) -> bool:
    """Whether this thread holds the lock, as ``threading.Condition`` asks."""
    return bool(one._is_owned())  # type: ignore[attr-defined]
