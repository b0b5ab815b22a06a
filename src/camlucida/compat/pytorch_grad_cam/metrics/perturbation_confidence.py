"""By how much a score changes when pictures are changed as their maps say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from camlucida.capture.borrow import borrowed, unwrapped
from camlucida.compat.pytorch_grad_cam._arguments import PeerTarget, one_each, warn
from camlucida.compat.pytorch_grad_cam._engine import as_it_is
from camlucida.errors import OptionError, PictureError, TargetError
from camlucida.metrics._perturbations import ranks

if TYPE_CHECKING:
    from camlucida.compat.pytorch_grad_cam._formulas import Array

    Maps = Array | Tensor
    Perturbation = Callable[[Tensor, Tensor], Tensor]

TENTHS = (10, 20, 30, 40, 50, 60, 70, 80, 90)
_LEVELS = 256


class PerturbationConfidenceMetric:
    """The change of each picture's score by ``perturbation(picture, map)``, both on the CPU."""

    def __init__(self, perturbation: Perturbation) -> None:
        self.perturbation = perturbation

    def __call__(
        self,
        input_tensor: Tensor,
        cams: Maps,
        targets: Sequence[PeerTarget],
        model: nn.Module,
        return_visualization: bool = False,
        return_diff: bool = True,
    ) -> Any:
        """The score afterwards less that before (batch,), or without ``return_diff`` the one afterwards.

        ``return_visualization`` gives the changed pictures too. A model in training mode is run in evaluation
        mode, and comes back as it was.

        Raises:
            PictureError: there is another number of maps than of pictures.
            TargetError: there is another number of targets, or none.
        """
        changed = self._changed(input_tensor, cams)
        result = scores_of(model, changed, targets)
        if return_diff:
            result = result - scores_of(model, input_tensor, targets)
        result[changed.isnan().flatten(1).any(dim=1).cpu().numpy()] = np.nan  # whatever the model makes of NaN
        number = self.number_of(result)
        return (number, changed) if return_visualization else number

    def number_of(self, change: Array) -> Array:
        """What is reported of the change of each picture's score (batch,)."""
        return change

    def _changed(self, pictures: Tensor, cams: Maps) -> Tensor:
        maps = cams.detach().cpu() if isinstance(cams, Tensor) else torch.from_numpy(np.ascontiguousarray(cams))
        if len(maps) != len(pictures):
            raise PictureError(
                f"there is a map for each picture, got {len(maps)} for {len(pictures)} pictures: give the maps "
                "of this batch"
            )
        plain = pictures.detach().cpu()
        changed = [self.perturbation(one, heat) for one, heat in zip(plain, maps, strict=True)]
        return torch.stack(changed).to(pictures.device)


class RemoveMostRelevantFirst:
    """A picture without its hottest pixels: those at or above a ``percentile`` of the map's values.

    80 removes a fifth. Equals go together: more where there are many at the limit. Where that would be the
    whole picture the coldest stay. "auto" lets Otsu's method draw the limit. ``imputer(picture, kept)`` fills
    in what is gone, where ``kept`` is 0.
    """

    def __init__(self, percentile: float | str, imputer: Perturbation) -> None:
        self.percentile, self.imputer = percentile, imputer

    def __call__(self, input_tensor: Tensor, mask: Tensor) -> Tensor:
        """The picture (channels, height, width) without what is hottest in ``mask`` (height, width)."""
        if not ranks(mask):
            warn(
                "a map that is the same everywhere, or not finite, does not say which pixels go first, and its "
                "number is NaN: choose another class, layer or method"
            )
            return torch.full_like(input_tensor, float("nan"))
        return self.imputer(input_tensor, _colder(mask, self.percentile).float())


class RemoveLeastRelevantFirst(RemoveMostRelevantFirst):
    """A picture without its coldest pixels; a ``percentile`` of 20 leaves the hottest fifth."""

    def __call__(self, input_tensor: Tensor, mask: Tensor) -> Tensor:
        """The picture (channels, height, width) without what is coldest in ``mask``, of 0 to 1."""
        return super().__call__(input_tensor, 1 - mask)


class AveragerAcrossThresholds:
    """The mean of the metrics ``imputer(percentile)`` over ``percentiles``."""

    def __init__(self, imputer: Callable[[Any], Any], percentiles: Sequence[float] = TENTHS) -> None:
        if len(percentiles) == 0:
            raise OptionError("percentiles are at least one number, got none: leave them out for 10 to 90")
        self.imputer, self.percentiles = imputer, percentiles

    def __call__(
        self, input_tensor: Tensor, cams: Maps, targets: Sequence[PeerTarget], model: nn.Module
    ) -> Array:
        """A number for each picture (batch,)."""
        each = [self.imputer(one)(input_tensor, cams, targets, model) for one in self.percentiles]
        mean: Array = np.asarray(each, dtype=np.float32).mean(axis=0)
        return mean


def scores_of(model: nn.Module, pictures: Tensor, targets: Sequence[PeerTarget]) -> Array:
    """What each picture's target makes of what the model returns for it, float32."""
    if targets is None:
        raise TargetError(
            "a metric is of a target for each picture, got None: give those of the maps, such as "
            "[ClassifierOutputTarget(281)]"
        )
    one_each(targets, len(pictures))
    ready = borrowed(unwrapped(model)) if isinstance(model, nn.Module) else nullcontext(model)
    with torch.no_grad(), ready as run:
        outputs = run(pictures)
        each = outputs if isinstance(outputs, (Tensor, list)) else as_it_is(outputs)
        scores = torch.stack([target(one) for target, one in zip(targets, each, strict=True)])
    array: Array = scores.float().cpu().numpy()
    return array


def check_size(picture: Tensor, heat: Tensor) -> None:
    """Refuse a map of another height or width than its picture.

    Raises:
        PictureError: it is.
    """
    if heat.shape[-2:] != picture.shape[-2:]:
        raise PictureError(
            f"a map has its picture's height and width {tuple(picture.shape[-2:])}, got {tuple(heat.shape)}: "
            "resize it by utils.image.scale_cam_image"
        )


def _colder(mask: Tensor, percentile: float | str) -> Tensor:
    """Where the map is colder than the limit, somewhere at least."""
    if percentile == "auto":
        levels = (mask.clamp(0, 1) * (_LEVELS - 1)).to(torch.uint8)
        return levels <= _otsu(levels)
    if not isinstance(percentile, Real) or not 0 <= percentile <= 100:
        raise OptionError(f"a percentile is a number from 0 to 100, or 'auto', got {percentile!r}")
    colder = mask < float(np.percentile(mask.cpu().numpy(), percentile))
    return colder if colder.any() else mask == mask.min()


def _otsu(levels: Tensor) -> int:
    """The level up to which values are of the lower kind: then the means of both are furthest apart."""
    share = torch.bincount(levels.flatten(), minlength=_LEVELS).double() / levels.numel()
    lower, total = share.cumsum(0), share * torch.arange(_LEVELS)
    apart = (total.sum() * lower - total.cumsum(0)) ** 2 / (lower * (1 - lower))
    return int(apart[:-1].nan_to_num(0, 0, 0).argmax())
