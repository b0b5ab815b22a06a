"""Errors that users can act on.

Every message says what was expected, what came, and what to do next, in one sentence.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath

_ON_COMMAND_LINE: ContextVar[bool] = ContextVar("on_command_line", default=False)
_FLAGS = {name: name.removesuffix("s") for name in ("methods", "layers", "targets", "metrics", "options")}


class CamlucidaError(Exception):
    """Anything camlucida refuses to do; the command line turns it into one line and exit code 2."""


class CamlucidaWarning(UserWarning):
    """Something about a result that users should know; the command line prints it as a note."""


class PictureError(CamlucidaError):
    """A picture cannot be read or does not fit the model."""


class ModelError(CamlucidaError):
    """A model cannot be found, loaded or run."""


class NotFinite(ModelError):  # noqa: N818 - named after what is wrong
    """A model returns NaN for the pictures at these ``rows`` of a batch."""

    def __init__(self, message: str, rows: list[int]) -> None:
        super().__init__(message)
        self.rows = rows


class LayerError(CamlucidaError):
    """A layer does not exist, has no positions, or does not influence the score."""


class TargetError(CamlucidaError):
    """The class or score to explain does not exist or is not unique."""


class OptionError(CamlucidaError):
    """A method, option or setting is not one of those that exist."""


class OutputError(CamlucidaError):
    """A result cannot be written where it should go."""


def unknown_name(kind: str, given: str, known: list[str], hint: str) -> str:
    """The message for an unknown name, which offers the closest known ones."""
    from difflib import get_close_matches

    lowered = {name.lower(): name for name in known}
    close = [lowered[name] for name in get_close_matches(given.lower(), list(lowered), n=4, cutoff=0.5)]
    offer = f"did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    return f"{kind} {given!r} is not known: {offer}{hint}"


@contextmanager
def on_command_line() -> Iterator[None]:
    """A context in which messages name flags instead of arguments."""
    token = _ON_COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _ON_COMMAND_LINE.reset(token)


def spoken(command: str, python: str) -> str:
    """The wording of a message for the command line or for Python."""
    return command if _ON_COMMAND_LINE.get() else python


def setting(name: str, value: str = "…") -> str:
    """How to give a setting: `--weights random` or weights="random"; a value in capitals is a placeholder."""
    flag = f"--{_FLAGS.get(name, name).replace('_', '-')}"
    shown = value if value.isupper() or value == "…" else f'"{value}"'
    return spoken(f"`{flag} {value}`" if value != "…" else f"`{flag}`", f"{name}={shown}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory: Python's, CUDA's, or by the messages of the CPU and MPS."""
    if isinstance(error, MemoryError):
        return True
    said = (
        *("can't allocate memory", "MPS backend out of memory", "CUDA error: out of memory"),
        *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED"),
    )
    return type(error).__name__ == "OutOfMemoryError" or any(words in str(error) for words in said)


def printable(text: str | PurePath, longest: int = 400) -> str:
    """A name that can be shown anywhere: on one line, control characters escaped, the middle cut if it is long.

    File names may hold anything: line breaks, terminal escape codes, bytes that are not UTF-8.
    """
    shown = "".join(map(_escaped, str(text)))
    half = longest // 2
    return shown if len(shown) <= longest else f"{shown[:half]}…{shown[-half:]}"


_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _escaped(letter: str) -> str:
    if letter.isprintable():
        return letter
    if 0xDC80 <= ord(letter) <= 0xDCFF:  # how Python represents a byte that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    hidden = letter in _DIRECTIONS or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
    return letter.encode("unicode_escape").decode() if hidden else letter


def reason_of(error: Exception) -> str:
    """An error in one line: the message of our own, the name and message of others."""
    words = " ".join(str(error).split())
    if isinstance(error, CamlucidaError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
