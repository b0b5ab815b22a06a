"""One batch and its request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from camlucida.heatmaps.smoothing import VIEWS, AnchoredTarget, views

if TYPE_CHECKING:
    from torch import Tensor

    from camlucida.findings import Finding
    from camlucida.models.inputs import ModelInput
    from camlucida.pipeline.request import Request
    from camlucida.targets.base import Target


@dataclass(frozen=True)
class BatchJob:
    """One batch: inputs of one size, the request, the names of its layers, and findings known beforehand.

    ``parts`` are those of the layers that carry the score together, as found by default.
    """

    inputs: list[ModelInput]
    request: Request
    layers: list[tuple[str, ...]] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    layer_findings: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    parts: frozenset[tuple[str, ...]] = frozenset()

    @property
    def aug(self) -> bool:
        """Whether six views of each input are explained."""
        return "aug" in self.request.smooth

    @property
    def names(self) -> list[str]:
        """The layers to be captured, each once."""
        return list(dict.fromkeys(name for layer in self.layers for name in layer))

    @property
    def target_rows(self) -> list[list[int]]:
        """For each method, which rows of ``targets`` it explains, one for each target of the request."""
        count, derived, rows = len(self.request.targets), 0, []
        for method, _ in self.request.methods:
            derived += method.target is not None
            start = count * derived if method.target else 0
            rows.append([start + t for t in range(count)])
        return rows

    def tensors(self) -> list[Tensor]:
        """The model's inputs (channels, height, width): of each image, or of its six views."""
        tensors = [one.tensor for one in self.inputs]
        return [view for tensor in tensors for view in views(tensor)] if self.aug else tensors

    def targets(self, activation: str) -> list[list[Target]]:
        """The request's targets, and behind them those that methods derive, each for every one of ``tensors``.

        ``activation`` makes probabilities of the model's outputs.
        """
        asked = [[target(one.number) for one in self.inputs] for target in self.request.targets]
        derived: list[list[Target]] = [
            [method.derive_target(target, options, activation) for target in row]
            for method, options in self.request.methods
            if method.target
            for row in asked
        ]
        rows = [*asked, *derived]
        if not self.aug:
            return rows
        return [
            [AnchoredTarget(target, i * VIEWS) for i, target in enumerate(row) for _ in range(VIEWS)]
            for row in rows
        ]

    def noted(self, finding: Finding) -> BatchJob:
        """The job with a finding for all of its maps, once."""
        return replace(self, findings=tuple(dict.fromkeys((*self.findings, finding))))

    def split(self, size: int) -> list[BatchJob]:
        """The same job for at most ``size`` images at a time."""
        starts = range(0, len(self.inputs), size)
        return [replace(self, inputs=self.inputs[start : start + size]) for start in starts]
