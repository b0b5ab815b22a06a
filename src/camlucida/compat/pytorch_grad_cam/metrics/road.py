"""ROAD: by how much a score changes when pixels are removed and filled in from their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from camlucida.compat.pytorch_grad_cam._arguments import PeerTarget, warn
from camlucida.compat.pytorch_grad_cam.metrics.perturbation_confidence import (
    TENTHS,
    AveragerAcrossThresholds,
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
    check_size,
)
from camlucida.errors import PictureError
from camlucida.metrics._perturbations import drawing
from camlucida.metrics.road import NEIGHBOURS, NOISE, without

if TYPE_CHECKING:
    from camlucida.compat.pytorch_grad_cam._formulas import Array
    from camlucida.compat.pytorch_grad_cam.metrics.perturbation_confidence import Maps

neighbors_weights = [
    ((sign * down, sign * across), share) for down, across, share in NEIGHBOURS for sign in (1, -1)
]


class NoisyLinearImputer:
    """Pixels become the weighted mean of their neighbours, plus ``noise``.

    The noise is that of ``seed``, the same for each picture; with None it is drawn from torch's generator, as
    in the peer. ``weighting`` has no effect in the peer and has none here.
    """

    def __init__(
        self,
        noise: float = NOISE,
        weighting: Sequence[tuple[tuple[int, int], float]] = neighbors_weights,
        *,
        seed: int | None = 0,
    ) -> None:
        if dict(weighting) != dict(neighbors_weights):
            warn(
                "neighbours are weighted as in ROAD's paper, here and in pytorch-grad-cam: leave out weighting"
            )
        self.noise, self.weighting, self.seed = noise, neighbors_weights, seed

    def __call__(self, img: Tensor, mask: Tensor) -> Tensor:
        """The picture (channels, height, width) filled in where ``mask`` (height, width) is 0.

        Raises:
            PictureError: the mask is of another size, or 0 everywhere.
            OptionError: SciPy is not there.
        """
        check_size(img, mask)
        gone = (mask == 0).cpu()
        if gone.all():
            raise PictureError(
                "a pixel is filled in from those that are left, got a mask of 0: keep some of them"
            )
        return without(img.detach().cpu().double(), gone, self.noise * self._drawn(len(img), gone)).to(img)

    def _drawn(self, channels: int, gone: Tensor) -> Tensor:
        if self.seed is not None:
            return torch.randn(channels, *gone.shape, generator=drawing(self.seed), dtype=torch.float32)
        drawn = torch.zeros(channels, *gone.shape)
        drawn[:, gone] = torch.randn(channels, int(gone.sum()))  # as there: the same seed, the same noise
        return drawn


class ROADMostRelevantFirst(PerturbationConfidenceMetric):
    """The change of the score without the hottest pixels, a fifth of them unless told."""

    def __init__(self, percentile: float | str = 80) -> None:
        super().__init__(RemoveMostRelevantFirst(percentile, NoisyLinearImputer()))


class ROADLeastRelevantFirst(PerturbationConfidenceMetric):
    """The change of the score without the coldest pixels, four fifths of them unless told."""

    def __init__(self, percentile: float | str = 20) -> None:
        super().__init__(RemoveLeastRelevantFirst(percentile, NoisyLinearImputer()))


class ROADMostRelevantFirstAverage(AveragerAcrossThresholds):
    """The mean of ``ROADMostRelevantFirst`` over percentiles; lower is better."""

    def __init__(self, percentiles: Sequence[float] = TENTHS) -> None:
        super().__init__(ROADMostRelevantFirst, percentiles)


class ROADLeastRelevantFirstAverage(AveragerAcrossThresholds):
    """The mean of ``ROADLeastRelevantFirst`` over percentiles; higher is better."""

    def __init__(self, percentiles: Sequence[float] = TENTHS) -> None:
        super().__init__(ROADLeastRelevantFirst, percentiles)


class ROADCombined:
    """Half of what the score is higher without the coldest pixels than without the hottest."""

    def __init__(self, percentiles: Sequence[float] = TENTHS) -> None:
        self.percentiles = percentiles
        self.morf_averager = ROADMostRelevantFirstAverage(percentiles)
        self.lerf_averager = ROADLeastRelevantFirstAverage(percentiles)

    def __call__(
        self, input_tensor: Tensor, cams: Maps, targets: Sequence[PeerTarget], model: nn.Module
    ) -> Array:
        """A number for each picture (batch,)."""
        coldest = self.lerf_averager(input_tensor, cams, targets, model)
        hottest = self.morf_averager(input_tensor, cams, targets, model)
        halved: Array = (coldest - hottest) / 2
        return halved
