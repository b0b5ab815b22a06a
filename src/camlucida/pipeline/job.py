"""What is to be done with one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from camlucida.heatmaps.smoothing import VIEWS, AnchoredTarget, views

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.findings import Finding
    from camlucida.heatmaps.smoothing import Smooth
    from camlucida.methods.registry import Method
    from camlucida.models.inputs import ModelInput
    from camlucida.targets.base import Target


@dataclass(frozen=True)
class BatchJob:
    """One batch: pictures of one input size, layers, methods with their settings, targets per picture.

    ``parts`` are those of the layers that carry the score together, as found by default.
    """

    pictures: list[ModelInput]
    layers: list[tuple[str, ...]]
    methods: list[tuple[Method, dict[str, Any]]]
    targets: list[list[Target]]
    smooth: tuple[Smooth, ...] = ()
    findings: tuple[Finding, ...] = ()
    layer_findings: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    parts: frozenset[tuple[str, ...]] = frozenset()

    @property
    def needs(self) -> frozenset[str]:
        """What all methods together need of the capture."""
        return frozenset(need for entry, _ in self.methods for need in entry.needs)

    @property
    def names(self) -> list[str]:
        """The layers to be looked at, each once."""
        return list(dict.fromkeys(name for layer in self.layers for name in layer))

    @property
    def target_rows(self) -> list[list[int]]:
        """For each method the rows of ``inputs``' targets that it explains, one a target asked for."""
        count, made, rows = len(self.targets), 0, []
        for entry, _ in self.methods:
            made += entry.target is not None
            start = count * made if entry.target else 0
            rows.append([start + t for t in range(count)])
        return rows

    def inputs(self, activation: str = "auto") -> tuple[list[Tensor], list[list[Target]]]:
        """What goes through the model, and a target for each: the pictures, or their views.

        Behind the rows of targets asked for are those that methods make of them, knowing what ``activation``
        makes probabilities of the model's outputs.
        """
        tensors = [one.tensor for one in self.pictures]
        rows = [
            *self.targets,
            *(
                [entry.derive_target(target, settings, activation) for target in row]
                for entry, settings in self.methods
                if entry.target
                for row in self.targets
            ),
        ]
        if "aug" not in self.smooth:
            return tensors, rows
        of_views: list[list[Target]] = [
            [AnchoredTarget(target, i * VIEWS) for i, target in enumerate(row) for _ in range(VIEWS)]
            for row in rows
        ]
        return [view for tensor in tensors for view in views(tensor)], of_views

    def part(self, start: int, count: int) -> BatchJob:
        """The same work on ``count`` pictures from ``start`` on."""
        end = start + count
        targets = [row[start:end] for row in self.targets]
        return replace(self, pictures=self.pictures[start:end], targets=targets)

    def split(self, size: int) -> list[BatchJob]:
        """The same work on at most ``size`` pictures at a time."""
        return [self.part(start, size) for start in range(0, len(self.pictures), size)]
