"""Channels judged by what the score does when they are shown alone, or taken away.

Each gives weights (batch, targets, channels); a channel's contribution is its weight times its activations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from camlucida.errors import spoken
from camlucida.findings import Finding
from camlucida.heatmaps.combine import LINEAR, positions
from camlucida.heatmaps.examine import WithFindings
from camlucida.methods.registry import method
from camlucida.registry import Paper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
    left_out: dict[Finding, Tensor] = {}
    for row, (varying, tried) in enumerate(_varying(activations, channels)):
        if varying > len(tried):
            rows = left_out.setdefault(_left_out(varying, len(tried)), scores.new_zeros(len(scores)).bool())
            rows[row] = True
        if tried:
            masked = _masked(inputs[row], activations[row, tried], align_corners)
            variants = score(masked, len(tried), row)
            weights[row, :, tried] = variants.softmax(dim=0).T.to(weights)
    return WithFindings(weights, list(left_out.items()))


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
    alive = activations.ne(0).flatten(2).any(dim=2).cpu().tolist()
    for row, channels in enumerate(alive):
        live = [channel for channel, is_live in enumerate(channels) if is_live]
        if live:
            variants = resume(_Without(activations[row], live), len(live) + 1, row)
            plain, ablated = variants[:1], variants[1:]
            loss = (plain - ablated) / plain.abs().where(plain != 0, 1)
            weights[row, :, live] = loss.T.to(weights)
    return weights


def _varying(activations: Activations, limit: int) -> Iterator[tuple[int, list[int]]]:
    """For each image how many channels vary, and the ``limit`` that vary most, in their order."""
    for spread in activations.flatten(2).std(dim=2, correction=0).cpu().tolist():
        varying = [channel for channel, value in enumerate(spread) if value]
        most = sorted(varying, key=lambda channel: -spread[channel])  # equals in the order of channels
        yield len(varying), sorted(most[:limit]) if limit > 0 else varying


def _masked(shown: Tensor, own: Tensor, align_corners: bool) -> Callable[[range], Tensor]:
    """The input (input_channels, input_height, input_width) seen through each of the channels ``own``."""
    from torch.nn.functional import interpolate

    def make(indices: range) -> Tensor:
        chunk = own[indices.start : indices.stop, None]
        masks = interpolate(chunk, shown.shape[1:], mode=LINEAR[chunk.ndim], align_corners=align_corners)
        every = positions(masks)
        low, high = masks.amin(dim=every, keepdim=True), masks.amax(dim=every, keepdim=True)
        return shown * ((masks - low) / (high - low)).to(shown.dtype)

    return make


class _Without:
    """The activations (channels, height, width) as they are, then without each of the channels ``live``.

    Untouched ones are run like the others, so that the small differences are not lost in another rounding.
    Chunks share their memory: filling it anew each time would take longer than most networks' last layers.
    """

    def __init__(self, own: Tensor, live: Sequence[int]) -> None:
        self._own, self._live = own, live
        self._variants = own[None]
        self._changed: tuple[list[int], list[int]] = ([], [])
        self._version = -1

    def __call__(self, indices: range) -> Tensor:
        if len(self._variants) != len(indices) or self._variants._version != self._version:
            self._variants = self._own.repeat(
                len(indices), *[1] * self._own.ndim
            )  # also where the model has written to them
        else:
            places, channels = self._changed
            self._variants[places, channels] = self._own[channels]
        places = [place for place, index in enumerate(indices) if index]
        channels = [self._live[indices[place] - 1] for place in places]
        self._variants[places, channels] = 0
        self._changed, self._version = (places, channels), self._variants._version
        return self._variants


def _left_out(varying: int, tried: int) -> Finding:
    found = f"scorecam tried {tried} of the {varying} channels that vary, those that vary most"
    asked = spoken("`--option scorecam.channels=0`", 'options={"scorecam": {"channels": 0}}')
    return Finding("channels-left-out", found, f"all are tried with {asked}")
