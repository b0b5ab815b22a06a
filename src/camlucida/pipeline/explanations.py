"""A list of explanations, with selection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camlucida.errors import OptionError
from camlucida.pipeline.explanation import Explanation
from camlucida.registry import folded


class Explanations(list[Explanation]):
    """A list of explanations, in the order pictures × layers × methods × targets."""

    def select(
        self,
        *,
        method: str | None = None,
        layer: str | None = None,
        target: Any = None,
        picture: Any = None,
    ) -> Explanations:
        """Those of a method, a layer, a target and a picture, where given.

        ``target`` is a class index or what ``Explanation.named`` says; ``picture`` a file or the number of the
        picture among those given, from 0.
        """

        def fits(one: Explanation) -> bool:
            return (
                (method is None or folded(one.method) == folded(method))
                and (layer is None or one.layer == layer)
                and (target is None or target in (one.named, one.index, one.label))
                and (picture is None or one.picture_id in (str(picture), f"#{picture}") or _is(one, picture))
            )

        return Explanations(filter(fits, self))

    def heatmaps(self) -> Tensor:
        """The raw maps (count, height, width), float32, on the CPU.

        Raises:
            OptionError: they are of different sizes, or there are none.
        """
        sizes = {tuple(one.heatmap.shape) for one in self}
        if len(sizes) != 1:
            came = ", ".join(f"{height}×{width}" for height, width in sorted(sizes)) or "no explanation"
            raise OptionError(f"maps of one size are stacked, got {came}: select a layer, or resize them first")
        return torch.stack([one.heatmap for one in self])

    def __repr__(self) -> str:
        kinds = {
            "picture": len({one.picture_id for one in self}),
            "layer": len({one.layer for one in self}),
            "method": len({one.method for one in self}),
            "target": len({one.named for one in self}),
        }
        counts = " × ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in kinds.items())
        return f"<{len(self)} Explanations: {counts}>" if self else "<no Explanations>"


def _is(one: Explanation, picture: Any) -> bool:
    return one.source is not None and isinstance(picture, (str, Path)) and one.source == Path(picture)
