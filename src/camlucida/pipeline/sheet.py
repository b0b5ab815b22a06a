"""Explanations side by side: one picture, or several, for models, methods and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camlucida.files import png_bytes, save_picture
from camlucida.heatmaps.scale import Scale, full_colour_values
from camlucida.images.colour import DEFAULT_COLORMAP, diverging
from camlucida.images.contact_sheet import Tile, sheet
from camlucida.images.overlay import DEFAULT_ALPHA
from camlucida.pipeline.explanation import Explanation, Show
from camlucida.pipeline.file_marks import mark_of, mark_of_all, written

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False, repr=False)
class Sheet:
    """Explanations in a labelled grid, ``rows[i][j]``; a row is of one picture."""

    rows: Sequence[Sequence[Explanation]]
    columns: Sequence[str]
    labels: Sequence[Sequence[str]]

    def __repr__(self) -> str:
        return f"<Sheet of {len(self.rows)} × {len(self.columns)}: {', '.join(self.columns)}>"

    @property
    def explanations(self) -> list[Explanation]:
        return [explanation for row in self.rows for explanation in row]

    def picture(
        self,
        alpha: float = DEFAULT_ALPHA,
        colormap: str = DEFAULT_COLORMAP,
        scale: Scale = "picture",
        show: Show = "map",
    ) -> Image:
        """The contact sheet: the picture first in each row, then its overlays, each with class and probability.

        With ``scale="panel"`` full colour is the same value in all of them.
        """
        limits = iter(
            full_colour_values([e.map_or_spread(show) for e in self.explanations], scale, diverging(colormap))
        )
        cells = []
        for row in self.rows:
            overlays = [
                Tile(e.overlay(alpha, colormap, full_at=next(limits), show=show), (e.caption, *_warning(e)))
                for e in row
            ]
            cells.append([Tile(row[0].picture), *overlays])
        return sheet(cells, ["picture", *self.columns], self.labels)

    def save(
        self, path: str | Path, *, never: Sequence[Path] = (), overwrite: bool = False, **drawing: Any
    ) -> Path:
        """Write the contact sheet as .png, .jpg or .webp; ``drawing`` goes to ``picture``.

        ``never`` are files that must not be overwritten, besides the input pictures; ``overwrite`` lets a file
        be replaced that camlucida did not write.

        Raises:
            OutputError: the file cannot be written, is an input, or exists and is not camlucida's.
        """
        path = Path(path)
        sources = {explanation.source for explanation in self.explanations} - {None}
        inputs = [*never, *(source for source in sources if source)]
        of = written(mark_of_all([mark_of(one.manifest()) for one in self.explanations]))
        save_picture(self.picture(**drawing), path, inputs, overwrite, of)
        return path

    def _repr_png_(self) -> bytes:
        return png_bytes(self.picture())


def _warning(explanation: Explanation) -> tuple[str, ...]:
    return tuple(f"⚠ {finding.code}" for finding in explanation.health[:1])
