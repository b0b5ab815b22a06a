"""Which pictures a folder holds for an evaluation: by classes, or plain; never what camlucida wrote itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from camlucida.errors import OptionError, PictureError
from camlucida.files import is_own
from camlucida.images import SUFFIXES

RESULTS = "results"  # where the commands write unless told


def pictures_by_class(source: Path, is_class: Callable[[str], bool]) -> dict[Path | None, list[Path]]:
    """The pictures of ``source`` by the folders of their classes; of a plain folder all under None.

    Left out are hidden folders and files, folders without pictures, pictures that camlucida wrote, and the
    folder where it writes unless told, if ``is_class`` does not know its name.

    Raises:
        PictureError: there is no such folder, or it holds no picture.
        OptionError: it holds pictures beside folders of classes.
    """
    if not source.is_dir():
        known = "is no folder, table or picture" if source.exists() else "does not exist"
        raise PictureError(f"{source} {known}: give a folder of pictures, a picture or a .csv table")
    loose = _pictures(source)
    folders: dict[Path | None, list[Path]] = {
        folder: found
        for folder in _inside(source)
        if folder.is_dir()
        and (folder.name != RESULTS or is_class(folder.name))
        and (found := _pictures(folder))
    }
    if loose and folders:
        raise OptionError(
            f"{source} holds {_some(loose)} beside {_some([*filter(None, folders)])}, which would be folders "
            "of classes: give one of them, move the pictures into such folders, or name all in a table"
        )
    if not (loose or folders):
        raise PictureError(
            f"folder {source} holds no picture, files are taken that end in {' '.join(SUFFIXES)}, and none "
            "that camlucida wrote"
        )
    return {None: loose} if loose else folders


def _pictures(folder: Path) -> list[Path]:
    """Its picture files in order of name."""
    return [
        path
        for path in _inside(folder)
        if path.suffix.lower() in SUFFIXES and not path.is_dir() and not is_own(path)
    ]


def _inside(folder: Path) -> list[Path]:
    """What is in a folder, in order of name, hidden ones left out."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise PictureError(
            f"folder {folder} cannot be read ({error.strerror or error}): give one that can, or move it away"
        ) from None


def _some(paths: Sequence[Path]) -> str:
    named = ", ".join(path.name + "/" * path.is_dir() for path in islice(paths, 3))
    return named + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
