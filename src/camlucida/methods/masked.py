"""Channels judged by what the score does when they are shown alone, or taken away.

Each gives weights (batch, targets, channels); a channel's contribution is its weight times its activations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import spoken
from camlucida.findings import Finding
from camlucida.heatmaps.examine import WithFindings
from camlucida.methods.registry import method
from camlucida.registry import Paper

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from camlucida.types import Activations, Inputs, Scores, ScoreVariants


@method(
    "scorecam",
    family="masked",
    paper=Paper(
        "Wang et al.",
        2020,
        "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks",
        "arXiv:1910.01279",
        "Algorithm 1",
    ),
    returns="weights",
    signed=False,
    cost="1 forward a channel tried",
)
def scorecam(
    activations: Activations,
    scores: Scores,
    inputs: Inputs,
    score: ScoreVariants,
    *,
    channels: int = 128,
    align_corners: bool = False,
) -> WithFindings:
    """Each channel weighted by the score of the picture seen through it.

    A channel is upsampled to the input, scaled to 0…1 and multiplied with the input; the weights are the
    softmax, over channels, of the scores that result. The score of the paper's baseline is the same for all
    channels and drops out of the softmax. A channel that is the same everywhere has no mask and no weight.

    channels: how many channels are tried, those whose activations vary most; 0 tries all, which is exact
    align_corners: masks are stretched from corner to corner, as grad-cam does, and not laid as maps are drawn
    """
    weights = activations.new_zeros(len(activations), scores.shape[1], activations.shape[1])
    findings = []
    for picture, own in enumerate(activations):
        live, tried = _varying(own, channels)
        findings.append(_left_out(live, len(tried)))
        if len(tried):
            masked = _masked(inputs[picture], own[tried], align_corners)
            seen = score(masked, len(tried), picture)
            weights[picture, :, tried] = seen.softmax(dim=0).T.to(weights)
    return WithFindings(weights, tuple(findings))


@method(
    "ablationcam",
    family="masked",
    paper=Paper(
        "Desai and Ramaswamy",
        2020,
        "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free Localization",
        "doi:10.1109/WACV45572.2020.9093360",
    ),
    returns="weights",
    signed=True,
    cost="1 run of what follows the layer, a channel",
)
def ablationcam(activations: Activations, scores: Scores, resume: ScoreVariants) -> Tensor:
    """Each channel weighted by what the score loses when the channel is set to zero.

    The weight is the loss divided by the magnitude of the score, so that a negative score does not turn the
    map over. Prefix tokens of a transformer are not positions and keep the channel. A channel that is zero
    everywhere has nothing to lose and is not tried.
    """
    weights = activations.new_zeros(len(activations), scores.shape[1], activations.shape[1])
    for picture, own in enumerate(activations):
        live = own.flatten(1).any(dim=1).nonzero().flatten()
        if len(live):
            seen = resume(_Without(own, live), len(live) + 1, picture)
            plain, ablated = seen[:1], seen[1:]
            loss = (plain - ablated) / plain.abs().where(plain != 0, 1)
            weights[picture, :, live] = loss.T.to(weights)
    return weights


def _varying(own: Tensor, limit: int) -> tuple[int, Tensor]:
    """How many channels (channels, height, width) vary, and the ``limit`` that vary most, in their order."""
    spread = own.flatten(1).std(dim=1, correction=0)
    live = spread.nonzero().flatten()
    if not 0 < limit < len(live):
        return len(live), live
    ranked = spread[live].argsort(descending=True, stable=True)  # equals in the order of channels
    return len(live), live[ranked[:limit]].sort().values


def _masked(shown: Tensor, own: Tensor, align_corners: bool) -> Callable[[range], Tensor]:
    """The input (input_channels, input_height, input_width) seen through each of the channels ``own``."""
    from torch.nn.functional import interpolate

    def make(indices: range) -> Tensor:
        chunk = own[indices.start : indices.stop, None]
        masks = interpolate(chunk, shown.shape[-2:], mode="bilinear", align_corners=align_corners)
        low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
        return shown * ((masks - low) / (high - low)).to(shown.dtype)

    return make


class _Without:
    """The activations (channels, height, width) as they are, then without each of the channels ``live``.

    Untouched ones are run like the others, so that the small differences are not lost in another rounding.
    Chunks share their memory: filling it anew each time would take longer than most networks' last layers.
    """

    def __init__(self, own: Tensor, live: Tensor) -> None:
        self._own, self._live = own, live
        self._variants = own[None]
        self._changed: tuple[list[int], Tensor] = ([], live[:0])
        self._version = -1

    def __call__(self, indices: range) -> Tensor:
        if len(self._variants) != len(indices) or self._variants._version != self._version:
            self._variants = self._own.repeat(len(indices), 1, 1, 1)  # also where the model has written to them
        else:
            places, channels = self._changed
            self._variants[places, channels] = self._own[channels]
        places = [place for place, index in enumerate(indices) if index]
        channels = self._live[[indices[place] - 1 for place in places]]
        self._variants[places, channels] = 0
        self._changed, self._version = (places, channels), self._variants._version
        return self._variants


def _left_out(live: int, tried: int) -> tuple[Finding, ...]:
    if live == tried:
        return ()
    found = f"scorecam tried {tried} of the {live} channels that vary, those that vary most"
    asked = spoken("`--option scorecam.channels=0`", 'options={"scorecam": {"channels": 0}}')
    return (Finding("channels-left-out", found, f"all are tried with {asked}"),)
