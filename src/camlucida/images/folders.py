"""Find the pictures that paths stand for, and the files in folders that are skipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from camlucida.errors import PictureError, printable
from camlucida.files import TEMPORARY, is_file, is_folder, is_own
from camlucida.images.formats import SUFFIXES


def is_picture_name(path: Path) -> bool:
    """Whether a file in a folder counts as a picture, judged by its suffix.

    AppleDouble files of macOS do not count, nor do results that are still being written.
    """
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(("._", TEMPORARY))


def find(sources: Sequence[Path]) -> Iterator[Path]:
    """The pictures that paths stand for: files themselves, and the picture files in folders in order of name.

    A folder that holds only folders of pictures is read as one folder per class. Hidden folders and pictures
    that camlucida wrote are skipped.

    Raises:
        PictureError: a folder holds no picture, or cannot be read.
    """
    for source in sources:
        if not is_folder(source):
            yield source
            continue
        inside, _, folders = _sorted_out(source)
        inside = inside or [path for folder in folders for path in _of_class(folder)]
        if not inside:
            raise PictureError(
                f"folder {printable(source)} holds no picture, nor do its folders: camlucida takes files "
                f"that end in {' '.join(SUFFIXES)}, except those it wrote itself"
            )
        yield from inside


def matching(path: str | Path) -> Iterator[Path]:
    """The pictures that a file, a folder or a pattern such as "cats/*.jpg" stands for, in order of name.

    Raises:
        PictureError: the folder holds no picture, or nothing matches the pattern.
    """
    one = Path(path)
    if not any(letter in str(path) for letter in "*?[") or is_file(one) or is_folder(one):
        yield from find([one])
        return
    root = Path(one.anchor) if one.is_absolute() else Path()
    found = sorted(root.glob(str(one.relative_to(root))))
    if not found:
        raise PictureError(f"no file matches {printable(one)}: give a file, a folder or another pattern")
    yield from find(found)


def passed_over(sources: Sequence[Path]) -> list[Path]:
    """The files in folders of ``sources``, and in the folders in them, that ``find`` skips.

    Raises:
        PictureError: a folder cannot be read.
    """
    left_out = []
    for source in sources:
        if is_folder(source):
            inside, others, folders = _sorted_out(source)
            entered = [] if inside else [folder for folder in folders if _of_class(folder)]
            left_out += sorted([*others, *(folder for folder in folders if folder not in entered)])
    return left_out


def _of_class(folder: Path) -> list[Path]:
    """The pictures in the folder of a class, without those that camlucida wrote."""
    if folder.name.startswith("."):
        return []
    return sorted(path for path in _listed(folder) if is_picture_name(path) and not is_own(path))


def _sorted_out(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The pictures, other files and folders in a folder, each in order of name."""
    inside = sorted(_listed(folder))
    folders = [path for path in inside if is_folder(path)]
    files = [path for path in inside if path not in set(folders)]
    pictures = [path for path in files if is_picture_name(path)]
    return pictures, [path for path in files if not is_picture_name(path)], folders


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise PictureError(
            f"folder {printable(folder)} cannot be read ({error.strerror or error}): give one that can"
        ) from None
