"""Results on disk: whole or not at all, and never over an input."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from camlucida.errors import OutputError


@contextmanager
def written_whole(path: Path, never: Path | None = None) -> Iterator[Path]:
    """A temporary file beside ``path``, which becomes ``path`` if nothing is raised and vanishes otherwise.

    ``never`` is a file that must not be written over.

    Raises:
        OutputError: ``path`` is that file, or cannot be written.
    """
    if never is not None and same_file(path, never):
        raise OutputError(f"{path} is the input picture and would be written over, give another name or folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".camlucida-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}), give another place"
        ) from error


def same_file(one: Path, other: Path) -> bool:
    """Whether both are names of one file that exists."""
    return one.exists() and other.exists() and one.samefile(other)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
