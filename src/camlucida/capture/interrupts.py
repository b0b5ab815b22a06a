"""Defer Ctrl-C while a step must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Ctrl-C waits until the block has ended; only the main thread ever sees one."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    arrived: list[Any] = []
    try:
        try:
            signal.signal(signal.SIGINT, lambda *interrupt: arrived.append(interrupt))
            yield
        finally:
            signal.signal(signal.SIGINT, before)
    finally:  # once more, for what may interrupt the first
        signal.signal(signal.SIGINT, before)
        if arrived:
            before(*arrived[0])
