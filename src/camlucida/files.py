"""Results on disk: whole or not at all, never over an input, and over nothing that camlucida did not write.

What camlucida writes carries a mark in its metadata, by which it is known again: no file beside it is needed.
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
except ModuleNotFoundError:  # Windows, which lets nobody remove a file that is open
    flock = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("png", "jpg", "webp")
WRITER = f"camlucida {__version__}"
WRITTEN_BY = "written_by"  # the first key of JSON
CSV_BEGINS = "path,way,class,probability"  # the columns that evaluation.csv has first

TEMPORARY = ".camlucida-"  # what names of files begin with while they are written
_TOKEN = 8  # letters behind that
_HEAD = 4096  # bytes at either end of a file that are searched for a mark
_MARK = re.compile(
    rb"tEXtSoftware\x00camlucida |"  # PNG
    rb"\xff\xfe\x00.camlucida |"  # JPEG: a comment
    rb"EXIF.{4}(Exif\0\0)?(II\*\0|MM\0\*).{0,64}camlucida |"  # WebP
    rb"PK\x05\x06.{18}camlucida ",  # .npz: the comment of a zip file
    re.DOTALL,
)


@contextmanager
def written_whole(path: Path, never: Sequence[Path] = (), overwrite: bool = False) -> Iterator[Path]:
    """A temporary file beside ``path``, which becomes ``path`` if nothing is raised and vanishes otherwise.

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
    """Refuse to write over one of the files in ``never``, or over what camlucida did not write.

    Args:
        path: where something is to be written.
        never: the inputs of the run.
        overwrite: whether files of others may be replaced. Those in ``never`` may not.

    Raises:
        OutputError: one of these would be replaced.
    """
    with _said(path):
        if not os.path.lexists(path):
            return
        if any(same_file(path, one) for one in never):
            raise OutputError(
                f"{printable(path)} is an input of this run and would be written over, give another name or "
                "folder"
            )
        if not overwrite and not is_own(path):
            raise OutputError(
                f"{printable(path)} is there already and camlucida did not write it: give another name or "
                f"folder, or let it be replaced ({spoken('`--overwrite`', 'overwrite=True')})"
            )


def is_own(path: Path) -> bool:
    """Whether camlucida wrote a file, by the mark in it, whatever it is called."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, path.stat().st_size - _HEAD))
        tail = file.read(_HEAD)
    text = head.lstrip(b"\xef\xbb\xbf{ \t\r\n")
    if text.startswith((f'"{WRITTEN_BY}": "camlucida '.encode(), CSV_BEGINS.encode())):
        return True
    return any(_MARK.search(part) for part in (head, tail))


def same_file(one: Path, other: Path) -> bool:
    """Whether both are names of one file that exists."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have, or that may not be looked at, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name that none can have, or that may not be looked at, is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """An error of the file system, as an OutputError about ``path``."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{printable(path)} cannot be written ({error.strerror or error}), give another place"
        ) from error


def _temporary(path: Path) -> tuple[Path, int | None]:
    """A new file in the folder of ``path``, with the user's own permissions; an open handle if it is locked.

    The handle holds a lock until the file has its name, and the system frees that when the process is killed:
    so a later run knows which files were left behind.
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
        if temporary.exists():  # and no other run took it for a left one before it was locked
            return temporary, handle
        os.close(handle)


@cache
def remove_stale(folder: Path) -> None:
    """Remove the temporary files that runs which were killed left in ``folder``: once a process and folder."""
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
        with suppress(OSError):  # in use, or not ours to remove
            handle = os.open(file, os.O_RDWR)
            try:
                flock(handle, LOCK_EX | LOCK_NB)
                file.unlink(missing_ok=True)
            finally:
                os.close(handle)


def save_picture(
    picture: Image, path: Path, never: Sequence[Path] = (), overwrite: bool = False, of: str = ""
) -> None:
    """Write a picture whole, in the format of the name; see ``written_whole``. ``of`` is added to the mark.

    Raises:
        OptionError: its name ends in none of the formats.
        OutputError: it cannot be written, or would replace a file that it must not.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg", ".webp"):
        raise OptionError(f"pictures are saved as {', '.join(FORMATS)}, got {printable(path.name)!r}")
    check_writable(path, never, overwrite)
    encoded = _encoded(picture, path, suffix, WRITER + of)
    with written_whole(path, never, overwrite) as file:
        file.write_bytes(encoded)  # Pillow itself would not notice where a disk takes only a part


def _encoded(picture: Image, path: Path, suffix: str, mark: str) -> bytes:
    """The picture as a file's content, with a mark of camlucida's."""
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
    except (ValueError, OSError) as error:  # Pillow's words for a picture too large for the format
        raise OutputError(f"{printable(path)} cannot be written ({error}), save it as .png") from error
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
