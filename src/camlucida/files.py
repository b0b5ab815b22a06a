"""Write results whole or not at all, never over an input or over files that camlucida did not write.

Files that camlucida writes carry a mark in their metadata by which it recognises them.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from camlucida import __version__
from camlucida.errors import OptionError, OutputError, printable, spoken

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ModuleNotFoundError:  # Windows, where an open file cannot be removed
    flock = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("png", "jpg", "webp")
WRITER = f"camlucida {__version__}"
WRITTEN_BY = "written_by"  # the first key of JSON
CSV_BEGINS = "path,way,class,probability"  # the first columns of evaluation.csv

TEMPORARY = ".camlucida-"  # prefix of files that are still being written
_TOKEN = 8  # characters after the prefix
_HEAD = 4096  # bytes at either end of a file in which the mark is searched
_MARK = re.compile(
    rb"tEXtSoftware\x00camlucida |"  # PNG
    rb"\xff\xfe\x00.camlucida |"  # JPEG: a comment
    rb"EXIF.{4}(Exif\0\0)?(II\*\0|MM\0\*).{0,64}camlucida |"  # WebP
    rb"PK\x05\x06.{18}camlucida ",  # .npz: the comment of a zip file
    re.DOTALL,
)


@contextmanager
def written_whole(path: Path, never: Sequence[Path] = (), overwrite: bool = False) -> Iterator[Path]:
    """A temporary file beside ``path`` that is renamed to ``path``, or removed if anything is raised.

    Raises:
        OutputError: see ``check_writable``; or it cannot be written.
    """
    with _said(path):
        check_writable(path, never, overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent.absolute())
        temporary, handle = _temporary(path)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            if handle is not None:
                os.close(handle)
            temporary.unlink(missing_ok=True)


def check_writable(path: Path, never: Sequence[Path] = (), overwrite: bool = False) -> None:
    """Raise if writing ``path`` would replace a file in ``never``, or one that camlucida did not write.

    Args:
        path: the file to be written.
        never: the inputs of the run.
        overwrite: whether files that camlucida did not write may be replaced; those in ``never`` may not.

    Raises:
        OutputError: one of these would be replaced.
    """
    with _said(path):
        if not os.path.lexists(path):
            return
        if any(same_file(path, one) for one in never):
            raise OutputError(
                f"{printable(path)} is an input of this run and would be overwritten: give another name or "
                "folder"
            )
        if not overwrite and not is_own(path):
            raise OutputError(
                f"{printable(path)} exists and camlucida did not write it: give another name or "
                f"folder, or allow it to be replaced ({spoken('`--overwrite`', 'overwrite=True')})"
            )


def is_own(path: Path) -> bool:
    """Whether camlucida wrote a file, by the mark in it."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - _HEAD))
        tail = file.read(_HEAD)
    text = head.lstrip(b"\xef\xbb\xbf{ \t\r\n")
    if text.startswith((f'"{WRITTEN_BY}": "camlucida '.encode(), CSV_BEGINS.encode())):
        return True
    return any(_MARK.search(part) for part in (head, tail))


def same_file(one: Path, other: Path) -> bool:
    """Whether both paths are the same existing file."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether the file exists; an impossible name, or one without permission, does not."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether the folder exists; an impossible name, or one without permission, does not."""
    try:
        return path.is_dir()
    except OSError:
        return False


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn an error of the file system into an OutputError about ``path``."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{printable(path)} cannot be written ({error.strerror or error}): give another path"
        ) from error


def _temporary(path: Path) -> tuple[Path, int | None]:
    """A new file in the folder of ``path``, with the user's own permissions; an open handle if it is locked.

    The handle holds a lock until the file is renamed. The system releases it if the process is killed, so that
    a later run knows which files were left behind.
    """
    while True:
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(_TOKEN // 2)}{path.suffix[:8]}")
        try:
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)  # less the user's umask
        except FileExistsError:
            continue
        if flock is None:
            os.close(handle)
            return temporary, None
        with suppress(OSError):  # some network folders have no locks
            flock(handle, LOCK_EX | LOCK_NB)
        if temporary.exists():  # and no other run removed it as stale before it was locked
            return temporary, handle
        os.close(handle)


@cache
def remove_stale(folder: Path) -> None:
    """Remove temporary files that killed runs left in ``folder``, once per process and folder."""
    if flock is None:
        return
    for file in folder.glob(f"{TEMPORARY}*"):
        token = file.name.removeprefix(TEMPORARY)[:_TOKEN]
        if (
            len(token) < _TOKEN
            or set(token) - set("0123456789abcdef")
            or file.is_symlink()
            or not file.is_file()
        ):
            continue
        with suppress(OSError):  # in use, or without permission
            handle = os.open(file, os.O_RDWR)
            try:
                flock(handle, LOCK_EX | LOCK_NB)
                file.unlink(missing_ok=True)
            finally:
                os.close(handle)


def save_picture(
    picture: Image, path: Path, never: Sequence[Path] = (), overwrite: bool = False, of: str = ""
) -> None:
    """Write a picture in the format of its suffix (see ``written_whole``); ``of`` is added to the mark.

    Raises:
        OptionError: the suffix is not that of a supported format.
        OutputError: it cannot be written, or would replace a file that must stay.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg", ".webp"):
        raise OptionError(f"pictures are saved as {', '.join(FORMATS)}, got {printable(path.name)!r}")
    check_writable(path, never, overwrite)
    encoded = _encoded(picture, path, suffix, WRITER + of)
    with written_whole(path, never, overwrite) as file:
        file.write_bytes(encoded)  # Pillow itself would not notice a full disk


def _encoded(picture: Image, path: Path, suffix: str, mark: str) -> bytes:
    """The content of a picture file, with camlucida's mark."""
    from PIL.Image import Exif

    buffer = BytesIO()
    try:
        if suffix == ".png":
            picture.save(buffer, format="PNG", pnginfo=_png_mark(mark))
        elif suffix == ".webp":
            exif = Exif()
            exif[0x0131] = mark  # Software
            picture.save(buffer, format="WEBP", quality=92, exif=exif)
        else:
            picture.save(buffer, format="JPEG", quality=92, comment=mark)
    except (ValueError, OSError) as error:  # a picture too large for the format
        raise OutputError(f"{printable(path)} cannot be written ({error}): save it as .png") from error
    return buffer.getvalue()


def _png_mark(text: str) -> object:
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text("Software", text)
    return mark


def png_bytes(picture: Image) -> bytes:
    """A picture as PNG."""
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
