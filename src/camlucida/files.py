"""Results on disk: whole or not at all, and never over an input."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from camlucida.errors import OptionError, OutputError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("png", "jpg", "webp")


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


def save_picture(picture: Image, path: Path, never: Path | None = None) -> None:
    """Write a picture whole, in the format of the name; ``never`` is not written over."""
    from PIL import Image

    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg", ".webp"):
        raise OptionError(f"pictures are saved as {', '.join(FORMATS)}, got {path.name!r}")
    Image.init()
    with written_whole(path, never) as file:
        try:
            picture.save(file, format=Image.EXTENSION[suffix], quality=92)
        except ValueError as error:  # Pillow's word for a picture too large for the format
            raise OutputError(f"{path} cannot be written ({error}), save it as .png") from error


def png_bytes(picture: Image) -> bytes:
    """A picture as PNG."""
    import io

    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
